"""Published encoders in a real window, answered by the compute process; their checkpoints small."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from qtpy.QtCore import Qt

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.radiograph import RadiographMap
from napari_ctvlp.engine import verbs
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.docks.findings import COLUMNS
from napari_ctvlp.ui.docks.radiograph import RadiographDock
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.room import room_of

HEART = (-22, 25, -45)


@pytest.fixture
def hosted(hosting, bridge, tmp_path, monkeypatch):
    """Host small models; a compute process that was started before does not know them."""

    def host(model: str) -> None:
        hosting.host(model, tmp_path, monkeypatch)
        bridge.close()

    yield host
    bridge.close()
    verbs.forget()


@pytest.fixture
def scan():
    return phantom((52, 44, 62), (6.0, 6.4, 6.0))


def with_heart(scan, anatomy):
    """Add a heart to an anatomy, as somebody would who draws it."""
    labels = anatomy.labels.copy()
    points = transform(scan.affine, np.moveaxis(np.indices(scan.shape), 0, -1))
    labels[np.linalg.norm((points - HEART) / (50, 40, 46), axis=-1) < 1] = 200
    names = [(organ.id, organ.name) for organ in anatomy.organs if organ.name != "heart"]
    return anatomy_from_labels(labels, scan, [*names, (200, "heart")], source="drawn")


def shown(dock, row, column):
    """Return the words of a cell and of its column's head."""
    index = dock.model.index(row, COLUMNS.index(column))
    head = dock.model.headerData(index.column(), Qt.Orientation.Horizontal)
    return dock.model.data(index), head


def test_findings_of_fvlm_are_told_as_what_they_are(viewer, hosted, scan, wait, paint):
    """Organs by the chosen segmenter, then somebody's own; pair's probability, percentile, maps."""
    hosted("fvlm")
    room = room_of(viewer)
    failures = []
    room.session.failed.connect(failures.append)
    dock, run = (make_dock(title, viewer) for title in ("Findings", "Reading room"))
    for one in (dock, run):
        viewer.window.add_dock_widget(one)
    session = room.session
    room.add_scan(scan)
    run.form.organs.value, run.form.model.value = "classical", "fvlm"
    run.run_button.click()
    wait(lambda: session.study.findings is not None or failures)
    assert not failures
    assert session.study.anatomy.source == "classical"
    assert session.study.findings.model == "fvlm"

    session.study.put("anatomy", with_heart(scan, session.study.anatomy))
    run.run_button.click()
    wait(lambda: (session.study.findings or failures) and not session.jobs)
    paint()
    assert session.study.anatomy.source == "drawn", "organs of one's own stay"
    rows = dock.model.rows
    assert {row.finding: row for row in rows}["Cardiomegaly"].support == ""
    for number, row in enumerate(rows):
        (probability, title), (about, rank) = (
            shown(dock, number, name) for name in ("probability", "percentile")
        )
        if row.support:
            assert (probability, about) == ("", "")
        else:
            assert probability == f"{row.probability:.3f}"
            assert about == f"{row.percentile:.0f}"
    assert (title, rank) == ("probability\n(pair, uncalibrated)", "percentile\n(about)")
    assert any(row.support for row in rows)
    for name in ("probability", "percentile"):
        assert not dock.view.isColumnHidden(COLUMNS.index(name))
        tip = dock.model.headerData(
            COLUMNS.index(name), Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole
        )
        assert tip
    assert "uncalibrated" in dock.note.text()
    assert "approximate" in dock.note.text()
    session.attend("heart")
    wait(lambda: session.study.attention is not None or failures)
    (layer,) = [one for one in viewer.layers if one.name.startswith("Attention")]
    middle = np.argwhere(layer.data > 0).mean(axis=0)
    inferior, posterior, left = layer.data_to_world(middle)
    assert np.linalg.norm(np.array([-left, -posterior, -inferior]) - HEART) < 20

    for kind in ("parts of the score", "each cell by itself"):
        run.form.maps.value = kind
        before = session.study.heatmap
        session.ground("effusion of the heart")
        wait(lambda known=before: session.study.heatmap is not known or failures)
        assert session.study.heatmap.organ == "heart"
        assert session.study.heatmap.kind == ("split" if kind.startswith("parts") else "cosine")
    answers = make_dock("Answers", viewer)
    viewer.window.add_dock_widget(answers)
    answers.gallery.add(session.study.heatmap)
    answers.models.setCurrentText("mini")
    answers.table.selectRow(answers.table.rowCount() - 1)
    answers.ask.click()
    wait(lambda: "mini:" in answers.state.text() or failures)
    assert not failures
    pair = list(answers.gallery.answers.values())[-2:]
    assert [one.heat.model for one in pair] == ["fvlm", "mini"]
    assert pair[0].heat.values.shape != pair[1].heat.values.shape
    assert pair[0].heat.phrase.text == pair[1].heat.phrase.text
    session.study.put("findings", FindingsTable((FindingRow("lung", "mass", 1, 0, 1),), "x", ""))
    assert dock.view.isColumnHidden(COLUMNS.index("probability"))
    assert dock.note.text().startswith("Similarities, not probabilities.")


def test_a_radiograph_is_answered(viewer, hosted, bridge, wait, qtbot, tmp_path: Path):
    hosted("biovil_t")
    pixels = np.random.default_rng(1).integers(0, 4000, (128, 160)).astype(np.uint16)
    Picture.fromarray(pixels).save(tmp_path / "chest.png")
    Picture.fromarray(pixels[::-1].copy()).save(tmp_path / "before.png")
    dock = RadiographDock(viewer, bridge)
    viewer.window.add_dock_widget(dock, name="Radiograph")
    dock.open(tmp_path / "chest.png")
    qtbot.keyClicks(dock.edit, "pleural effusion")
    qtbot.keyClick(dock.edit, Qt.Key.Key_Return)
    wait(lambda: "Highest cosine" in dock.answer.text())
    assert dock.bar.isHidden()
    assert [layer.name for layer in viewer.layers] == ["chest", "Heat: pleural effusion"]
    found = noun_of(viewer.layers[1])
    assert isinstance(found, RadiographMap)
    expected = verbs.ground_radiograph(
        verbs.open_radiograph(tmp_path / "chest.png"), found.phrase.text
    )
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert math.isfinite(found.peak)
    assert f"{found.peak:.3f}" in dock.answer.text()
    assert viewer.layers[1].data.shape == (128, 160)

    dock.compare(tmp_path / "before.png")
    assert dock.prior_button.text() == "Earlier: before"
    qtbot.keyClick(dock.edit, Qt.Key.Key_Return)
    wait(lambda: dock.answer.text().startswith("Compared with the earlier picture."))
    again = noun_of(viewer.layers[1])
    assert again.prior == dock.prior.digest
    assert not np.allclose(np.nan_to_num(again.values), np.nan_to_num(found.values))
    dock.open(tmp_path / "chest.png")
    assert dock.prior is None, "another picture has other priors"
