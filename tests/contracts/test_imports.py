"""What importing each room costs, in fresh interpreters."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "monai", "torchvision"}
WINDOW = {"napari", "qtpy", "PySide6", "PyQt6", "PyQt5", "vispy", "magicgui", "superqt"}
READERS = {"nibabel", "pydicom", "highdicom", "SimpleITK"}

REPORT = """
import importlib, json, pkgutil, sys
for name in {names!r}:
    module = importlib.import_module(name)
    if {deep}:
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
            importlib.import_module(found.name)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded(*names, deep):
    """Return the top-level packages in ``sys.modules`` after importing ``names``."""
    code = REPORT.format(names=names, deep=deep)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("names", "deep", "refused"),
    [
        (["napari_ctvlp"], False, HEAVY | WINDOW | READERS | {"numpy", "scipy"}),
        (["napari_ctvlp.core", "napari_ctvlp.errors"], True, HEAVY | WINDOW | READERS),
        (["napari_ctvlp.io"], True, HEAVY | WINDOW),
        (["napari_ctvlp.models", "napari_ctvlp.engine"], True, WINDOW),
        (["napari_ctvlp.engine.client"], False, HEAVY | WINDOW | READERS),
        (["napari_ctvlp.cli.main"], False, HEAVY | WINDOW | READERS),
        (["napari_ctvlp.evaluation"], True, WINDOW),
        (["napari_ctvlp.ui.contributions"], False, HEAVY | READERS | {"napari"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_room_is_cheap(names, deep, refused):
    assert not loaded(*names, deep=deep) & refused


def test_everything_the_window_imports_is_free_of_torch():
    assert not loaded("napari_ctvlp.ui", deep=True) & HEAVY


def test_public_names_resolve():
    code = "import napari_ctvlp as n; [getattr(n, name) for name in n.__all__]; dir(n)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
