"""What a window shows, as plain values: for key images and session files, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from napari_ctvlp.ui.room import Room
from napari_ctvlp.ui.session import Look, Point


@dataclass(frozen=True)
class Shown:
    """One look at a study.

    Attributes
    ----------
    point : (r, a, s) or None
        Crosshair, RAS mm.
    window : (low, high) or None
        HU.
    order : tuple of int
        Axis order of the main view.
    organs : tuple of str
        Organs that are drawn.
    look : mapping
        Fields of :class:`~napari_ctvlp.ui.session.Look`.
    """

    point: Point | None
    window: tuple[float, float] | None
    order: tuple[int, ...]
    organs: tuple[str, ...]
    look: Mapping[str, Any]


def shown_now(room: Room) -> Shown:
    """Return what the window shows."""
    layer = room.desk.ct()
    limits = None if layer is None else tuple(float(x) for x in layer.contrast_limits)
    return Shown(
        point=room.session.point,
        window=limits,  # type: ignore[arg-type]
        order=tuple(int(axis) for axis in room.viewer.dims.order),
        organs=tuple(sorted(room.session.shown_organs)),
        look=asdict(room.session.look),
    )


def show_again(room: Room, shown: Shown) -> None:
    """Bring a look back; organs that the study lacks are left out."""
    session = room.session
    if len(shown.order) == room.viewer.dims.ndim:
        room.viewer.dims.order = tuple(shown.order)
    if shown.window is not None:
        low, high = shown.window
        room.desk.window((low, high))
    session.set_look(Look(**shown.look))
    if session.study is not None and session.study.anatomy is not None:
        known = session.study.anatomy.by_name
        session.show_organs(frozenset(name for name in shown.organs if name in known))
    if shown.point is not None:
        r, a, s = shown.point
        session.look_at((r, a, s))


def shown_from(values: Mapping[str, Any]) -> Shown:
    """Return a look from what JSON gave back."""
    point, window = values.get("point"), values.get("window")
    return Shown(
        point=None if point is None else (point[0], point[1], point[2]),
        window=None if window is None else (window[0], window[1]),
        order=tuple(values["order"]),
        organs=tuple(values["organs"]),
        look=dict(values["look"]),
    )
