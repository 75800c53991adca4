"""Which of an encoder's grids a phrase is read on: the organ it names, and in which unit.

What a model's card may set::

    [settings.maps]
    default = "split"             # kind of map where the user chooses none
    note = "An attribution: ..."  # what every answer says of the model's maps

    [settings.organs]             # the model's organs, as house names
    lung = ["lung_left", "lung_right"]

    [settings.routes]
    default = "lung"              # organ of a phrase that names none

    [settings.routes.findings]    # house finding = organ, where its own organs do not tell
    lymph_node = "lung"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_ctvlp.core.encoding import Encoding, TokenGrid
from napari_ctvlp.core.gating import searched_place
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.errors import ModelRefused


@dataclass(frozen=True)
class Route:
    """Where a phrase is read.

    Attributes
    ----------
    grid : TokenGrid
        Without a valid cell when the organ cannot be read.
    organ : str
        The model's organ, or ``""``.
    words : str
        One sentence for the user, or ``""`` for a model without organs.
    missing : str
        Why nothing can be read, or ``""``.
    """

    grid: TokenGrid
    organ: str = ""
    words: str = ""
    missing: str = ""


def route(encoding: Encoding, phrase: Phrase, settings: Mapping[str, Any], kind: str = "") -> Route:
    """Choose the grid for a phrase.

    Parameters
    ----------
    encoding : Encoding
    phrase : Phrase
    settings : mapping
        The card's; see the module's docstring.
    kind : str
        Kind of grid; ``""`` for the card's default.

    Raises
    ------
    ModelRefused
        If the model has no map of this kind.
    """
    grids = _of_kind(encoding, settings, kind)
    organs: Mapping[str, Sequence[str]] = settings.get("organs", {})
    if not organs:
        return Route(grids[0], grids[0].organ)
    organ, words = _organ(phrase, organs, settings.get("routes", {}))
    grid = next((grid for grid in grids if grid.organ == organ), None)
    if grid is not None:
        return Route(grid, organ, words)
    missing = f"The {organ} is not in this scan." if organ else words
    nothing = replace(grids[0], valid=np.zeros_like(grids[0].valid), organ=organ)
    return Route(nothing, organ, words, missing)


def _of_kind(encoding: Encoding, settings: Mapping[str, Any], kind: str) -> list[TokenGrid]:
    wanted = kind or str(settings.get("maps", {}).get("default", encoding.grids[0].kind))
    found = [grid for grid in encoding.grids if grid.kind == wanted]
    if not found:
        kinds = ", ".join(sorted({grid.kind for grid in encoding.grids}))
        raise ModelRefused(
            "no-such-map",
            f"a kind of map that {encoding.model} has: {kinds}.",
            f"{encoding.model} has no maps of the kind {wanted!r}.",
            "Leave the kind out, or choose one of these.",
        )
    return found


def _organ(
    phrase: Phrase, organs: Mapping[str, Sequence[str]], routes: Mapping[str, Any]
) -> tuple[str, str]:
    """Return the model's organ for a phrase, ``""`` for none, and the sentence that says so."""
    place = searched_place(phrase)
    if place is not None:
        named = {place.name, *place.members}
        organ = next((name for name, house in organs.items() if named & {*house}), "")
        if organ:
            return organ, f"Read in the window of the {organ}, which the phrase names."
        if not place.field:
            known = ", ".join(organs)
            return "", f"The model knows no {place.title}, only these organs: {known}."
    finding = findings().get(phrase.finding)
    if finding is not None:
        fixed = routes.get("findings", {}).get(finding.name, "")
        usual = (name for name, house in organs.items() if {*finding.organs} & {*house})
        organ = fixed or next(usual, "")
        if organ:
            return organ, f"Read in the window of the {organ}, where {finding.title} is looked for."
    organ = str(routes.get("default", next(iter(organs))))
    return organ, f"Read in the window of the {organ}: the phrase names none of the model's organs."
