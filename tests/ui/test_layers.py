"""Layers are where their nouns say, whatever the file's axes; strangers are placed or refused."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.geometry import (
    coarse_affine,
    ipl_layer_placement,
    oriented_affine,
    ras_to_screen,
    transform,
)
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phantom import MARKER_HU, MARKER_RAS, chest_hu
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.ui.contributions import get_reader
from napari_ctvlp.ui.layers import anatomy_layer, ct_layer, heatmap_layer, scan_of
from napari_ctvlp.ui.palette import HEAT_MAPS, heat_colormap

CODES = [
    "".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)
]


def value(layer, place):
    """Return the voxel under a world point."""
    return layer.data[tuple(np.round(layer.world_to_data(place)).astype(int))]


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_gives_the_same_picture(tmp_path, code):
    steps = {"R": 6.0, "A": 5.0, "S": 7.0}
    counts = {"R": 44, "A": 41, "S": 34}
    rows = ["R" if c in "RL" else "A" if c in "AP" else "S" for c in code]
    shape = tuple(counts[row] for row in rows)
    affine = oriented_affine(code, shape, [steps[row] for row in rows])
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(chest_hu(shape, affine), affine), path)

    ((data, kwargs, kind),) = get_reader(str(path))(str(path))
    layer = Layer.create(data, kwargs, kind)
    assert tuple(layer.axis_labels) == ("I", "P", "L")
    assert layer.scale == pytest.approx((7.0, 5.0, 6.0), abs=1e-4)
    assert layer.translate == pytest.approx((-115.5, -100.0, -129.0), abs=1e-3)
    assert value(layer, ras_to_screen(MARKER_RAS)) == pytest.approx(MARKER_HU, abs=80)
    assert scan_of(layer) is kwargs["metadata"]["napari_ctvlp"]


def heat(chest, text="nodule", verdict="present", factor=4):
    """Return a heatmap whose only hot cell is known."""
    affine = coarse_affine(chest.affine, factor)
    values = np.full(tuple(n // factor for n in chest.shape), 0.05, np.float32)
    values[3, 5, 7] = 0.9
    values[0] = np.nan
    allowed = np.ones(values.shape, bool)
    allowed[:, :, 20:] = False
    return Heatmap(values, affine, allowed, parse(text), "mini", verdict=verdict)


def test_a_token_grid_lies_where_its_cells_are(chest):
    heatmap = heat(chest)
    layer = heatmap_layer(heatmap)
    assert (np.asarray(layer.scale) <= 4.6).all()
    place = ras_to_screen(transform(heatmap.affine, (3, 5, 7)))
    assert value(layer, place) == pytest.approx(0.9)
    hottest = np.unravel_index(np.argmax(layer.data), layer.data.shape)
    assert layer.data_to_world(hottest) == pytest.approx(place, abs=1e-6)
    assert np.isfinite(layer.data).all()
    assert list(layer.contrast_limits) == [0.0, 1.0]
    outside = ras_to_screen(transform(heatmap.affine, (3, 5, 22)))
    assert value(layer, outside) == 0, "what the gate excludes is not drawn"


def test_what_is_not_asserted_looks_unlike_a_finding(chest):
    found = heatmap_layer(heat(chest))
    denied = heatmap_layer(heat(chest, "no nodule", "absent"))
    nothing = heatmap_layer(heat(chest, "nodule", "cannot tell"))
    tops = [np.asarray(layer.colormap.colors)[-1, :3] for layer in (found, denied, nothing)]
    assert np.ptp(tops[1]) < 0.05, "a negated phrase is drawn in grey"
    assert np.abs(tops[0] - tops[2]).max() > 0.3
    assert "not asserted" in denied.name
    assert "cannot tell" in nothing.name


@pytest.mark.parametrize("name", HEAT_MAPS)
def test_low_values_leave_the_ct_untouched(name):
    alpha = np.asarray(heat_colormap(name).colors)[:, 3]
    assert alpha[0] == 0
    assert alpha[-1] == 1
    assert (np.diff(alpha) >= 0).all()


def test_anatomy_names_and_colours(chest):
    labels = np.zeros(chest.shape, np.uint8)
    labels[10:20], labels[30:40] = 2, 7
    anatomy = anatomy_from_labels(labels, chest, [(2, "lung_left"), (7, "fat")], source="test")
    layer = anatomy_layer(anatomy)
    assert isinstance(layer, Labels)
    scale, translate = ipl_layer_placement(chest.affine)
    assert layer.scale == pytest.approx(scale)
    assert layer.translate == pytest.approx(translate)
    assert list(layer.features["organ"]) == ["outside the anatomy", "left lung", "fat"]
    assert layer.get_color(2)[3] == 1
    assert layer.get_color(7)[3] == 0, "tissues that fill the body start hidden"


def strangers(hu):
    mm = {"units": ("mm",) * 3, "axis_labels": ("I", "P", "L")}
    yield "plane", Image(hu[0]), "axes"
    yield "no units", Image(hu, scale=(3, 3, 3)), "axes and units"
    yield "flipped", Image(hu, scale=(-3, 3, 3), **mm), "negative"
    yield "affine", Image(hu, affine=np.diag([3, 3, -3, 1]), **mm), "affine"
    yield "labels", Labels(np.zeros(hu.shape, np.uint8), **mm), "not an image"
    yield "rgb", Image(np.zeros((5, 6, 7, 3)), rgb=True), "grey"


def test_strangers_are_placed_right_or_refused_with_words(chest):
    for name, layer, words in strangers(chest.hu):
        with pytest.raises(InputRefused) as refused:
            scan_of(layer)
        assert words in refused.value.found, name
        assert refused.value.advice, name
    original = ct_layer(chest)
    twin = Image(
        chest.hu,
        scale=original.scale,
        translate=original.translate,
        units=("mm",) * 3,
        axis_labels=("I", "P", "L"),
    )
    assert scan_of(twin).affine == pytest.approx(chest.affine)


def test_names_of_colour_maps_are_short_and_tell_them_apart():
    """The layer controls grow as wide as the longest name that napari ever met."""
    states = ("asserted", "unsupported", "not asserted")
    names = [
        heat_colormap(HEAT_MAPS[0], state, colour, pale=pale).name
        for state in states
        for colour in (None, (0.9, 0.6, 0.0), (0.3, 0.7, 1 / 3))
        for pale in (False, True)
        if not (state == "asserted" and pale)
    ]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 24
