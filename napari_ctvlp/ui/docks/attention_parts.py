"""What the attention dock shows: one map on the CT, and words with their weight."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine
from napari_ctvlp.ui.layers import OVER, placement
from napari_ctvlp.ui.palette import heat_colormap

#: Metadata key of the layer of the dock's map.
_MAP = "napari_ctvlp looks"
#: Colours of words without which a similarity falls, or rises.
_FALLS, _RISES = "e67e22", "4078c8"


@dataclass(frozen=True)
class Shown:
    """The map of this dock that lies on the CT."""

    values: NDArray[np.float32]
    affine: Affine
    name: str


def lay(viewer: ViewerModel, shown: Shown, colours: str) -> None:
    """Lay a map on the CT; one of the same grid goes into the layer that is there."""
    data = np.nan_to_num(shown.values).astype(np.float32)
    limits = (0.0, float(data.max()) or 1.0)
    layers, place = viewer.layers, placement(shown.affine)
    known = next((one for one in layers if one.metadata.get(_MAP)), None)
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
        blending="translucent", opacity=0.6, metadata={OVER: True, _MAP: True}, **place,
    )  # fmt: skip
    selected = set(layers.selection)
    layers.append(layer)
    layers.selection = selected


def weighed_words(found: tuple[tuple[str, float], ...]) -> str:
    """Return words on grounds as strong as what they are worth, with the number under each."""
    most = max(abs(fall) for _, fall in found) or 1.0
    cells = []
    for word, fall in found:
        strength = round(220 * abs(fall) / most)
        colour = f"#{strength:02x}{_FALLS if fall > 0 else _RISES}"
        cells.append(
            f'<td align="center" style="background-color: {colour}">'
            f"&nbsp;{html.escape(word)}&nbsp;<br><small>{fall:+.2f}</small></td>"
        )
    lines = (cells[n : n + 4] for n in range(0, len(cells), 4))
    rows = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return f'<table cellspacing="3">{rows}</table>'
