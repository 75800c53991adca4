"""Opening studies in a window: picker, preview, drop, passport, key images, export, session."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QMimeData, QPoint, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QImage
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QListWidget, QTreeWidget

import napari_ctvlp.engine.opening
from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine.opening import open_scan
from napari_ctvlp.engine.sessions import saved_session, write_session
from napari_ctvlp.errors import JobCancelled
from napari_ctvlp.ui.arrange import lay_out
from napari_ctvlp.ui.docks.export import KINDS
from napari_ctvlp.ui.files import FileWork
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.naming import NamesTable, rename
from napari_ctvlp.ui.palette import organ_colour
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.studies import PROVISIONAL

NAME, NUMBER = "Mustermann^Erika", "PAT4711X"
OURS = ("Studies", "Passport", "Key images", "Export", "Compare")


@pytest.fixture
def room(make_napari_viewer, bridge, monkeypatch, tmp_path):
    """Return the room of a hidden viewer that starts no job of its own."""
    monkeypatch.setenv("CTVLP_CONFIG", str(tmp_path / "config"))
    made = room_of(make_napari_viewer())
    monkeypatch.setattr(made, "start", lambda: None)
    return made


@pytest.fixture
def folder(tmp_path, samples):
    """One suitable series and one that is too short, of a patient with a name."""
    person = {"PatientName": NAME, "PatientID": NUMBER, "PatientBirthDate": "19640812"}
    place = tmp_path / "disc"
    first = samples.Series(place / "a", count=12, SeriesDescription=f"Thorax {NUMBER}", **person)
    first.write()
    second = samples.Series(place / "b", count=3, **person)
    second.each(lambda data, k: setattr(data, "StudyInstanceUID", first.study)).write()
    return place


def put_results(room):
    """Give the study an anatomy and a heatmap made of arithmetic."""
    study = room.session.study
    scan = study.scan
    labels = np.zeros(scan.shape, np.uint8)
    labels[2:8, 1:4, 1:5] = 1
    study.put("anatomy", anatomy_from_labels(labels, scan, [(1, "liver")], source="classical"))
    values = np.broadcast_to(np.linspace(0, 1, scan.shape[2], dtype=np.float32), scan.shape)
    phrase = Phrase("nodule in the liver", "nodule")
    room.session.grounding.emit(phrase.text, True)
    study.put(
        "heatmap", Heatmap(values.copy(), scan.affine, np.ones(scan.shape, bool), phrase, "mini")
    )


def test_one_suitable_series_opens_without_a_question(room, docked, folder, wait):
    picker = docked("Studies")
    picker.studies.look([folder])
    assert picker.stop.isEnabled()
    wait(lambda: room.session.study is not None, 60)
    scan = room.session.study.scan
    assert np.array_equal(scan.hu, open_scan(folder / "a").hu)
    (layer,) = room.viewer.layers
    assert noun_of(layer) is scan
    assert not picker.stop.isEnabled()
    assert picker.state.text() == "Opened."


def test_the_list_shows_what_there_is_and_hides_names(room, docked, folder, wait):
    picker = docked("Studies")
    picker.studies.look([folder])
    wait(lambda: picker.studies.survey is not None, 60)
    top = picker.tree.topLevelItem(0)
    assert top.text(0) == f"Mustermann Erika  ({NUMBER})"
    rows = [top.child(0).child(n) for n in range(top.child(0).childCount())]
    words = [row.text(0) for row in rows]
    assert "axial, 12 slices" in words[0]
    assert "Only 3 slices" in words[1]
    assert not any("Mustermann" in text or NUMBER in text for text in words)
    assert not rows[0].icon(0).isNull()
    picker.names.setChecked(True)
    assert top.text(0) == "Patient 1"
    assert docked("Studies").names.isChecked(), "the choice is kept"


def test_a_click_opens_a_series_with_its_middle_slice_first(
    room, docked, folder, wait, monkeypatch
):
    picker = docked("Studies")
    seen = []
    room.viewer.layers.events.inserted.connect(
        lambda event: seen.append((event.value.name, [*room.viewer.canvas.overlays]))
    )
    picker.studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    names = [name for name, _ in seen]
    assert names[0] == "Thorax (provisional)"
    assert names[1] == "Thorax"
    assert PROVISIONAL.startswith("PROVISIONAL")
    assert "ctvlp provisional" not in room.viewer.canvas.overlays
    assert len(room.viewer.layers) == 1


def test_a_slice_is_seen_before_the_survey_and_the_scan_takes_its_place(
    room, docked, folder, wait, paint
):
    studies = docked("Studies").studies
    seen, surveyed = [], []
    studies.surveyed.connect(surveyed.append)

    def inserted(event):
        overlay = room.viewer.canvas.overlays.get("ctvlp provisional")
        words = overlay.text if overlay is not None and overlay.visible else ""
        seen.append((event.value.name, words, len(surveyed), np.array(event.value.data)))

    room.viewer.layers.events.inserted.connect(inserted)
    studies.look([folder / "a"])
    wait(lambda: room.session.study is not None, 60)
    (first, words, so_far, pixels), (second, no_words, _, _) = seen
    assert (first, words, so_far) == ("Thorax (provisional)", PROVISIONAL, 0)
    assert (second, no_words) == ("Thorax", "")
    plain = open_scan(folder / "a")
    scan = room.session.study.scan
    assert scan.hu.dtype == plain.hu.dtype
    assert np.array_equal(scan.hu, plain.hu)
    assert np.array_equal(scan.affine, plain.affine)
    assert any(np.array_equal(pixels[0], plane) for plane in plain.hu)


def test_a_slice_of_what_is_not_opened_goes_away(room, docked, samples, tmp_path, wait):
    first, second = (samples.Series(tmp_path / name, count=12) for name in "ab")
    for series in (first, second):
        series.write()
    for path in (tmp_path / "b").iterdir():  # among the files of the first, neither first nor last
        path.rename(tmp_path / "a" / f"im05_b{path.name}")
    (tmp_path / "b").rmdir()
    shown = []
    room.viewer.layers.events.inserted.connect(lambda event: shown.append(event.value.name))
    studies = docked("Studies").studies
    studies.look([tmp_path])
    wait(lambda: studies.survey is not None, 60)
    assert studies.survey.only is None
    assert not room.viewer.layers
    assert "ctvlp provisional" not in room.viewer.canvas.overlays


def test_what_is_shown_is_painted_before_the_job_goes_on(qtbot, wait):
    work, events = FileWork(), []
    work.shown.connect(lambda noun: QTimer.singleShot(0, lambda: events.append(noun)))
    work.finished.connect(events.append)

    def job(progress, show):
        show("a picture")
        events.append("further")
        return "all"

    work.start(job)
    assert work.busy
    wait(lambda: not work.busy, 60)
    assert events == ["a picture", "further", "all"]


def test_a_window_may_close_while_a_folder_is_read(room, docked, folder, wait, paint, monkeypatch):
    going, closed, ended = threading.Event(), threading.Event(), threading.Event()
    reading = napari_ctvlp.engine.opening.open_item

    def slow(item, progress):
        going.set()
        closed.wait(60)
        try:
            return reading(item, progress)
        finally:
            ended.set()

    monkeypatch.setattr(napari_ctvlp.engine.opening, "open_item", slow)
    docked("Studies").studies.look([folder / "a"])
    wait(going.is_set, 60)
    assert [layer.name for layer in room.viewer.layers] == ["Thorax (provisional)"]
    room.viewer.close()
    closed.set()
    wait(ended.is_set, 60)
    paint()
    assert room.session.study is None


def test_a_cancel_changes_nothing_and_a_refusal_is_told(room, docked, folder, tmp_path, wait):
    picker = docked("Studies")
    failures = []
    picker.studies.failed.connect(failures.append)
    picker.studies.look([folder])
    picker.stop.click()
    assert isinstance(failures[0], JobCancelled)
    assert "Nothing was changed" in picker.state.text()
    (tmp_path / "empty").mkdir()
    picker.studies.look([tmp_path / "empty"])
    wait(lambda: len(failures) > 1, 60)
    assert "holds none" in picker.state.text()
    assert room.session.study is None
    assert not room.viewer.layers


def test_a_folder_dropped_on_the_window_is_ours_and_a_picture_is_napari_s(
    room, docked, folder, tmp_path, wait
):
    picker = docked("Studies")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    target = room.viewer.window._qt_viewer

    def drop(path):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        arguments = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
                     Qt.KeyboardModifier.NoModifier)  # fmt: skip
        entered = picker.drops.eventFilter(target, QDragEnterEvent(QPoint(5, 5), *arguments))
        dropped = picker.drops.eventFilter(target, QDropEvent(QPoint(5, 5).toPointF(), *arguments))
        return entered, dropped

    assert drop(tmp_path / "a.png") == (False, False)
    assert drop(folder) == (True, True)
    wait(lambda: room.session.study is not None, 60)


def test_a_label_map_opens_over_the_study(room, docked, folder, samples, tmp_path, wait):
    picker = docked("Studies")
    picker.studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    put_results(room)
    exporter = docked("Export")
    exporter.save_to("Organs as NIfTI", tmp_path / "organs.nii.gz")
    wait(lambda: "Saved" in exporter.state.text(), 60)
    picker.studies.look([tmp_path / "organs.nii.gz"])
    wait(lambda: room.session.study.anatomy.source == "opened", 60)
    assert room.session.study.anatomy.by_name["liver"].ml > 0
    assert sum(isinstance(layer, Labels) for layer in room.viewer.layers) == 1


def test_segments_with_numbers_only_are_named_in_a_table(room, docked, folder, samples, wait):
    docked("Studies").studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    study, organs = room.session.study, docked("Organs")
    labels = np.zeros(study.scan.shape, np.uint8)
    labels[2:8, 1:4, 1:3], labels[2:8, 1:4, 3:5], labels[9, 1, 1] = 1, 2, 5
    rows = [(n, f"label_{n}") for n in (1, 2, 5)]
    study.put("anatomy", anatomy_from_labels(labels, study.scan, rows, source="opened"))
    assert "Names ..." in organs.note.text()
    organs.names.click()
    (table,) = organs.findChildren(NamesTable)
    table.program.setCurrentText("TotalSegmentator 2")
    assert [edit.text() for edit in table.edits] == ["spleen", "right kidney", "liver"]
    colour = table.table.item(0, 0).background().color().getRgbF()[:3]
    assert colour == pytest.approx(organ_colour("spleen"), abs=0.01)
    table.edits[1].setText("Kidney, Lt")
    table.edits[2].setText("PTV 60 Gy")
    table.accept()
    assert [organ.name for organ in study.anatomy.organs] == ["spleen", "kidney_left", "ptv_60_gy"]
    assert organs.item_of("kidney_left").text(0) == "left kidney"
    layer = next(one for one in room.viewer.layers if isinstance(one, Labels))
    assert layer.colormap.color_dict[1][:3] == pytest.approx(organ_colour("spleen"), abs=0.01)
    rename(room.session, {"ptv_60_gy": "spleen"})
    wait(lambda: len(study.anatomy.organs) == 2, 120)
    assert study.anatomy.by_name["spleen"].ml > 0
    assert int((study.anatomy.labels == 1).sum()) == int(((labels == 1) | (labels == 5)).sum())


def test_the_passport_tells_geometry_and_objects_in_words(room, docked, wait):
    panel = docked("Passport")
    assert "No CT" in panel.text.text()
    scan = phantom()
    mirrored = Scan(scan.hu[:, :, ::-1], scan.affine, scan.source, scan.meta)
    room.session.open(mirrored)
    assert "IPL" in panel.text.text()
    assert "372 mm" in panel.text.text()
    lungs = np.zeros(scan.shape, np.uint8)
    lungs[(mirrored.hu < -700) & (mirrored.hu > -930)] = 1
    anatomy = anatomy_from_labels(lungs, mirrored, [(1, "lung_left")], source="classical")
    room.session.study.put("anatomy", anatomy)
    wait(lambda: panel.check is not None, 60)
    assert "objection" in panel.text.text()
    assert "Nothing was corrected" in panel.text.text()
    panel.copy.click()
    assert "mirror image" in QApplication.clipboard().text()


def test_key_images_bring_a_view_back_and_the_finding_is_text(room, docked, folder, wait):
    docked("Studies").studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    panel = docked("Key images")
    panel.text.click()
    assert "no finding yet" in panel.state.text()
    put_results(room)
    r, a, s = room.session.study.scan.affine[:3, 3]
    room.session.look_at((float(r), float(a), float(s)))
    room.desk.window((-500.0, 1300.0))
    panel.mark.click()
    assert panel.list.item(0).text() == "nodule in the liver"
    panel.list.item(0).setText("the nodule")
    room.session.look_at((0.0, 0.0, 110.0))
    room.desk.window((-160.0, 240.0))
    panel.back.click()
    assert room.session.point == (float(r), float(a), float(s))
    assert tuple(room.desk.ct().contrast_limits) == (-500.0, 1300.0)
    assert panel.book.images[0].caption == "the nodule"
    panel.text.click()
    assert QApplication.clipboard().text().startswith("Nodule in the liver: Cannot tell.")
    panel.forget.click()
    assert not panel.book.images


def test_everything_is_saved_and_no_name_is_in_it(room, docked, folder, tmp_path, wait, capfd):
    docked("Studies").studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    put_results(room)
    panel, out = docked("Export"), tmp_path / "out"
    out.mkdir()
    digest = room.session.study.scan.digest
    for kind, (end, needed) in KINDS.items():
        if needed == "findings":
            continue
        panel.state.setText("")
        panel.save_to(kind, out / f"ctvlp-{digest[:8]}-{end}")
        wait(lambda: panel.state.text() != "", 60)
        assert panel.state.text().startswith("Saved"), f"{kind}: {panel.state.text()}"
    panel.save_to("Findings table as CSV", out / "findings.csv")
    assert "There is none yet" in panel.state.text()
    printed = capfd.readouterr()
    searched = [b"".join(text.encode() for text in printed)]
    kept = [*out.iterdir(), *(tmp_path / "config").rglob("*")]
    for path in [one for one in kept if one.is_file()]:
        assert "ustermann" not in path.name
        if path.suffix != ".dcm":  # a DICOM SEG carries its source's identity, read again
            searched.append(path.read_bytes())
    for secret in (b"ustermann", b"MUSTERMANN", NUMBER.encode(), b"19640812", b"disc/"):
        assert not any(secret in content for content in searched), secret
    picture = QImage(str(out / f"ctvlp-{digest[:8]}-picture.png"))
    assert picture.width() > 330


def test_no_noun_of_the_session_knows_the_patient(room, docked, folder, wait):
    docked("Studies").studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    scan = room.session.study.scan
    told = f"{scan.meta} {[layer.name for layer in room.viewer.layers]}"
    assert "ustermann" not in told
    assert NUMBER not in told


def test_a_session_shows_the_same_picture_with_the_same_numbers(
    room, docked, monkeypatch, samples, tmp_path, wait
):
    monkeypatch.undo()
    small = phantom((44, 40, 52), (7.0, 7.0, 7.0))
    stored = np.ascontiguousarray(small.hu[::-1, ::-1, ::-1].transpose(2, 1, 0))
    affine = np.diag([7.0, 7.0, 7.0, 1.0])
    affine[:3, 3] = [-7 * 51 / 2, -7 * 39 / 2, -7 * 43 / 2]
    path = samples.write_nifti(tmp_path / "ct.nii", stored, affine)
    docked("Studies").studies.look([path])
    session = room.session
    wait(lambda: session.study is not None and session.study.findings is not None, 280)
    panel = docked("Export")
    session.ground("no pleural effusion", gate=False)
    wait(lambda: session.study.heatmap is not None, 120)
    denied = session.study.heatmap
    session.ground("nodule in the left lung")
    wait(lambda: session.study.heatmap is not denied, 120)
    room.desk.window((-500.0, 1300.0))
    before = session.study.heatmap.values.copy()
    panel.save_to("Session", tmp_path / "session.json")
    wait(lambda: panel.state.text().startswith("Saved"), 60)
    content = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    assert content["compute"]["threads"] >= 1
    for row, heat in zip(content["results"], (denied, session.study.heatmap), strict=True):
        assert (row["phrase"], row["verdict"]) == (heat.phrase.text, heat.verdict)
        assert row["support"] == heat.support
        assert row["shares"] == dict(heat.shares)
        assert len(row["wordings"]) == len(heat.wordings) > 1
    command = [sys.executable, "-m", "napari_ctvlp.cli.main", "session"]
    told = subprocess.run(
        [*command, str(tmp_path / "session.json")], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert json.loads(told.stdout)["results"] == [r | {"same": True} for r in content["results"]]
    assert content["results"][1]["sha256"] == hashlib.sha256(before.tobytes()).hexdigest()
    room.viewer.layers.clear()
    assert session.study is None
    ended = []
    panel.reopen.done.connect(ended.append)
    panel.reopen.start(tmp_path / "session.json")
    wait(lambda: bool(ended), 280)
    assert ended == [True], panel.state.text()
    assert np.array_equal(session.study.heatmap.values, before, equal_nan=True)
    assert tuple(room.desk.ct().contrast_limits) == (-500.0, 1300.0)


@pytest.mark.parametrize(
    "view", [{"shown": {"order": 1}}, {"shown": []}, {"images": [1]}, {"images": [{"shown": {}}]}]
)
def test_a_session_with_looks_that_are_none_is_refused(view, room, docked, tmp_path, samples, wait):
    scan = open_scan(samples.write_nifti(tmp_path / "ct.nii"))
    write_session(tmp_path / "session.json", saved_session(scan, [], view, model="mini"))
    panel = docked("Export")
    panel.reopen.start(tmp_path / "session.json")
    wait(lambda: "holds others" in panel.state.text(), 60)
    assert room.session.study is None


def test_a_second_study_scrolls_at_the_same_place_of_the_world(room, docked, wait):
    first, second = phantom((40, 36, 44), (8.0, 8.0, 8.0)), phantom((60, 36, 44), (6.0, 8.0, 8.0))
    room.add_scan(first)
    panel = docked("Compare")
    panel.compare_with(second)
    assert [noun_of(layer) for layer in panel.model.layers] == [second]
    room.session.look_at((-30.0, 10.0, -42.0))
    wait(lambda: abs(panel.model.dims.point[0] - 42.0) <= 3.0, 20)
    panel.model.dims.set_point(0, 90.0)
    assert room.session.point[2] == pytest.approx(-90.0, abs=3.0)
    panel.close_it()
    assert panel.model is None
    assert not panel.align.isEnabled()


def test_the_crosshair_lies_over_the_second_study(viewer, paint):
    viewer.window.set_geometry(0, 0, 1280, 800)
    docks, room = lay_out(viewer), room_of(viewer)
    room.add_scan(phantom((40, 36, 44), (8.0, 8.0, 8.0)))
    room.session.look_at((-30.0, 10.0, -42.0))
    docks["Compare"].compare_with(phantom((60, 36, 44), (6.0, 8.0, 8.0)))
    paint(0.8)
    picture = docks["Compare"].canvas.screenshot(flash=False)[..., :3].astype(int)
    yellow = (picture[..., 0] > 150) & (picture[..., 0] - picture[..., 2] > 40)
    assert yellow.any(axis=1).mean() > 0.9


@pytest.mark.parametrize("title", OURS)
def test_every_control_has_a_tooltip_and_a_key(title, docked):
    panel = docked(title)
    buttons = [one for one in panel.findChildren(QAbstractButton) if one.text()]
    assert buttons
    for button in buttons:
        assert button.toolTip(), button.text()
        assert "&" in button.text(), button.text()
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
    for kind in (QTreeWidget, QListWidget, QComboBox):
        for widget in panel.findChildren(kind):
            assert widget.toolTip()
            assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    keys = [button.text()[button.text().index("&") + 1].lower() for button in buttons]
    assert len(set(keys)) == len(keys), "two controls share a key"


def test_nouns_of_the_window_are_what_they_were(room, docked, folder, wait):
    docked("Studies").studies.look([folder])
    wait(lambda: room.session.study is not None, 60)
    put_results(room)
    kinds = [type(noun_of(layer)) for layer in room.viewer.layers]
    assert kinds == [Scan, AnatomyMap, Heatmap]
    assert isinstance(room.viewer.layers[0], Image)
