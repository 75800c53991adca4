"""From a file of any orientation to saved masks, heatmap and peak: the same world points.

The chest is asymmetric (three different edge lengths, an off-centre cube), so that any swapped or
mirrored axis shows.
"""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.geometry import (
    LETTERS,
    oriented_affine,
    resample,
    spacing,
    transform,
    voxel_of,
)
from napari_ctvlp.core.phantom import chest_hu
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.export import heatmap_on_scan
from napari_ctvlp.io.nifti import save_on_source

#: Extent of the chest along R/L, A/P and S/I in mm, and the voxel of each in mm.
EXTENT, STEP = (342.0, 252.0, 240.0), (4.5, 4.5, 5.0)
PHRASE = "nodule in the left lung"
#: A place inside the heart, RAS mm.
BALL_RAS = (-25.0, 15.0, -25.0)
CODES = ["".join(pair[s] for pair, s in zip(order, signs, strict=True))
         for order in permutations(LETTERS) for signs in product((0, 1), repeat=3)]  # fmt: skip


def grid(code, step=STEP):
    rows = [next(n for n, pair in enumerate(LETTERS) if letter in pair) for letter in code]
    steps = [step[row] for row in rows]
    shape = tuple(round(EXTENT[row] / step[row]) for row in rows)
    return shape, oriented_affine(code, shape, steps)


def turned(affine, shape, degrees_z, degrees_x):
    z, x = np.radians([degrees_z, degrees_x])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    out = affine.copy()
    out[:3, :3] = about_z @ about_x @ affine[:3, :3]
    out[:3, 3] = -out[:3, :3] @ ((np.array(shape) - 1) / 2)
    return out


def through_a_file(folder, shape, affine):
    """Open, segment, encode, ground and save; return the answers, read back from the files."""
    nibabel.Nifti1Image(chest_hu(shape, affine), affine).to_filename(folder / "ct.nii.gz")
    scan = verbs.open_scan(folder / "ct.nii.gz")
    anatomy = verbs.segment(scan)
    encoding = verbs.encode(scan, anatomy)
    heat = verbs.ground(scan, PHRASE, anatomy=anatomy, encoding=encoding)
    save_on_source(folder / "labels.nii.gz", anatomy.labels, scan)
    save_on_source(folder / "heat.nii.gz", heatmap_on_scan(heat, scan), scan)
    files = [nibabel.load(folder / name) for name in ("labels.nii.gz", "heat.nii.gz")]
    for file in files:
        assert file.shape == shape
        assert np.abs(file.affine - affine).max() < 1e-4
    lungs = [centroid(files[0], anatomy.by_name[f"lung_{side}"].id) for side in ("left", "right")]
    return heat, np.array(lungs), np.asarray(files[1].dataobj), anatomy


def centroid(file, number):
    return transform(file.affine, np.argwhere(np.asarray(file.dataobj) == number).mean(axis=0))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    shape, affine = grid("IPL")
    return affine, through_a_file(tmp_path_factory.mktemp("ipl"), shape, affine)


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_answers_at_the_same_world_points(tmp_path, reference, code):
    home, (heat, lungs, values, _) = reference
    shape, affine = grid(code)
    again, lungs_again, values_again, _ = through_a_file(tmp_path, shape, affine)
    assert (
        np.abs(np.subtract(again.peak_ras, heat.peak_ras)).max() <= spacing(heat.affine).max() / 2
    )
    assert np.abs(lungs_again - lungs).max() <= max(STEP)
    known = np.argwhere(np.isfinite(values_again))[::97]
    same = np.rint(voxel_of(home, transform(affine, known))).astype(int)
    assert np.allclose(values[tuple(same.T)], values_again[tuple(known.T)], atol=2e-3)


@pytest.mark.parametrize(
    ("code", "step", "angles"),
    [("LPS", (3.0, 4.0, 6.0), (0, 0)), ("RIA", STEP, (-9, 14)),
     pytest.param("RAS", (4.0, 3.0, 2.5), (0, 0), marks=pytest.mark.long),
     pytest.param("LPS", STEP, (12, -8), marks=pytest.mark.long)],
)  # fmt: skip
def test_anisotropic_and_oblique_grids_answer_alike(tmp_path, reference, code, step, angles):
    """Other sampling changes the numbers a little; places stay."""
    home, (_, lungs, values, _) = reference
    shape, affine = grid(code, step)
    affine = turned(affine, shape, *angles)
    _, lungs_again, values_again, anatomy = through_a_file(tmp_path, shape, affine)
    assert np.abs(lungs_again - lungs).max() <= max(STEP)
    assert anatomy.by_name["lung_left"].ml > 500
    there = resample(np.nan_to_num(values), home, shape, affine)
    inside = np.isfinite(values_again) & (there > 0)
    assert np.corrcoef(there[inside], values_again[inside])[0, 1] > 0.8


def test_tokens_change_where_the_voxels_change(tmp_path):
    """A dense ball is put into the heart: the tokens that notice most lie around it.

    How far a fainter change reaches depends on what the tower learned, not on where things are.
    """
    shape, affine = grid("RPS")
    hu = chest_hu(shape, affine)
    points = transform(affine, np.moveaxis(np.indices(shape), 0, -1))
    ball = np.linalg.norm(points - BALL_RAS, axis=-1) <= 10
    grids = []
    for name, voxels in (("without", hu), ("with", np.where(ball, 600, hu).astype(np.int16))):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.Nifti1Image(voxels, affine).to_filename(path)
        scan = verbs.open_scan(path)
        grids.append(verbs.encode(scan, verbs.segment(scan)).grids[0])
    old, new = (tokens.tokens.astype(np.float32) for tokens in grids)
    change = np.linalg.norm(new - old, axis=-1)
    where = np.argwhere(change >= 0.7 * change.max())
    middle = transform(grids[0].affine, np.average(where, axis=0, weights=change[tuple(where.T)]))
    assert np.abs(middle - points[ball].mean(axis=0)).max() <= spacing(grids[0].affine).max() / 2
