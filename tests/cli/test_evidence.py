"""``ctvlp evidence``: numbers as JSON, maps with their affine, refusals in words."""

import json

import nibabel
import numpy as np

from napari_ctvlp.core.phantom import NODULE_RAS

AT = [str(value) for value in NODULE_RAS]


def test_pieces_are_saved_as_labels(ctvlp, ct, tmp_path):
    out, told = tmp_path / "pieces.nii.gz", tmp_path / "pieces.json"
    done = ctvlp("evidence", "pieces", ct, "nodule", "--level", "0.2", "--out", out, "--json", told)
    assert done.exit_code == 0, done.stderr
    image, numbers = nibabel.load(out), json.loads(told.read_text())
    np.testing.assert_allclose(image.affine, nibabel.load(ct).affine, atol=1e-4)
    assert int(np.asarray(image.dataobj).max()) == len(numbers["pieces"])


def test_words_and_similar_places(ctvlp, ct, tmp_path):
    done = ctvlp("evidence", "words", ct, "--at", *AT, "--json", "-")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["words"]) == 8
    out = tmp_path / "similar.nii.gz"
    assert ctvlp("evidence", "similar", ct, "--at", *AT, "--out", out).exit_code == 0
    assert np.nanmax(np.asarray(nibabel.load(out).dataobj)) > 0.99


def test_models_without_attention_say_so(ctvlp, ct):
    done = ctvlp("evidence", "attention", ct, "--model", "mini", "--at", *AT)
    assert done.exit_code != 0
    assert "mini is not one" in done.stderr


def test_a_check_is_refused_before_anything_is_computed(ctvlp, ct):
    for words, told in (
        (("--steps", "0,half"), "0,half"), (("--steps", "50,10"), "50,10"),
        (("--json", "told.txt"), "told.txt"), (("--json", "no/told.json"), "no folder"),
        (("--organ", "heart"), "Only one was named"),
    ):  # fmt: skip
        done = ctvlp("evidence", "check", ct, "nodule", *words)
        assert done.exit_code == 3
        assert told in done.stderr
        assert "shuffled" not in done.stderr
    done = ctvlp("evaluate", "synthetic", "--markdown", "tables.txt")
    assert done.exit_code == 3
    assert "tables.txt" in done.stderr


def test_absence_wants_cases(ctvlp):
    done = ctvlp("evaluate", "absence")
    assert done.exit_code == 3
    assert "phantoms" in done.stderr


def test_options_that_would_not_be_read_are_refused(ctvlp, tmp_path):
    """Each kind of evaluation names what it was given in vain, before it computes anything."""
    own, store = tmp_path / "own", tmp_path / "store"
    for folder, name in ((own, "labels.csv"), (store, "store.json")):
        folder.mkdir()
        (folder / name).touch()
    for words, told in (
        ((own, "--seeds", "a"), "--seeds"),
        ((store, "--model", "mini", "--png", "a.png"), "--model, --png"),
        (("synthetic", "phantoms"), "a second folder"),
        (("absence", "phantoms", "--calibrate"), "--calibrate"),
        ((tmp_path, "--each", "3"), "--each"),
    ):
        done = ctvlp("evaluate", *words)
        assert done.exit_code == 3
        assert f"{told} came too" in done.stderr
