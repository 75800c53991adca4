"""The cohort dock in a window: rank, filter, plot, open from kept tokens, read on, mark."""

from __future__ import annotations

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ctvlp.cohort.batch import batch
from napari_ctvlp.cohort.store import Store
from napari_ctvlp.core.phantom import chest_hu
from napari_ctvlp.engine import verbs
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.room import room_of

PHRASE = "nodule in the left lung"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of two pieces of the phantom and a broken file, with tokens."""
    folder = tmp_path_factory.mktemp("archive")
    for number, centre in enumerate([(-70.0, -30.0, -30.0), (60.0, 0.0, -40.0)]):
        shape, affine = (22, 20, 18), np.diag([3.0, 3.0, 3.0, 1.0])
        affine[:3, 3] = np.array(centre) - 1.5 * (np.array(shape) - 1)
        image = nibabel.Nifti1Image(chest_hu(shape, affine), affine)
        image.header.set_xyzt_units("mm")
        image.to_filename(folder / f"{number}.nii.gz")
    (folder / "2.nii.gz").write_bytes(b"")
    report = batch(folder, folder / "store", phrases=[PHRASE], workers=0, tokens=True)
    assert (report.done, report.failed) == (3, 1)
    return folder / "store"


@pytest.fixture
def room(viewer):
    return room_of(viewer)


@pytest.fixture
def dock(room, viewer, store, wait):
    """Return the dock in its window, the store read."""
    widget = make_dock("Cohort", viewer)
    viewer.window.add_dock_widget(widget, name="Cohort", area="right")
    widget.cohort.look(store)
    wait(lambda: widget.model.reading is not None, 60)
    return widget


def press(dock, key, wait):
    """Press Alt and a key in the window of the dock."""
    window = dock.window()
    window.activateWindow()
    wait(lambda: QApplication.activeWindow() is window, 30)
    QTest.keyClick(window, key, Qt.KeyboardModifier.AltModifier)


def cell(dock, row, column):
    place = dock.model.reading.columns.index(column)
    return dock.model.data(dock.model.index(row, place), 0)


def test_rows_are_searched_filtered_and_sorted(dock):
    assert dock.state.text() == "store: 3 scans, 1 failed."
    assert [cell(dock, n, "scan") for n in range(3)] == ["000001", "000002", "000003"]
    dock.filter.setText("failed")
    assert [cell(dock, n, "scan") for n in range(dock.model.rowCount())] == ["000003"]
    dock.filter.clear()
    dock.where.setText("liver_ml > 100")
    dock.where.returnPressed.emit()
    kept = [cell(dock, n, "scan") for n in range(dock.model.rowCount())]
    liver = dict(
        Store(dock.model.reading.store.folder).connect()
        .execute("SELECT scan, ml FROM organs WHERE organ = 'liver'").fetchall()
    )  # fmt: skip
    assert kept == [scan for scan in sorted(liver) if liver[scan] > 100]
    dock.where.setText("no_such > 1")
    dock.where.returnPressed.emit()
    assert "DuckDB says" in dock.state.text()
    dock.where.clear()
    dock.where.returnPressed.emit()
    column = dock.model.reading.columns.index("scan")
    dock.view.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert cell(dock, 0, "scan") == "000003"


def test_a_phrase_ranks_and_a_double_click_opens_at_the_peak_without_encoding(
    dock, room, store, wait, paint, monkeypatch, tmp_path
):
    verbs_asked = []
    submit = room.bridge.submit
    monkeypatch.setattr(
        room.bridge, "submit", lambda verb, **a: verbs_asked.append(verb) or submit(verb, **a)
    )
    dock.phrase.setText(PHRASE)
    dock.phrase.returnPressed.emit()
    wait(lambda: dock.cohort.phrase == PHRASE, 240)
    assert [cell(dock, n, "rank") for n in range(3)] == ["1", "2", ""]
    for name in ("rank", "score", "percentile", "answer"):
        assert dock.view.columnWidth(dock.model.reading.columns.index(name)) > 20, name
    assert "lung left" in dock.state.text()
    first = dock.model.scan_at(0)
    point = dock.view.visualRect(dock.model.index(0, 0)).center()
    for click in (QTest.mouseClick, QTest.mouseDClick):  # as a hand does it
        click(dock.view.viewport(), Qt.MouseButton.LeftButton, pos=point)
    session = room.session
    wait(lambda: session.study is not None and session.study.heatmap is not None, 240)
    (peak,) = (
        Store(store).connect()
        .execute("SELECT [peak_r, peak_a, peak_s] FROM phrases WHERE scan = ?", [first])
        .fetchone()
    )  # fmt: skip
    assert session.study.heatmap.peak_ras == pytest.approx(peak)
    assert session.point == pytest.approx(peak)
    assert "encode" not in verbs_asked
    assert "segment" not in verbs_asked
    wait(lambda: session.study.findings is not None and session.study.findings.reference, 240)
    assert session.study.findings.reference == "2 scans of store"
    findings = make_dock("Findings", room.viewer)
    assert "2 scans of store" in findings.note.text()
    assert dock.cohort.scan == first
    dock.across.setCurrentText("lung_left_ml")
    dock.across.activated.emit(dock.across.currentIndex())
    assert [line.get_label() for line in dock.plot.figure.axes[0].lines] == ["open scan"]
    dock.up.setCurrentText("score")
    dock.up.activated.emit(dock.up.currentIndex())
    assert len(dock.plot.figure.axes[0].lines) == 2
    opened = []
    dock.cohort.opened.connect(opened.append)
    press(dock, Qt.Key.Key_Down, wait)
    wait(lambda: opened == [dock.model.scan_at(1)], 120)
    press(dock, Qt.Key.Key_Up, wait)
    wait(lambda: opened[-1] == first, 120)
    wait(lambda: not session.jobs, 240)
    paint()


def test_marks_are_saved_with_a_date(dock, store, wait):
    dock.view.clearSelection()
    dock.view.selectRow(1)
    press(dock, Qt.Key.Key_Y, wait)
    dock.view.selectRow(0)
    press(dock, Qt.Key.Key_N, wait)
    marks = {row["scan"]: row for row in pq.read_table(store / "marks.parquet").to_pylist()}
    assert {scan: row["mark"] for scan, row in marks.items()} == {
        "000001": "reject", "000002": "accept",
    }  # fmt: skip
    assert cell(dock, 1, "mark") == "accept"
    assert cell(dock, 1, "mark_date") == marks["000002"]["date"][:16].replace("T", " ")
    dock.unmark.click()
    assert cell(dock, 0, "mark") == ""


def test_what_is_no_store_is_told(room, viewer, tmp_path, wait):
    widget = make_dock("Cohort", viewer)
    widget.cohort.look(tmp_path)
    wait(lambda: "no store.json" in widget.state.text(), 60)
    assert not widget.phrase.isEnabled()


def test_kept_tokens_are_those_that_encode_gives(store):
    from napari_ctvlp.cohort.reading import Reading

    opened = Reading(store).open("000001")
    assert opened.kept[1].digest == verbs.encode(opened.scan).digest
