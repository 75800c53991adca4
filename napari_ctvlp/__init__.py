"""Type what you look for in a CT; see where it is, whether it is there, and how sure the model is.

The names below are imported on first use, so that ``import napari_ctvlp`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "open_scan": "engine.verbs",
    "segment": "engine.verbs",
    "encode": "engine.verbs",
    "ground": "engine.verbs",
    "score": "engine.verbs",
    "report": "engine.reporting",
    "draft": "engine.reporting",
    "open_radiograph": "engine.radiographs",
    "ground_radiograph": "engine.radiographs",
    "parse": "core.parser",
    "Scan": "core.scan",
    "Radiograph": "core.radiograph",
    "AnatomyMap": "core.anatomy",
    "Encoding": "core.encoding",
    "Phrase": "core.phrase",
    "Heatmap": "core.heatmap",
    "FindingsTable": "core.findings",
    "CtvlpError": "errors",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'napari_ctvlp' has no attribute {name!r}")
    return getattr(import_module(f"napari_ctvlp.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
