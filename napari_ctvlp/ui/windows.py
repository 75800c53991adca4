"""Window presets: the usual ones and the user's own, in HU."""

from __future__ import annotations

import math

from napari_ctvlp.ui.choices import keep, kept

Limits = tuple[float, float]

#: Name to (low, high) in HU; buttons and keys keep this order.
WINDOWS: dict[str, Limits] = {
    "Soft tissue": (-160.0, 240.0),
    "Lung": (-1350.0, 150.0),
    "Bone": (-500.0, 1300.0),
    "Brain": (0.0, 80.0),
    "Liver": (-15.0, 135.0),
    "Mediastinum": (-125.0, 225.0),
    "Angio": (-100.0, 500.0),
}
#: Kept at most, so that the list stays one that can be read.
MOST_OWN = 12
_KEPT_AS = "windows"


def own_windows() -> dict[str, Limits]:
    """Return the user's own windows in the order they were made; unusable ones are left out."""
    rows = kept(_KEPT_AS, [])
    found: dict[str, Limits] = {}
    for row in rows if isinstance(rows, list) else ():
        try:
            name, low, high = str(row[0]), float(row[1]), float(row[2])
        except (TypeError, ValueError, LookupError):
            continue
        if name and math.isfinite(low) and math.isfinite(high) and low < high:
            found[name] = (low, high)
    return found


def keep_window(name: str, limits: Limits) -> None:
    """Keep a window of the user's under a name; one of that name is replaced."""
    own = {**own_windows(), name: limits}
    _write(dict(list(own.items())[-MOST_OWN:]))


def forget_window(name: str) -> None:
    """Drop a window of the user's."""
    own = own_windows()
    own.pop(name, None)
    _write(own)


def level_width(limits: Limits) -> tuple[float, float]:
    """Return level and width of (low, high)."""
    return (limits[0] + limits[1]) / 2, limits[1] - limits[0]


def limits_of(level: float, width: float) -> Limits:
    """Return (low, high) of a level and a width."""
    return level - width / 2, level + width / 2


def _write(own: dict[str, Limits]) -> None:
    keep(_KEPT_AS, [[name, low, high] for name, (low, high) in own.items()])
