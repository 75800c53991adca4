"""What a user has chosen once and finds again: napari's Preferences page, and a file of our own.

What the manifest lists under ``configurations`` is shown on napari's page and kept by napari.
What no form can show (the user's own windows) is kept as JSON in the user's settings folder,
or in the folder named by ``CTVLP_CONFIG``.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from napari_ctvlp.engine.own_vocabulary import settings_folder

PLUGIN = "napari-ctvlp"


def preference(group: str, name: str, default: Any) -> Any:
    """Return a value of napari's Preferences page, or ``default`` where there is no such page."""
    settings = _page()
    return getattr(getattr(settings, group, None), name, default)


def prefer(group: str, name: str, value: Any) -> None:
    """Change a value of the Preferences page; napari keeps it."""
    settings = _page()
    form = getattr(settings, group, None)
    if form is not None and getattr(form, name) != value:
        setattr(form, name, value)


def kept(name: str, default: Any) -> Any:
    """Return a value from our own file; one that cannot be read is as if never written."""
    return _read().get(name, default)


def keep(name: str, value: Any) -> None:
    """Write a value into our own file, whole or not at all; a full disk loses the choice only."""
    path = settings_file()
    content = {**_read(), name: value}
    fresh = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(path)


def settings_file() -> Path:
    """Return the path of our own file, which need not exist yet."""
    return settings_folder() / "choices.json"


def _read() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(settings_file().read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _page() -> Any:
    """Return napari's settings of this plugin; None before it has found the manifest."""
    from napari.settings import get_plugin_settings

    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:
        return None
