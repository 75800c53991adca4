"""A heatmap on the scan's grid stands where it stood, and tables hold what JSON can hold."""

import json
import math

import numpy as np
import pytest

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.geometry import ipl_affine, transform, voxel_of
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.scan import Scan, Source
from napari_ctvlp.engine import export

PHRASE = Phrase("nodule", "nodule")


def scan_of(shape=(40, 36, 44), spacing=(2.5, 1.1, 0.9), start=(-10.0, 20.0, 35.0)):
    affine = ipl_affine(spacing, start)
    return Scan(np.zeros(shape, np.int16), affine, Source((), shape, affine))


def blob(scan, point, step=4.0):
    """Return a heatmap on a 4 mm grid over the scan with its peak at a cell near a point."""
    affine = ipl_affine((step,) * 3, (-12.0, 18.0, 33.0))
    cells = np.stack(np.meshgrid(*map(np.arange, (27, 13, 13)), indexing="ij"), -1)
    centre = np.rint(voxel_of(affine, point))
    distance = np.linalg.norm((cells - centre) * step, axis=-1)
    values = np.exp(-((distance / 6) ** 2)).astype(np.float32)
    return Heatmap(values, affine, np.ones(values.shape, bool), PHRASE, "mini")


def test_the_peak_stays_within_half_a_token():
    scan = scan_of()
    heatmap = blob(scan, transform(scan.affine, (20, 18, 22)))
    on_scan = export.heatmap_on_scan(heatmap, scan)
    assert on_scan.shape == scan.shape
    peak = transform(scan.affine, np.unravel_index(np.nanargmax(on_scan), on_scan.shape))
    assert np.abs(peak - heatmap.peak_ras).max() <= 2.0
    assert np.nanmax(on_scan) == pytest.approx(heatmap.peak, abs=0.1)


def test_cells_without_a_value_do_not_dim_their_neighbours():
    scan = scan_of()
    heatmap = blob(scan, transform(scan.affine, (20, 18, 22)))
    values = np.full(heatmap.values.shape, 0.7, np.float32)
    values[:8] = np.nan
    half = Heatmap(values, heatmap.affine, heatmap.allowed, PHRASE, "mini")
    on_scan = export.heatmap_on_scan(half, scan)
    assert np.isnan(on_scan[0]).all()
    known = on_scan[np.isfinite(on_scan)]
    assert known.size > on_scan.size / 2
    np.testing.assert_allclose(known, 0.7, rtol=1e-5)


def test_stats_are_strict_json_with_everything_asked_for():
    scan = scan_of()
    heatmap = blob(scan, transform(scan.affine, (20, 18, 22)))
    stats = export.heatmap_stats(heatmap, scan)
    assert json.loads(json.dumps(stats, allow_nan=False)) == stats
    assert stats["peak_ras_mm"] == list(heatmap.peak_ras)
    assert stats["margin"] is None
    assert stats["background"]["p_value"] is None
    assert stats["phrase"]["text"] == "nodule"
    assert stats["model"]["weights"]
    assert stats["scan"]["digest"] == scan.digest


def test_a_map_that_may_not_be_searched_has_no_peak():
    scan = scan_of()
    heatmap = blob(scan, transform(scan.affine, (20, 18, 22)))
    shut = Heatmap(heatmap.values, heatmap.affine, ~heatmap.allowed, PHRASE, "mini")
    assert export.heatmap_stats(shut, scan)["peak_ras_mm"] is None


def test_the_anatomy_table_names_every_organ():
    scan = scan_of()
    labels = np.zeros(scan.shape, np.uint8)
    labels[5:9, 5:9, 5:9] = 1
    anatomy = anatomy_from_labels(labels, scan, [(1, "lung_left"), (2, "heart")], source="test")
    table = export.anatomy_table(anatomy, scan)
    left, heart = table["organs"]
    assert left["ml"] == pytest.approx(64 * 2.5 * 1.1 * 0.9 / 1000)
    assert left["complete"] is True
    assert heart["mean_hu"] is None
    json.dumps(table, allow_nan=False)


def test_score_rows_hold_none_where_nothing_could_be_judged():
    rows = (FindingRow("heart", "mass", math.nan, math.nan, math.nan, support="not here"),)
    (row,) = export.score_rows(FindingsTable(rows, "mini", "s"))
    assert row["margin"] is None
    assert row["support"] == "not here"
