"""What the attention dock shows: one map on the CT, and words with their weight."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.ui.layers import OVER, placement
from napari_ctvlp.ui.palette import heat_colormap

#: Metadata key of the layer of a dock's map; its value tells whose it is.
_MAP = "napari_ctvlp looks"
#: Colours of words without which a similarity falls, or rises; black letters stand out on both.
_FALLS, _RISES = (230, 126, 34), (80, 136, 210)


@dataclass(frozen=True)
class Shown:
    """The map of this dock that lies on the CT."""

    values: NDArray[np.float32]
    affine: Affine
    name: str


def lay(
    viewer: ViewerModel,
    shown: Shown,
    colours: str,
    limits: tuple[float, float] | None = None,
    whose: str = "attention",
    **looks: Any,
) -> None:
    """Lay a map on the CT; one of the same grid goes into the layer that is there."""
    data = np.nan_to_num(shown.values).astype(np.float32)
    limits = limits or (0.0, float(data.max()) or 1.0)
    layers, place = viewer.layers, placement(shown.affine)
    known = laid(viewer, whose)
    if isinstance(known, Image) and known.data.shape == data.shape and np.allclose(
        (known.scale, known.translate), (place["scale"], place["translate"])
    ):  # fmt: skip
        known.data, known.name, known.contrast_limits = data, shown.name, limits
        if known.colormap.name != heat_colormap(colours).name:
            known.colormap = heat_colormap(colours)
        return
    if known is not None:
        layers.remove(known)
    layer = Image(
        data, name=shown.name, colormap=heat_colormap(colours), contrast_limits=limits,
        blending="translucent", opacity=0.6, metadata={OVER: True, _MAP: whose}, **place, **looks,
    )  # fmt: skip
    selected = set(layers.selection)
    layers.append(layer)
    layers.selection = selected


def laid(viewer: ViewerModel, whose: str) -> Layer | None:
    """Return the layer of a dock's map."""
    return next((one for one in viewer.layers if one.metadata.get(_MAP) == whose), None)


def weighed_words(found: tuple[tuple[str, float], ...]) -> str:
    """Return words on grounds as strong as what they are worth, with the number under each."""
    most = max(abs(fall) for _, fall in found) or 1.0
    cells = []
    for word, fall in found:
        full, share = _FALLS if fall > 0 else _RISES, abs(fall) / most
        colour = bytes(round(255 + share * (part - 255)) for part in full).hex()
        cells.append(
            f'<td align="center" style="background-color: #{colour}; color: black">'
            f"&nbsp;{html.escape(word)}&nbsp;<br><small>{fall:+.2f}</small></td>"
        )
    lines = (cells[n : n + 4] for n in range(0, len(cells), 4))
    rows = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return f'<table cellspacing="3">{rows}</table>'
