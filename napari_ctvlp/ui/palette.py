"""Colours: organs by name, and the transparent colour maps of heatmaps."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap

#: Colour maps a user may choose; all of them keep their order for the colour-blind.
HEAT_MAPS = ("inferno", "viridis", "plasma", "magma")
#: Tissues that fill the whole body would hide the picture: they start unchecked.
QUIET = frozenset({"soft_tissue", "muscle", "fat"})
Colour = tuple[float, float, float]
#: How strongly what is not asserted is filled where somebody asks for that.
_PALE = 0.35


@cache
def _organ_rows() -> dict[str, dict[str, object]]:
    text = files("napari_ctvlp.core.vocabulary").joinpath("organs.toml").read_text("utf-8")
    rows = tomllib.loads(text)["organ"]
    return {row["name"]: row for row in rows}


def organ_title(name: str) -> str:
    """Return the organ's name in plain English, for example ``"left lung"``."""
    return str(_organ_rows().get(name, {}).get("title") or name.replace("_", " "))


def organ_group(name: str) -> str:
    """Return the group that lists file an organ under, for example ``"lungs"``."""
    return str(_organ_rows().get(name, {}).get("group") or "other")


def organ_colour(name: str) -> Colour:
    """Return the stable colour of an organ as RGB in 0..1; a name we do not know has one too."""
    code = str(_organ_rows().get(name, {}).get("colour", ""))
    if len(code) == 7:
        return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255
    seed = np.random.default_rng(list(name.encode()))
    r, g, b = (0.25 + 0.7 * seed.random(3)).tolist()
    return r, g, b


def organ_colormap(anatomy: AnatomyMap, shown: Iterable[str]) -> DirectLabelColormap:
    """Return label colours in which the organs not in ``shown`` are transparent."""
    visible = set(shown)
    colours: dict[int | None, NDArray[np.float32]] = {
        None: np.zeros(4, np.float32),
        0: np.zeros(4, np.float32),
    }
    for organ in anatomy.organs:
        rgba = (*organ_colour(organ.name), 1.0 if organ.name in visible else 0.0)
        colours[organ.id] = np.array(rgba, np.float32)
    return DirectLabelColormap(color_dict=colours)


def difference_colormap() -> Colormap:
    """Return purple to green through nothing: where two maps agree the CT stays as it is."""
    ramp = np.linspace(-1, 1, 129)
    colours = np.asarray(ensure_colormap("PRGn").map((ramp + 1) / 2))[:, :3]
    alpha = np.clip(2.5 * np.abs(ramp), 0, 1)
    return Colormap(np.concatenate([colours, alpha[:, None]], axis=1), name="ctvlp difference")


def heat_colormap(
    name: str, state: str = "asserted", colour: Colour | None = None, pale: bool = False
) -> Colormap:
    """Return a colour map whose alpha rises from 0, so that low values leave the CT untouched.

    Parameters
    ----------
    name : str
        One of :data:`HEAT_MAPS`.
    state : {"asserted", "unsupported", "not asserted"}
        ``unsupported`` (nothing found) and ``not asserted`` (a negated phrase) are not filled
        at all: lines show them, so that neither looks like a finding.
    colour : tuple of float, optional
        One colour instead of a map's.
    pale : bool
        Fill what is not asserted faintly: violet without support, grey where it is denied.
    """
    ramp = np.linspace(0, 1, 128)
    if colour is not None:
        colours = np.tile(colour, (len(ramp), 1))
    elif state == "asserted":
        colours = np.asarray(ensure_colormap(name).map(0.25 + 0.75 * ramp))
    else:
        low, high = {
            "unsupported": ((0.35, 0.25, 0.5), (0.85, 0.7, 1.0)),
            "not asserted": ((0.35, 0.35, 0.35), (0.95, 0.95, 0.95)),
        }[state]
        colours = np.array(low) + ramp[:, None] * (np.array(high) - np.array(low))
    alpha = np.clip(ramp * 2.5, 0, 1)
    if state != "asserted":
        alpha = alpha * (_PALE if pale else 0.0)
    rgba = np.concatenate([colours[:, :3], alpha[:, None]], axis=1)
    # napari lists every name it ever met in the layer controls, which get as wide as the longest.
    own = name if colour is None else "#" + bytes(round(255 * part) for part in colour).hex()
    told = {"asserted": "", "unsupported": " none", "not asserted": " not"}[state]
    return Colormap(rgba, name=f"ctvlp {own}{told}{' pale' if pale else ''}")
