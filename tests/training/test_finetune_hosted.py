"""Fine-tuning on a published encoder: which of its grids a head learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.encoding import Encoding, TokenGrid
from napari_ctvlp.core.geometry import coarse_affine, transform
from napari_ctvlp.engine import verbs
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, silent
from napari_ctvlp.training.finetune import finetune, weights_of
from napari_ctvlp.training.headfile import load_head, save_head
from napari_ctvlp.training.heads import Recipe
from napari_ctvlp.training.trunks import example, tail_of


@pytest.fixture(scope="module")
def anatomy(chest):
    points = transform(chest.affine, np.moveaxis(np.indices(chest.shape), 0, -1))
    labels = np.zeros(chest.shape, np.uint8)
    parts = (((-74, 0, 5), (54, 80, 118)), ((74, 0, 5), (54, 80, 118)), ((-22, 25, -45), (50,) * 3))
    for number, (centre, radii) in enumerate(parts, 1):
        labels[np.linalg.norm((points - centre) / radii, axis=-1) < 1] = number
    names = [(1, "lung_left"), (2, "lung_right"), (3, "heart")]
    return anatomy_from_labels(labels, chest, names, source="drawn")


@pytest.fixture
def encoder(hosting, tmp_path, monkeypatch):
    hosting.host("fvlm", tmp_path, monkeypatch)
    yield store.load_encoder("fvlm", Compute())
    verbs.forget()


def test_a_head_learns_from_the_window_of_its_organ(encoder, chest, anatomy):
    grids = encoder.encode(chest, anatomy).grids
    heart = next(grid for grid in grids if (grid.organ, grid.kind) == ("heart", "cosine"))
    study = example(encoder, chest, anatomy, ["heart"])
    rows = study.cells.permute(1, 2, 3, 0).flatten(0, 2).float()
    all_rows = torch.from_numpy(heart.tokens.reshape(-1, 32)).half().float()
    assert (torch.cdist(rows[study.inside.flatten()], all_rows).min(1).values < 1e-3).all()
    left = example(encoder, chest, anatomy, ["lung_left"])
    both = example(encoder, chest, anatomy, ["lung_left", "lung_right"])
    assert 0 < left.inside.sum() < both.inside.sum()
    with pytest.raises(InputRefused, match="within one of the windows of fvlm: lung"):
        example(encoder, chest, anatomy, ["heart", "lung_left"])
    with pytest.raises(InputRefused, match="found none of them"):
        example(encoder, chest, anatomy, ["aorta"])


def test_a_head_is_fitted_kept_and_bound_to_its_checkpoint(encoder, chest, anatomy, tmp_path):
    one = example(encoder, chest, anatomy, ["heart"])
    made = [
        replace(one, id=str(n), patient=str(n), labels=torch.tensor([float(n % 2)]))
        for n in range(8)
    ]
    fitted = finetune(made, ["sign"], Recipe(members=2, steps=2, checks=1), tail_of(encoder))
    tuned = replace(fitted, organs=("heart",), model="fvlm", weights=weights_of(encoder))
    assert len(tuned.weights) == 64
    save_head(tuned, tmp_path)
    back = load_head(tmp_path, encoder)
    assert back.apply(encoder, chest, anatomy) == tuned.apply(encoder, chest, anatomy)
    with pytest.raises(InputRefused, match="fvlm has the weights"):
        replace(tuned, weights="0" * 64).apply(encoder, chest, anatomy)


def test_parts_of_a_score_are_brought_to_the_size_of_vectors(chest, anatomy):
    """Parts of 10 000 cells are too small for half precision as they are."""
    shape = tuple(n // 4 for n in chest.shape)
    parts = np.random.default_rng(0).standard_normal((*shape, 8)).astype(np.float32) / 1e6
    grid = TokenGrid(parts, coarse_affine(chest.affine, 4), np.ones(shape, bool), kind="split")

    class Split:
        card = store.card("ct_clip")

        def encode(self, scan, anatomy, *, progress=silent):
            return Encoding((grid,), {}, "ct_clip", "", scan.digest)

    study = example(Split(), chest, anatomy, ["lung_left"])
    assert float(study.cells.float().std()) == pytest.approx(np.prod(shape) / 1e6, rel=0.05)
