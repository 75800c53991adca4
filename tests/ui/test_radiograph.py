"""The radiograph dock in a real window, answered by the compute process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.radiograph import Radiograph, RadiographMap
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.ui.docks.radiograph import RadiographDock, map_layer, picture_layer
from napari_ctvlp.ui.layers import noun_of, scan_of


@pytest.fixture
def chest_png(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 4000, (128, 160)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def test_a_picture_is_opened_asked_and_answered(
    viewer, bridge, wait, qtbot, chest_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without weights the answer says which files are missing and where they belong."""
    monkeypatch.setenv("CTVLP_MODELS", str(tmp_path / "models"))
    dock = RadiographDock(viewer, bridge)
    viewer.window.add_dock_widget(dock, name="Radiograph")
    dock.open(tmp_path / "none.png")
    assert "cannot be read" in dock.answer.text()
    dock.open(chest_png)
    (layer,) = viewer.layers
    assert isinstance(noun_of(layer), Radiograph)
    assert layer.name == "chest"
    assert "bones are taken as bright" in dock.answer.text()
    with pytest.raises(InputRefused):
        scan_of(layer)
    qtbot.keyClicks(dock.edit, "pleural effusion")
    qtbot.keyClick(dock.edit, Qt.Key.Key_Return)
    wait(lambda: "biovil_t_image_model_proj_size_128.pt" in dock.answer.text(), seconds=120)
    assert dock.bar.isHidden()
    assert list(viewer.layers) == [layer]


def test_an_answer_lies_over_its_picture_and_goes_with_it(viewer, bridge, chest_png: Path):
    dock = RadiographDock(viewer, bridge)
    dock.open(chest_png)
    values = np.full((128, 160), np.nan, np.float32)
    values[8:120, 24:136] = np.linspace(-0.2, 0.4, 112, dtype=np.float32)
    digest = dock.radiograph.digest
    found = RadiographMap(values, parse("effusion"), "biovil_t", digest, 0.1)
    dock._number = 5
    bridge.finished.emit(5, found)
    assert [layer.name for layer in viewer.layers] == ["chest", "Heat: effusion"]
    assert viewer.layers[1].contrast_limits == pytest.approx([0, 0.4])
    assert "cannot be told" in dock.answer.text()
    bridge.finished.emit(4, found)
    assert len(viewer.layers) == 2
    dock.open(chest_png)
    assert [layer.name for layer in viewer.layers] == ["chest"]


def test_layers_share_place_and_size():
    picture = Radiograph(np.arange(12).reshape(3, 4), (0.2, 0.3), window=(2.0, 9.0))
    layer = picture_layer(picture)
    assert tuple(layer.scale) == (0.2, 0.3)
    assert tuple(layer.contrast_limits) == (2, 9)
    values = np.full((3, 4), -0.1, np.float32)
    over = map_layer(RadiographMap(values, parse("mass"), "biovil_t", picture.digest), picture)
    assert tuple(over.scale) == (0.2, 0.3)
    assert tuple(over.contrast_limits) == (0, 1)
