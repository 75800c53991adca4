"""Attention and checks in a real window, answered by the compute process."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_ctvlp.core.anatomy import anatomy_from_labels
from napari_ctvlp.core.checks import Reading
from napari_ctvlp.core.geometry import transform
from napari_ctvlp.core.phantom import NODULE_RAS, phantom
from napari_ctvlp.engine import verbs
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.docks.attention_parts import weighed_words
from napari_ctvlp.ui.docks.checks import TABS, moved_words
from napari_ctvlp.ui.docks.drawings import head_at
from napari_ctvlp.ui.layers import noun_of
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.session import Run


@pytest.fixture(scope="module")
def around_nodule():
    """A cube of 96 mm around the phantom's nodule; a quarter of it called the right lung."""
    cube = phantom((24, 24, 24), (4.0, 4.0, 4.0), centre=NODULE_RAS)
    labels = np.where(cube.hu < -500, 2, 1).astype(np.uint8)
    labels[:6][labels[:6] == 2] = 3
    names = [(1, "soft_tissue"), (2, "lung_left"), (3, "lung_right")]
    return cube, anatomy_from_labels(labels, cube, names, source="drawn")


def docked(viewer, scan, anatomy, wait, *titles, model="mini"):
    room = room_of(viewer)
    docks = [make_dock(title, viewer) for title in titles]
    for dock, title in zip(docks, titles, strict=True):
        viewer.window.add_dock_widget(dock, name=title, area="right", tabify=True)
    room.add_scan(scan)
    room.session.run = Run(model=model)
    room.session.study.put("anatomy", anatomy)
    room.session.encode()
    wait(lambda: room.session.study.encoding is not None)
    room.session.cancel()
    return room, *docks


def test_words_maps_and_checks_of_the_embedded_model(viewer, bridge, around_nodule, wait, tmp_path):
    room, dock, checks = docked(viewer, *around_nodule, wait, "Attention", "Checks")
    dock.follow.setChecked(True)
    room.session.look_at(NODULE_RAS)
    wait(lambda: "<table>" in dock.words.text())
    wait(lambda: "mini has no attention" in dock.heads.note.text())
    assert "logits" in dock.words.text()

    dock.phrase.setText("nodule in the left lung")
    dock.weigh_words()
    wait(lambda: "nodule" in dock.weights.text())
    dock.ask_relevance()
    wait(lambda: dock.shown is not None)
    assert "not attention" in dock.state.text()
    (layer,) = [one for one in viewer.layers if one.name.startswith("Relevance")]
    dock.save_map(tmp_path / "cam.nii.gz")
    kept = nibabel.load(tmp_path / "cam.nii.gz")
    np.testing.assert_array_equal(np.nan_to_num(np.asarray(kept.dataobj)), layer.data)
    np.testing.assert_allclose(kept.affine, dock.shown.affine, atol=1e-4)
    inferior, posterior, left = layer.data_to_world((1, 2, 3))
    there = transform(kept.affine, (1, 2, 3))
    np.testing.assert_allclose((-left, -posterior, -inferior), there, atol=1e-3)

    checks.phrase.setText("nodule")
    checks.named.setCurrentIndex(checks.named.findData("lung_left"))
    checks.other.setCurrentIndex(checks.other.findData("lung_right"))
    for number, verb in enumerate(("check_weights", "check_organs")):
        checks.tabs.setCurrentIndex(list(TABS).index(verb))
        checks.buttons[verb].click()
        assert not checks.buttons[verb].isEnabled(), "one check at a time"
        wait(lambda verb=verb: bool(checks.answers[verb].text()))
        assert len(checks.canvases[verb].figure.axes) == (2, 1)[number]
    assert "Rank correlation" in checks.answers["check_weights"].text()
    checks.check("sensitivity")
    wait(lambda: checks.bar.value() > 5)
    checks.cancel.click()
    wait(lambda: "Cancelled" in checks.state.text())
    assert checks.buttons["sensitivity"].isEnabled()
    assert checks.canvases["sensitivity"].figure is None
    room.session.open(None)
    assert checks.answers["check_weights"].text() == ""
    assert dock.words.text() == ""


def test_attention_of_a_hosted_encoder_follows_the_crosshair(
    viewer, bridge, hosting, around_nodule, wait, tmp_path, monkeypatch
):
    hosting.host("colipri", tmp_path, monkeypatch)
    bridge.close()
    scan, anatomy = around_nodule
    room, dock = docked(viewer, scan, anatomy, wait, "Attention", model="colipri")
    centre = transform(scan.affine, (np.array(scan.shape) - 1) / 2)
    for step, direction in ((10, 0), (30, 1)):
        dock.direction.setCurrentIndex(direction)
        dock.follow.setChecked(True)
        before = dock.found
        room.session.look_at(tuple((centre + np.array((step, 0, 0))).tolist()))
        wait(lambda before=before: dock.found is not before)
        wait(lambda: not dock.looking.busy and not dock.listing.busy)
        (layer,) = [one for one in viewer.layers if one.name.startswith("Attention")]
        dock.layer.setCurrentIndex(1)
        dock.layer.activated.emit(1)
        i, p, l = np.unravel_index(layer.data.argmax(), layer.data.shape)  # noqa: E741
        peak = layer.data_to_world((i, p, l))
        away = np.abs(np.array([-peak[2], -peak[1], -peak[0]]) - room.session.point)
        assert (away <= np.linalg.norm(dock.found.affine[:3, :3], axis=0)[::-1] / 2 + 0.1).all()
    found = dock.found
    assert head_at(found, found.heads.shape[4] + 1.0, 0.0) == (0, 1)
    dock.save_map(tmp_path / "heads.nii.gz")
    kept = np.asarray(nibabel.load(tmp_path / "heads.nii.gz").dataobj)
    np.testing.assert_array_equal(kept[..., 1], found.heads[0, 1])
    assert noun_of(layer) is None
    bridge.close()
    verbs.forget()


def test_words_of_a_phrase_and_of_the_strip_plot():
    shown = weighed_words((("no", -2.0), ("<b>", 1.0)))
    assert "#5088d2" in shown
    assert "color: black" in shown
    assert "&lt;b&gt;" in shown
    rows = [
        Reading("as it is", "x", 0, 0.7, 0, 0, "present"),
        Reading("HU", "-10 HU", 0, 0.4, 0, 3, "absent"),
        Reading("HU", "+10 HU", 0, 0.8, 0, 3, "present"),
    ]
    assert moved_words(tuple(rows)).startswith("Peak 0.70 (present); HU 0.40 to 0.80. Another")
