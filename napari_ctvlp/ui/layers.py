"""Nouns become layers and layers nouns: names, units, colours and places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import AttentionMaps
from napari_ctvlp.core.geometry import Affine, ipl_affine, ipl_layer_placement, spacing
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.ui.choices import preference
from napari_ctvlp.ui.drawn import DRAWN, Drawn, drawn_of, heat_state
from napari_ctvlp.ui.palette import QUIET, Colour, heat_colormap, organ_colormap, organ_title
from napari_ctvlp.ui.session import Look
from napari_ctvlp.ui.windows import WINDOWS, Limits

#: Metadata key under which a layer keeps the noun it shows.
NOUN = "napari_ctvlp"
#: Metadata key of layers that lie over a scan and go with it.
OVER = "napari_ctvlp over"
#: Metadata key of a layer that no other view copies: it is there for a moment, or not napari's
#: to draw.
ALONE = "napari_ctvlp alone"
UNITS = ("mm", "mm", "mm")
AXES = ("I", "P", "L")
_FINE_MM = 4.5


def placement(affine: Affine) -> dict[str, Any]:
    """Return the layer arguments that put an axis-aligned IPL grid where it is."""
    scale, translate = ipl_layer_placement(affine)
    return {
        "scale": tuple(scale.tolist()),
        "translate": tuple(translate.tolist()),
        "units": UNITS,
        "axis_labels": AXES,
    }


def ct_arguments(scan: Scan) -> dict[str, Any]:
    """Return the arguments of the image layer that shows a scan (no voxel is touched)."""
    return {
        "name": scan.meta.series or "CT",
        "colormap": "gray",
        "contrast_limits": first_window(),
        "interpolation2d": "linear",
        "projection_mode": "none",
        "metadata": {NOUN: scan},
        **placement(scan.affine),
    }


def label_arguments(scan: Scan) -> dict[str, Any]:
    """Return the arguments of the labels layer of a file that holds labels, not HU."""
    return {"name": scan.meta.series or "Labels", "opacity": 0.35, **placement(scan.affine)}


def ct_layer(scan: Scan) -> Image:
    """Return the image layer of a scan; the voxels are shared."""
    layer = Image(scan.hu, **ct_arguments(scan))
    layer.contrast_limits_range = (-1024.0, 3071.0)
    layer.contrast_limits = first_window()
    return layer


def first_window() -> Limits:
    """Return the window a CT is opened with: the user's preference."""
    return WINDOWS.get(preference("reading", "window", "Soft tissue"), WINDOWS["Soft tissue"])


def loud_organs(anatomy: AnatomyMap) -> list[str]:
    """Return the organs shown at first: all but the tissues that fill the body."""
    return [organ.name for organ in anatomy.organs if organ.name not in QUIET]


def anatomy_layer(anatomy: AnatomyMap, shown: Iterable[str] | None = None) -> Labels:
    """Return the labels layer of an anatomy map, with each organ's name under the cursor."""
    names = [organ_title(organ.name) for organ in anatomy.organs]
    ids = [organ.id for organ in anatomy.organs]
    visible = loud_organs(anatomy) if shown is None else shown
    layer = Labels(
        anatomy.labels,
        name="Anatomy",
        opacity=0.25,
        blending="translucent",
        features={"index": [0, *ids], "organ": ["outside the anatomy", *names]},
        colormap=organ_colormap(anatomy, visible),
        metadata={NOUN: anatomy},
        **placement(anatomy.affine),
    )
    layer.editable = False
    return layer


def fine_grid(values: NDArray[np.float32], affine: Affine) -> tuple[NDArray[np.float32], Affine]:
    """Bring a coarse token grid to about 4 mm, so that scrolling through it is smooth.

    The GPU interpolates in the plane but never between slices; cell centres stay where they
    are. Values must be finite.
    """
    steps = np.maximum(1, np.round(spacing(affine) / 4.0)).astype(int)
    if (spacing(affine) <= _FINE_MM).all() or (steps == 1).all():
        return values, affine
    from scipy import ndimage

    shape = tuple((n - 1) * int(s) + 1 for n, s in zip(values.shape, steps, strict=True))
    fine = affine.copy()
    fine[:3, :3] = affine[:3, :3] / steps
    out = ndimage.affine_transform(
        values, 1.0 / steps, output_shape=shape, order=1, mode="nearest", prefilter=False
    )
    return np.asarray(out, dtype=np.float32), fine


