"""Keys: documented, in the palette, and none that napari or its layers use."""

from __future__ import annotations

import re
from pathlib import Path

import napari.layers
from app_model.types import KeyBinding
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.action_manager import action_manager
from npe2 import PluginManifest

from napari_ctvlp.core.resources import PACKAGE
from napari_ctvlp.ui.choices import preference
from napari_ctvlp.ui.desk import COMMANDS, LAYOUTS
from napari_ctvlp.ui.room import room_of
from napari_ctvlp.ui.views.keys import Keys
from napari_ctvlp.ui.windows import WINDOWS, forget_window, keep_window, own_windows

DOCS = Path(__file__).resolve().parents[2] / "docs" / "keys.md"


def spelt(key):
    """Return a key in one spelling."""
    return str(KeyBinding.validate(key))


def taken_by_napari():
    """Collect the keys of napari's actions, menus, viewer and every kind of layer."""
    kinds = [one for one in vars(napari.layers).values() if isinstance(one, type)]
    owners = [ViewerModel, *(kind for kind in kinds if issubclass(kind, Layer))]
    found = {spelt(key) for owner in owners for key in owner.class_keymap}
    found |= {spelt(str(one.keybinding)) for one in get_app_model().keybindings}
    for shortcuts in action_manager._shortcuts.values():
        found |= {spelt(str(key)) for key in shortcuts}
    return found


def test_no_key_is_taken_from_napari(make_napari_viewer):
    make_napari_viewer()
    taken = taken_by_napari()
    assert {"1", "7", "B", "Ctrl+E"} <= taken, "napari's own keys were found"
    ours = [spelt(command.key) for command in COMMANDS]
    assert len(set(ours)) == len(ours)
    assert not set(ours) & taken
    menus = {"Alt+F", "Alt+V", "Alt+L", "Alt+P", "Alt+W", "Alt+H"}
    assert not set(ours) & menus


def test_the_page_of_keys_lists_every_command_once():
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(key, title) for key, title in rows] == [(c.key, c.title) for c in COMMANDS]


def test_every_command_is_in_the_palette_and_runs(make_napari_viewer, chest, bridge):
    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    listed = {c.id: (c.title, c.python_name) for c in manifest.contributions.commands}
    viewer = make_napari_viewer()
    room_of(viewer).add_scan(chest)
    for command in COMMANDS:
        title, target = listed[f"napari-ctvlp.{command.name}"]
        assert title == command.title
        module, name = str(target).split(":")
        getattr(__import__(module, fromlist=[name]), name)()
    form = manifest.contributions.configurations["reading"].properties
    assert form["layout"].enum == list(LAYOUTS)
    assert form["window"].enum == list(WINDOWS)


def test_keys_work_where_the_focus_is_and_leave_layer_modes_alone(
    make_napari_viewer, chest, bridge
):
    viewer = make_napari_viewer()
    room = room_of(viewer)
    layer = room.add_scan(chest)
    side = ViewerModel()
    keys = [Keys(viewer, room.desk), Keys(side, room.desk)]
    side.keymap[KeyBinding.validate("Alt+2")](side)
    assert tuple(layer.contrast_limits) == WINDOWS["Lung"]
    keep_window("mine", (-10.0, 90.0))
    viewer.keymap[KeyBinding.validate("Alt+8")](viewer)
    assert tuple(layer.contrast_limits) == (-10.0, 90.0)
    viewer.keymap[KeyBinding.validate("F4")](viewer)
    assert preference("reading", "layout", "") == "four", "the choice is kept"
    assert not {spelt(k) for k in viewer.keymap} & {spelt(k) for k in Labels.class_keymap}
    for one in keys:
        one.close()
    assert not viewer.keymap


def test_own_windows_survive_and_bad_files_do_no_harm(own_choices, tmp_path):
    keep_window("a", (0, 100))
    keep_window("b", (5, 6))
    keep_window("a", (1, 2))
    assert own_windows() == {"a": (1, 2), "b": (5, 6)}
    forget_window("a")
    assert own_windows() == {"b": (5, 6)}
    (tmp_path / "choices" / "choices.json").write_text('{"windows": [["x"], ["y", 9, 1], 3]}')
    assert own_windows() == {}
    (tmp_path / "choices" / "choices.json").write_text("no json")
    assert own_windows() == {}
