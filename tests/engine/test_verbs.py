"""What users call: computed once, stoppable, the same from every side."""

import numpy as np
import pytest

import napari_ctvlp
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.engine import cache, verbs
from napari_ctvlp.errors import JobCancelled, OutOfResources

#: A few slices of the chest, quickly encoded.
SLAB = ((8, 46, 60), (5.0, 6.0, 6.0))


@pytest.fixture
def told():
    """Return a list of stages and a callback that fills it."""

    class Told(list):
        def __call__(self, share, stage):
            assert 0 <= share <= 1
            self.append(stage)

    return Told()


def test_the_image_is_encoded_once(chest, told):
    first = verbs.encode(chest)
    verbs.forget()
    second = verbs.encode(chest, progress=told)
    assert set(told) == {verbs.KEPT}
    assert second.digest == first.digest
    verbs.ground(chest, "mass", progress=told)
    assert set(told) == {verbs.KEPT, "phrase", "heatmap"}


def test_what_is_given_is_not_computed_again(chest, told):
    anatomy = verbs.segment(chest)
    encoding = verbs.encode(chest, anatomy)
    verbs.ground(chest, "mass", anatomy=anatomy, encoding=encoding, progress=told)
    assert told == ["phrase", "heatmap"]


def test_a_stopped_run_keeps_nothing(told):
    scan = phantom(*SLAB, seed=32)
    anatomy = verbs.segment(scan)

    def stop(share, stage):
        if share > 0.5:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        verbs.encode(scan, anatomy, progress=stop)
    verbs.encode(scan, anatomy, progress=told)
    assert verbs.KEPT not in told
    assert len(set(told)) > 2


def test_a_phrase_gives_a_whole_answer(chest):
    heatmap = verbs.ground(chest, "nodule in the left lung")
    assert heatmap.model == "mini"
    assert heatmap.gate.applied
    assert heatmap.gate.side == "left"
    assert heatmap.peak_ras[0] < 0
    assert heatmap.verdict in ("present", "absent", "cannot tell")
    assert heatmap.reason
    assert heatmap.background.values
    assert np.isfinite(heatmap.background.p_value)


def test_without_gate_and_parser_the_words_go_in_as_they_are(chest):
    heatmap = verbs.ground(chest, "no nodule in the left lung", gate=False, parser=False)
    assert not heatmap.gate.applied
    assert heatmap.phrase.query == "no nodule in the left lung"
    assert not heatmap.phrase.negated
    assert np.array_equal(heatmap.allowed | np.isnan(heatmap.values), np.ones(heatmap.values.shape))


def test_scores_name_their_scan_and_model(chest):
    table = verbs.score(chest)
    assert (table.model, table.scan) == ("mini", chest.digest)
    assert any(np.isfinite(row.margin) for row in table.rows)
    assert all(row.support or np.isfinite(row.margin) for row in table.rows)


def test_attention_sums_to_one_per_organ(chest):
    attention = verbs.attention(chest)
    assert "lung_left" in attention.maps
    for weights in attention.maps.values():
        assert np.nansum(weights) == pytest.approx(1, abs=1e-2)


def test_encodings_of_other_labels_are_other_results(told):
    scan = phantom(*SLAB, seed=33)
    anatomy = verbs.segment(scan)
    verbs.encode(scan, anatomy)
    mirrored = type(anatomy)(
        anatomy.labels[..., ::-1], anatomy.affine, anatomy.organs, anatomy.source
    )
    assert mirrored.content != anatomy.content
    verbs.encode(scan, mirrored, progress=told)
    assert verbs.KEPT not in told


def test_a_missing_device_is_refused_and_nothing_kept(chest):
    before = cache.size_bytes()
    with pytest.raises(OutOfResources):
        verbs.encode(chest, device="abacus")
    assert cache.size_bytes() == before


@pytest.mark.cuda
def test_the_gpu_gives_the_same_picture(chest):
    near = verbs.ground(chest, "mass", device="cpu")
    far = verbs.ground(chest, "mass", device="cuda")
    np.testing.assert_allclose(far.values, near.values, atol=0.05)
    assert np.linalg.norm(np.subtract(far.peak_ras, near.peak_ras)) <= 8.0


def test_the_public_names_are_these_functions():
    for name in ("open_scan", "segment", "encode", "ground", "score"):
        assert getattr(napari_ctvlp, name) is getattr(verbs, name)