def heat_arguments(
    heatmap: Heatmap, colormap: str = "inferno", colour: Colour | None = None
) -> dict[str, Any]:
    """Return data and arguments of the layer of a heatmap, or in a colour of its own.

    NaN and what the gate excludes become the minimum: colour-map alpha hides them, while a
    NaN would eat into its neighbours when the GPU interpolates.
    """
    searched = heatmap.allowed & np.isfinite(heatmap.values)
    shown = heatmap.values / np.float32(heatmap.full_scale)
    filled = np.where(searched, shown, np.float32(0)).astype(np.float32)
    data, affine = fine_grid(filled, heatmap.affine)
    state = heat_state(heatmap)
    suffix = {"asserted": "", "unsupported": f" ({heatmap.verdict})"}.get(state, f" ({state})")
    return {
        "data": data,
        "name": f"Heat: {heatmap.phrase.text}{suffix}",
        "colormap": heat_colormap(colormap, state, colour),
        "contrast_limits": (0.0, 1.0),
        "interpolation2d": "linear",
        "projection_mode": "none",
        "blending": "translucent",
        "opacity": 0.55,
        "metadata": {NOUN: heatmap, DRAWN: (Drawn(heatmap, colour),)},
        **placement(affine),
    }


def heatmap_layer(heatmap: Heatmap, colormap: str = "inferno") -> Image:
    """Return the image layer of a heatmap; contrast limits are 0..1 for every phrase."""
    return Image(**heat_arguments(heatmap, colormap))


def dress(layer: Image, look: Look) -> None:
    """Draw the layer of a heatmap as a look says."""
    (drawn,) = drawn_of(layer)
    set_looks(layer, opacity=look.opacity, contrast_limits=[look.threshold, 1.0])
    state = heat_state(drawn.heat)
    colours = heat_colormap(look.colormap, state, drawn.colour, look.pale)
    if layer.colormap.name != colours.name:
        layer.colormap = colours


def set_looks(layer: Layer, **looks: object) -> None:
    """Set what is not so yet: every change rebuilds shaders and pictures."""
    for name, look in looks.items():
        if getattr(layer, name) != look:
            setattr(layer, name, look)


def attention_layer(attention: AttentionMaps, organ: str) -> Image:
    """Return the layer of an organ query's attention, scaled to its own highest weight."""
    weights = np.nan_to_num(attention.maps[organ]).astype(np.float32)
    data, affine = fine_grid(weights, attention.affines[organ])
    return Image(
        data,
        name=f"Attention: {organ_title(organ)}",
        colormap=heat_colormap("viridis"),
        contrast_limits=(0.0, float(data.max()) or 1.0),
        interpolation2d="linear",
        projection_mode="none",
        blending="translucent",
        opacity=0.55,
        metadata={NOUN: attention},
        **placement(affine),
    )


def noun_of(layer: Layer) -> object:
    """Return the noun a layer of ours shows, or None."""
    return layer.metadata.get(NOUN)


def scan_of(layer: Layer) -> Scan:
    """Return the scan behind a layer, whoever opened it.

    Raises
    ------
    InputRefused
        If the layer is not one of ours and does not say where its voxels are: using it
        could swap left and right.
    """
    noun = noun_of(layer)
    if isinstance(noun, Scan):
        return noun
    fault = _fault(layer)
    if fault:
        path = layer.source.path
        raise InputRefused(
            "foreign-layer",
            "a CT whose axes run inferior, posterior, left in millimetres.",
            f"The layer '{layer.name}' {fault}",
            f"Open {Path(path).name if path else 'its file'} with the reader of napari-ctvlp "
            "(File > Open, then choose napari-ctvlp).",
        )
    affine = ipl_affine(layer.scale, layer.translate)
    data = np.asarray(layer.data)
    source = Source(_files(layer), (data.shape[0], data.shape[1], data.shape[2]), affine)
    kept = data if data.dtype == np.int16 else data.astype(np.float32)
    return Scan(kept, affine, source, ScanMeta(modality="", series=layer.name))


def _files(layer: Layer) -> tuple[Path, ...]:
    return (Path(layer.source.path),) if layer.source.path else ()


def _fault(layer: Layer) -> str:
    """Say why a layer of another reader cannot be used as a CT; empty when it can."""
    if not isinstance(layer, Image):
        return f"is of type {type(layer).__name__}, not an image."
    if layer.rgb or layer.multiscale or layer.ndim != 3:
        return f"is not one grey volume of three axes (it has {layer.ndim})."
    turned = not np.allclose(layer.rotate, np.eye(3)) or np.any(np.asarray(layer.shear))
    if turned or not np.allclose(layer.affine.affine_matrix, np.eye(4)):
        return "is rotated, sheared or carries an affine matrix of its own."
    if np.any(np.asarray(layer.scale) <= 0):
        return "has a negative scale."
    named = tuple(layer.axis_labels) == AXES
    if not named or {str(unit) for unit in layer.units} != {"millimeter"}:
        return "does not name its axes and units, so its sides are unknown."
    return ""
