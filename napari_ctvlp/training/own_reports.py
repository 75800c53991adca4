"""A radiologist's report, split into the sentences of the fifteen anatomies.

The phrase parser reads every sentence; it knows the first asserted finding, the place and the
side, which is enough to file a sentence under its organ and to say whether the finding is
there. What it cannot place is left out of the contrast rather than guessed.
"""

from __future__ import annotations

import re

from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.phrase import Phrase
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.training.synthesis.canvas import ANATOMIES
from napari_ctvlp.training.synthesis.reports import Report, Sentence

#: Ends of a sentence: marks before a blank or a new line, not decimal points.
_END = re.compile(r"(?<=[.!?;])\s+|\n+")
#: "1. ", "- ": how lists begin.
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+")
LUNGS = ("lung_left", "lung_right")
KIDNEYS = ("kidney_left", "kidney_right")
#: Anatomies of a place of the vocabulary; a place that is not here files under its own name.
PLACES = {
    "lungs": LUNGS,
    "pleura": LUNGS,
    "kidneys": KIDNEYS,
    "airways": ("mediastinum",),
    "thyroid": ("mediastinum",),
    "pulmonary_artery": ("mediastinum",),
    "vena_cava_superior": ("mediastinum",),
    "vena_cava_inferior": ("abdomen",),
    "adrenals": ("abdomen",),
    "adrenal_left": ("abdomen",),
    "adrenal_right": ("abdomen",),
    "spinal_cord": ("bones",),
    "vertebra": ("bones",),
    "rib": ("bones",),
    "colon": ("abdomen",),
    "small_bowel": ("abdomen",),
    "bladder": ("abdomen",),
}


def read_report(text: str) -> Report:
    """Split a report by organ.

    Parameters
    ----------
    text : str
        Findings and impression, free text.

    Returns
    -------
    Report
        A sentence that speaks of both lungs or both kidneys stands there once for each.
    """
    pieces = (_BULLET.sub("", piece).strip() for piece in _END.split(text))
    return Report(tuple(s for piece in pieces if piece for s in _filed(piece)))


def organs_of(phrase: Phrase) -> tuple[str, ...]:
    """Return the anatomies a parsed sentence speaks of; empty when the parser cannot tell."""
    places = [phrase.anatomy] if phrase.anatomy else []
    known = findings().get(phrase.finding)
    if not places and known:
        places = list(known.organs)
    found = [organ for place in places for organ in PLACES.get(place, (place,))]
    sided = [organ for organ in found if phrase.side in ("", "both") or _on(organ, phrase.side)]
    return tuple(dict.fromkeys(organ for organ in sided if organ in ANATOMIES))


def _on(organ: str, side: str) -> bool:
    """Return False for an organ of the other side."""
    return not organ.endswith("_left" if side == "right" else "_right")


def _filed(piece: str) -> list[Sentence]:
    phrase = parse(piece)
    state = "normal"
    if phrase.finding:
        state = "absent" if phrase.negated else "uncertain" if phrase.uncertain else "present"
    return [Sentence(piece, organ, phrase.finding, state) for organ in organs_of(phrase)]
