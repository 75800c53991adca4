"""Nouns cross the pipe and reach the disk unchanged, and nothing else does."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_ctvlp import errors
from napari_ctvlp.core.encoding import Encoding, TokenGrid, summary_of
from napari_ctvlp.core.geometry import ipl_affine
from napari_ctvlp.core.heatmap import Background, Gate, Heatmap
from napari_ctvlp.core.phrase import Phrase, Span
from napari_ctvlp.engine.wire import pack, pack_error, unpack, unpack_error


def crossed(noun):
    """Pack into JSON text and arrays, and unpack again."""
    arrays = {}

    def put(array):
        arrays[f"a{len(arrays)}"] = array
        return f"a{len(arrays) - 1}"

    text = json.dumps(pack(noun, put))
    return unpack(json.loads(text), arrays.__getitem__), arrays


def test_heatmap_crosses_with_every_field():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(9, 8, 7)).astype(np.float32)
    values[0] = np.nan
    phrase = Phrase("no nodule", "nodule", "nodule", negated=True, spans=(Span(0, 2, "negation"),))
    sent = Heatmap(
        values,
        ipl_affine((4, 5, 6), (1, 2, 3)),
        values > 0,
        phrase,
        "mini",
        Gate(True, "left", ("lung_left",), "left lung"),
        Background((0.1, 0.2), 0.5),
        "absent",
        "words",
        np.float64(0.25),
        {"lung_left": np.float32(0.5)},
    )
    got, arrays = crossed(sent)
    assert len(arrays) == 2
    np.testing.assert_array_equal(got.values, sent.values)
    np.testing.assert_array_equal(got.allowed, sent.allowed)
    np.testing.assert_array_equal(got.affine, sent.affine)
    assert got.phrase == sent.phrase
    assert got.gate == sent.gate
    assert got.background == sent.background
    assert got.shares == {"lung_left": 0.5}
    assert (got.verdict, got.margin) == ("absent", 0.25)


def test_scan_keeps_its_digest_and_source(chest):
    got, _ = crossed(chest)
    assert got.digest == chest.digest
    assert got.meta == chest.meta
    assert got.source.shape == chest.source.shape


def test_small_arrays_keep_type_shape_and_every_bit():
    for array in (
        np.array([[0.1, np.nan], [np.inf, -0.0]], dtype=np.float32),
        np.array([True, False]),
        np.zeros((0, 3), dtype=np.float16),
        np.array([2**63 - 1]),
    ):
        got, arrays = crossed(array)
        assert not arrays
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()


def test_summary_tells_what_stays_behind():
    tokens = np.ones((3, 4, 5, 8), dtype=np.float16)
    valid = np.zeros((3, 4, 5), dtype=bool)
    valid[1] = True
    encoding = Encoding(
        (TokenGrid(tokens, np.eye(4), valid),),
        {"lung_left": np.ones(8, np.float32)},
        "mini",
        "w",
        "s",
    )
    got, arrays = crossed(summary_of(encoding))
    assert not arrays
    assert (got.shape, got.cells, got.organs) == ((3, 4, 5), 20, ("lung_left",))
    assert got.digest == encoding.digest


def test_a_foreign_object_does_not_cross():
    with pytest.raises(TypeError, match="no noun"):
        pack(object(), lambda array: "")


def test_an_unknown_noun_is_never_built():
    with pytest.raises(KeyError):
        unpack({"noun": "Popen", "fields": {"args": "ls"}}, lambda name: None)


@pytest.mark.parametrize("kind", [errors.InputRefused, errors.OutOfResources, errors.JobCancelled])
def test_errors_cross_with_class_and_words(kind):
    got = unpack_error(json.loads(json.dumps(pack_error(kind("code", "this.", "That.", "Do.")))))
    assert type(got) is kind
    assert got.as_dict() == {"code": "code", "expected": "this.", "found": "That.", "advice": "Do."}


def test_paths_cross():
    got, _ = crossed((Path("a") / "b", None, True, 3, "x"))
    assert got == (Path("a") / "b", None, True, 3, "x")
