"""A whole session on a patient with a name: what it wrote and showed is searched for her."""

from __future__ import annotations

import gzip
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from napari import settings
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication, QComboBox, QLabel, QLineEdit, QTreeWidget, QWidget

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.ui.arrange import lay_out
from napari_ctvlp.ui.docks.export import KINDS
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.studies import studies_of

PERSON = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "PAT4711X",
    "PatientBirthDate": "19640812",
    "AccessionNumber": "ACC99881",
    "InstitutionName": "Klinik Musterstadt",
    "ReferringPhysicianName": "Hausarzt^Horst",
    "StudyDescription": "Thorax of Mustermann",
    "SeriesDescription": "Chest PAT4711X",
}
WORDS = ("ustermann", "USTERMANN", "Erika", "PAT4711X", "19640812", "ACC99881", "Musterstadt",
         "Hausarzt")  # fmt: skip


@pytest.fixture
def series(tmp_path, samples):
    """The procedural chest as a DICOM series, in a folder that is called after the patient."""
    body = phantom((44, 40, 52), (7.0, 7.0, 7.0))
    made = samples.Series(tmp_path / "Mustermann_Erika", count=44, **PERSON)

    def change(data, k):
        data.Rows, data.Columns = body.hu.shape[1:]
        data.PixelSpacing = [7.0, 7.0]
        data.ImagePositionPatient = [-178.5, -136.5, -7.0 * k]
        data.PixelData = (np.clip(body.hu[k], -1024, 3000) + 1024).astype("<u2").tobytes()

    made.each(change).write()
    return made


def contents(path):
    """Yield what a file holds, unpacked where it is packed."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    yield content
    if content[:2] == b"PK":
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode() + archive.read(name)


def written(folders):
    """Yield name and content of every file in some folders; a DICOM SEG says whose it is."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".dcm":
                for content in contents(path):
                    yield str(path.relative_to(folder)).encode() + b"\n" + content


def shown(main, viewer):
    """Yield every word of the window but those of the picker's tree, and what layers carry."""
    yield main.windowTitle()
    for kind in (QLabel, QLineEdit, QComboBox):
        for widget in main.findChildren(kind):
            yield f"{getattr(widget, 'text', str)()} {widget.toolTip()}"
            if isinstance(widget, QComboBox):
                yield " ".join(widget.itemText(n) for n in range(widget.count()))
    for tree in main.findChildren(QTreeWidget):
        if tree is not studies_tree(main):
            for n in range(tree.topLevelItemCount()):
                yield tree.topLevelItem(n).text(0)
    for layer in viewer.layers:
        yield f"{layer.name} {layer.source.path} {sorted(map(str, layer.metadata))}"
    for overlay in viewer.canvas.overlays.values():
        yield str(getattr(overlay, "text", ""))


def studies_tree(main):
    return next(
        one for one in main.findChildren(QWidget) if type(one).__name__ == "StudiesDock"
    ).tree


def test_a_whole_session_leaves_no_identity(
    viewer, bridge, series, tmp_path, wait, paint, capfd, caplog
):
    room = room_of(viewer)
    docks = lay_out(viewer)
    studies_of(room).look([series.folder])
    session = room.session
    wait(lambda: session.study is not None and session.study.findings is not None, 280)
    session.ground("nodule in the left lung")
    wait(lambda: session.study.heatmap is not None, 120)
    docks["Key images"].mark.click()
    docks["Key images"].text.click()
    said = [QApplication.clipboard().text()]
    docks["Passport"].copy.click()
    said.append(QApplication.clipboard().text())
    out = tmp_path / "out"
    out.mkdir()
    export = docks["Export"]
    for kind, (end, _) in KINDS.items():
        export.state.setText("")
        export.save_to(kind, out / f"ctvlp-{session.study.scan.digest[:8]}-{end}")
        wait(lambda: export.state.text() != "", 120)
        assert export.state.text().startswith("Saved"), f"{kind}: {export.state.text()}"
    paint(0.5)
    main = docks["Views"].window()
    assert PERSON["PatientID"] in studies_tree(main).topLevelItem(0).text(0), "the picker shows it"
    said += shown(main, viewer)
    # a second series of hers that is broken: what is said of it
    broken = series.slices[0]
    broken.PixelData = broken.PixelData[:100]
    (tmp_path / "broken").mkdir()
    broken.save_as(tmp_path / "broken" / "im0", enforce_file_format=True)
    failures = []
    studies_of(room).failed.connect(failures.append)
    session.failed.connect(failures.append)
    room.open_path(tmp_path / "broken")
    wait(lambda: bool(failures), 60)
    said += [f"{failure} {failure.as_dict()}" for failure in failures]
    paint(0.2)
    said += shown(main, viewer)
    said += [str(record.message) for record in notification_manager.records]
    said += [*capfd.readouterr(), caplog.text]
    process = bridge.client._process
    config = Path(settings._CFG_PATH).parent
    cache = Path(os.environ["CTVLP_CACHE"])
    folders = (out, tmp_path / "choices", config, cache, process.folder)
    files = list(written(folders))
    assert any(b"session" in content[:80] for content in files)
    assert (process.folder / "worker.log").is_file()
    uids = (series.uid, series.study, series.frame, *(one.SOPInstanceUID for one in series.slices))
    for secret in (*WORDS, *uids):
        assert not [text[:300] for text in said if secret in text], secret
        assert not [content[:80] for content in files if secret.encode() in content], secret
