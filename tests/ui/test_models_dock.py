"""The models dock in a real window: states, import through the worker, licence, delete."""

from __future__ import annotations

import pytest
import torch
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_ctvlp.core.phantom import phantom
from napari_ctvlp.models import store
from napari_ctvlp.models.segmenters.monai_bundle import network
from napari_ctvlp.ui.arrange import make_dock
from napari_ctvlp.ui.room import room_of

MODEL = "wholebody-3mm"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Keep models in a folder of the test; the real switches do not count."""
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("CTVLP_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("CTVLP_SWITCHED_OFFLINE", "")  # given back after the test
    monkeypatch.delenv("CTVLP_SWITCHED_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return tmp_path


@pytest.fixture
def checkpoint(folder):
    path = folder / "model_lowres.pt"
    torch.save(network(store.card(MODEL).settings["network"]).state_dict(), path)
    return path


@pytest.fixture
def docks(make_napari_viewer, bridge, folder, qtbot):
    """The models dock and the run dock of one window."""
    viewer = make_napari_viewer()
    made = [make_dock(title, viewer) for title in ("Models", "Reading room")]
    for dock in made:
        qtbot.addWidget(dock)
        dock.show()
    return (*made, room_of(viewer))


def chosen(dock, model):
    dock.table.selectRow([card.id for card in dock.cards].index(model))
    return dock


def cell(dock, model, column):
    row = [card.id for card in dock.cards].index(model)
    return dock.table.item(row, column).text()


def test_every_model_is_listed_and_what_is_missing_is_named(docks, folder):
    dock = docks[0]
    assert dock.table.rowCount() == len(store.cards())
    assert cell(dock, "mini", 2) == "ready"
    chosen(dock, "mini")
    assert not any(dock.buttons[name].isEnabled() for name in ("Get", "Delete", "Import file"))
    assert cell(dock, MODEL, 2) == "files missing"
    words = chosen(dock, MODEL).details.text()
    for told in ("model_lowres.pt", str(store.folder_of(store.card(MODEL))), "Apache-2.0"):
        assert told in words
    assert dock.buttons["Import file"].isEnabled()
    assert not dock.buttons["Verify"].isEnabled()


def test_import_and_delete(docks, folder, checkpoint, wait, monkeypatch):
    dock, _, room = docks
    told = []
    room.session.models_changed.connect(lambda: told.append(1))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(checkpoint), ""))
    room.bridge.close()  # a process that was started before does not know the folder of this test
    chosen(dock, MODEL).buttons["Import file"].click()
    assert not dock.buttons["Import file"].isEnabled()
    wait(lambda: dock._number == 0)
    assert dock.state.text() == "Imported model_lowres.pt."
    assert cell(dock, MODEL, 2) == "ready"
    assert float(cell(dock, MODEL, 3)) == pytest.approx(checkpoint.stat().st_size / 1e6, abs=1)
    assert told
    dock.buttons["Delete"].click()
    assert "MB were freed" in dock.state.text()
    assert cell(dock, MODEL, 2) == "files missing"
    room.bridge.close()


def test_a_wrong_file_is_refused_in_the_words_of_the_house(docks, folder, wait, monkeypatch):
    dock = docks[0]
    (folder / "other.bin").write_bytes(b"something else")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(folder / "other.bin"), ""))
    chosen(dock, MODEL).buttons["Import file"].click()
    wait(lambda: dock._number == 0)
    assert "Expected: one of these files" in dock.state.text()


def test_a_licence_is_accepted_by_a_click(docks, monkeypatch):
    dock = docks[0]
    model = next(card for card in store.cards() if (b := store.bundle(card)) and b.ask)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    chosen(dock, model.id).buttons["Accept licence"].click()
    assert not store.accepted(model)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    dock.buttons["Accept licence"].click()
    assert store.accepted(model)
    assert not dock.buttons["Accept licence"].isEnabled()


def test_the_offline_box_is_the_switch(docks):
    dock = docks[0]
    assert not store.offline()
    dock.offline.setChecked(True)
    assert store.offline()
    dock.offline.setChecked(False)
    assert not store.offline()


def test_the_run_dock_offers_what_can_run_and_greys_the_rest(docks):
    run, box = docks[1], docks[1].form.model.native
    states = {card.id: store.state_of(card) for card in store.cards("encoder")}
    assert box.count() == len(states)
    for place in range(box.count()):
        name = box.itemText(place).split(" ")[0]
        assert box.model().item(place).isEnabled() == states[name].usable
        if not states[name].usable:
            assert states[name].word in box.itemText(place)
            assert box.itemData(place, 3) == states[name].reason
    assert run.session.run.model == "mini"
    docks[2].add_scan(phantom((20, 22, 26), (11.0, 11.5, 12.0)))
    assert run.cost.text().startswith("mini will need about 0.")
