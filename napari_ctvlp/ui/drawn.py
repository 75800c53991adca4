"""Which maps a layer shows, and how: filled, or in outline because nothing supports them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari.layers import Layer

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.ui.palette import Colour

if TYPE_CHECKING:
    from napari_ctvlp.engine.evidence.lines import Outlines

#: Metadata key under which a layer keeps the maps it shows.
DRAWN = "napari_ctvlp drawn"
#: Lines of a map that is supported, unsupported, denied.
WHITE: Colour = (1.0, 1.0, 1.0)
PALE: Colour = (0.78, 0.55, 1.0)
GREY: Colour = (0.85, 0.85, 0.85)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A map in a layer.

    Attributes
    ----------
    heat : Heatmap
    colour : tuple of float or None
        Its own among several; None for the one map in front.
    """

    heat: Heatmap
    colour: Colour | None = None

    @cached_property
    def outlines(self) -> Outlines:
        """Its lines of equal value."""
        from napari_ctvlp.engine.evidence.lines import Outlines

        return Outlines(self.heat)


def drawn_of(layer: Layer) -> tuple[Drawn, ...]:
    """Return the maps that a layer shows."""
    found: tuple[Drawn, ...] = layer.metadata.get(DRAWN, ())
    return found


def heat_state(heatmap: Heatmap) -> str:
    """Return how a heatmap is to be drawn: asserted, unsupported or not asserted."""
    if heatmap.phrase.negated:
        return "not asserted"
    return "asserted" if heatmap.verdict == "present" else "unsupported"
