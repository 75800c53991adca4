"""The findings dock: table, matrix, one click to the evidence, own words without a restart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt

from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.findings import FindingRow, FindingsTable, merged, row_phrase
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.engine.own_vocabulary import refresh, vocabulary_file
from napari_ctvlp.errors import OutOfResources
from napari_ctvlp.ui.docks.findings import FindingsDock
from napari_ctvlp.ui.docks.findings_table import COLUMNS
from napari_ctvlp.ui.docks.matrix import colour_of
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.room import room_of

CUT = "Only 80 ml of the left kidney is in this scan."
NAN = math.nan


@pytest.fixture
def small():
    return phantom((52, 44, 62), (6.0, 6.4, 6.0))


@pytest.fixture
def room(make_napari_viewer, bridge, small):
    made = room_of(make_napari_viewer())
    made.failures = []
    made.session.failed.connect(made.failures.append)
    made.add_scan(small)
    return made


@pytest.fixture
def dock(room, qtbot):
    made = FindingsDock(room)
    qtbot.addWidget(made)
    return made


@pytest.fixture(autouse=True)
def own_words():
    yield
    vocabulary.use({})


def rows():
    return (
        FindingRow("lung_left", "nodule", 3.0, 2.0, 1.0, verdict="present", reason="It is high."),
        FindingRow("lung_right", "nodule", 1.0, 2.5, -1.5, percentile=12.0, prompts=("yes", "no")),
        FindingRow("lung_right", "kidney_cyst", NAN, NAN, NAN, support="Not taught here."),
        FindingRow("kidney_left", "kidney_cyst", NAN, NAN, NAN, support=CUT),
        FindingRow("kidney_left", "nodule", NAN, NAN, NAN, support=CUT),
    )


def put(room, unit="logit"):
    study = room.session.study
    study.put("findings", FindingsTable(rows(), "mini", study.scan.digest, unit=unit))


def tip(model, index):
    return model.data(index, Qt.ItemDataRole.ToolTipRole)


def test_the_table_hides_what_cannot_be_judged_until_it_is_wanted(room, dock):
    assert "press Run" in dock.note.text()
    put(room)
    assert dock.proxy.rowCount() == 2
    dock.filter.setText("right")
    assert dock.proxy.rowCount() == 1
    dock.filter.setText("")
    dock.everything.setChecked(True)
    assert dock.proxy.rowCount() == 5
    index = dock.model.index(3, 0)
    assert CUT in tip(dock.model, index)
    shown = dock.model.index(0, COLUMNS.index("verdict"))
    assert dock.model.data(shown, Qt.ItemDataRole.DisplayRole) == "+"
    assert "No percentiles" not in dock.note.text(), "one row has one"


def test_the_matrix_has_one_scale_and_gives_reasons(room, dock):
    put(room)
    model = dock.matrix
    assert (model.organs, model.findings) == (
        ["lung_left", "lung_right", "kidney_left"], ["nodule", "kidney_cyst"],
    )  # fmt: skip
    assert model.ends == (-2.0, 2.0)
    left, right, cut = (model.index(0, n) for n in range(3))
    assert model.share(model.row_at(left)) == pytest.approx(0.5)
    assert model.share(model.row_at(right)) == pytest.approx(-0.75)
    assert math.isnan(model.share(model.row_at(cut)))
    assert model.data(left, Qt.ItemDataRole.DisplayRole) == "+"
    for words in ("present +1.00: yes", "absent +2.50: no", "margin -1.50", "percentile 12"):
        assert words in tip(model, right)
    assert tip(model, cut).endswith(CUT)
    assert model.why_not("kidney_left") == CUT
    assert model.why_not("lung_right") == ""
    assert model.headerData(2, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) == CUT
    model.show_quantity("percentile")
    assert model.ends == (0.0, 100.0)
    assert model.share(model.row_at(right)) == pytest.approx(-0.76)
    put(room, unit="cosine")
    model.show_quantity("margin")
    assert model.ends == (-0.2, 0.2)


def test_cells_are_painted_in_their_colours(room, dock, paint):
    dock.resize(400, 700)
    dock.show()
    dock.tabs.setCurrentIndex(1)
    put(room)
    dock.session.cancel()
    paint()
    picture = dock.cells.viewport().grab().toImage()
    for n, share in enumerate((0.5, -0.75)):
        corner = dock.cells.visualRect(dock.matrix.index(0, n)).topLeft()
        assert picture.pixelColor(corner.x() + 3, corner.y() + 3) == colour_of(share)


def test_what_cannot_be_judged_says_why_and_starts_nothing(room, dock):
    put(room)
    dock._cell(dock.matrix.index(0, 2))
    assert CUT in dock.detail.text()
    assert not room.session.jobs
    room.session.failed.emit(OutOfResources("memory", "memory.", "It ran out.", "Close a scan."))
    assert "It ran out." in dock.detail.text()
    assert "Close a scan." in dock.detail.text()


def test_answers_find_their_rows():
    new = FindingRow(
        "lung_right", "nodule", 9, 9, 9, verdict="absent", calibrated=0.1, reason="No."
    )
    table = merged(FindingsTable(rows(), "mini", "x"), [new])
    assert (table.rows[1].verdict, table.rows[1].margin) == ("absent", -1.5)
    assert table.rows[0].verdict == "present"
    assert row_phrase(table.rows[0]) == "nodule in the left lung"
    assert row_phrase(FindingRow("heart", "Cardiomegaly", 0, 0, 0)) == "Cardiomegaly in the heart"


def test_one_click_shows_the_organ_the_evidence_in_it_and_its_top_slice(room, dock, wait):
    session = room.session
    room.start()
    wait(lambda: session.study.findings is not None or room.failures)
    dock.show()
    wait(lambda: all(r.verdict or r.support for r in session.study.findings.rows) or room.failures)
    assert not room.failures
    table = session.study.findings
    assert {row.verdict for row in table.rows if not row.support} <= {
        "present", "absent", "cannot tell",
    }  # fmt: skip
    number = next(
        n for n, r in enumerate(dock.model.rows) if (r.organ, r.finding) == ("lung_left", "nodule")
    )
    dock.view.clicked.emit(dock.proxy.mapFromSource(dock.model.index(number, 0)))
    wait(lambda: session.study.heatmap is not None or room.failures)
    assert not room.failures
    heat = session.study.heatmap
    assert (heat.phrase.text, heat.within) == ("nodule in the left lung", "lung_left")
    cells = transform(heat.affine, np.argwhere(heat.allowed))
    assert (cells[:, 0] < 0).all(), "the patient's left lies at negative R"
    assert np.linalg.norm(np.array(heat.peak_ras) - NODULE_RAS) < 12
    assert np.allclose(session.point, heat.peak_ras)
    layer = next(one for one in room.viewer.layers if isinstance(noun_of(one), AnatomyMap))
    assert isinstance(layer, Labels)
    assert layer.contour > 0
    assert session.shown_organs == {"lung_left"}
    assert "\u201cnodule\u201d" in dock.detail.text()
    answer = dock.model.rows[number]
    assert answer.verdict == heat.verdict
    assert answer.calibrated == pytest.approx(heat.support, nan_ok=True)
    session.show_organs(frozenset({"heart"}))
    assert layer.contour == 0, "another choice fills organs again"

    dialog = dock._own_words()
    dialog.text.setPlainText('[[finding]]\nname = "nodule"\nwords = ["nummular focus"]\n')
    dialog.save()
    session.ground("nummular focus in the left lung")
    wait(lambda: session.study.heatmap.phrase.text.startswith("nummular") or room.failures)
    assert session.study.heatmap.phrase.finding == "nodule", "the compute process knows it too"
    np.testing.assert_allclose(session.study.heatmap.peak, heat.peak, atol=1e-6)


def test_a_fault_in_ones_own_words_is_told_and_changes_nothing(room, dock):
    dialog = dock._own_words()
    dialog.text.setPlainText('[[finding]]\nname = "nodule"\nwords = ["nummular focus"]\n')
    dialog.save()
    assert "1 findings" in dialog.words.text()
    dialog.text.setPlainText('[[finding]]\nname = "nodule"\nsize = 3\n')
    dialog.save()
    assert "'size'" in dialog.words.text()
    assert "nummular" in vocabulary_file().read_text("utf-8")
    assert "nummular focus" in vocabulary.findings()["nodule"].words
    vocabulary_file().write_text("", encoding="utf-8")
    dialog.reload()
    assert "nummular focus" not in vocabulary.findings()["nodule"].words
    vocabulary_file().write_bytes(b"\xff\xfe")
    dialog.reload()
    assert "cannot be used" in dialog.words.text()
    vocabulary_file().unlink()
    assert refresh()
