"""Evidence as verbs for the compute process: a scan and a phrase or place in, a noun out.

Each takes the study's anatomy and finds it where there is none; the untouched scan's encoding is
the kept one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.checks import Curves, Erasure, Reading, WeightCheck
from napari_ctvlp.core.looking import Attention, PlaceWords, Relevance
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.evidence import attention as attending
from napari_ctvlp.engine.evidence import places, sanity, wording
from napari_ctvlp.engine.evidence import relevance as grad_cam
from napari_ctvlp.engine.evidence import sensitivity as moving
from napari_ctvlp.engine.evidence.probe import Probe
from napari_ctvlp.models.protocol import Progress, silent

Point = tuple[float, float, float]
#: Per cent of the searched voxels that a check in the window deletes and inserts.
STEPS = (0.0, 1.0, 5.0, 20.0, 50.0, 100.0)


class How(TypedDict, total=False):
    """What every verb takes beside its question, as :func:`napari_ctvlp.engine.verbs.encode`."""

    anatomy: AnatomyMap | None
    model: str
    device: str
    progress: Progress


def place_words(
    scan: Scan,
    point: Sequence[float],
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> PlaceWords:
    """List the words that a place (R, A, S) in mm resembles most."""
    encoding = verbs.encode(scan, anatomy, model, device=device, progress=progress)
    return places.words_at(Probe.of("", model, device).encoder, encoding, _point(point))


def phrase_words(scan: Scan, phrase: str, **how: Unpack[How]) -> tuple[tuple[str, float], ...]:
    """Weigh the words of a phrase: how much its similarity falls without each."""
    probe, organs, progress = _start(scan, phrase, **how)
    progress(0.5, "words left out")
    return wording.driving_words(probe, scan, organs)


def place_attention(
    scan: Scan,
    point: Sequence[float],
    *,
    direction: Literal["from", "to"] = "from",
    organ: str = "",
    **how: Unpack[How],
) -> Attention:
    """Return where a place (R, A, S) in mm looks, or what looks at it, by layer and head."""
    probe, organs, progress = _start(scan, "", **how)
    progress(0.5, "attention")
    to = direction == "to"
    return attending.attend(probe.encoder, scan, organs, _point(point), to=to, organ=organ)


def phrase_relevance(
    scan: Scan, phrase: str, *, level: str = "8mm", **how: Unpack[How]
) -> Relevance:
    """Return Grad-CAM of a phrase on a convolutional encoder."""
    probe, organs, progress = _start(scan, phrase, **how)
    return grad_cam.relevance(probe, scan, organs, level, progress)


def sensitivity(scan: Scan, phrase: str, **how: Unpack[How]) -> tuple[Reading, ...]:
    """Answer a phrase in other wordings, on shifted scans and at other HU."""
    probe, organs, progress = _start(scan, phrase, **how)
    return moving.sensitivity(probe, scan, organs, progress)


def check_weights(scan: Scan, phrase: str, *, shuffles: int = 3, **how: Unpack[How]) -> WeightCheck:
    """Compare a phrase's map with those of shuffled weights."""
    probe, organs, progress = _start(scan, phrase, **how)
    return sanity.weights_matter([probe], scan, organs, shuffles, progress)[0]


def check_voxels(
    scan: Scan, phrase: str, *, steps: Sequence[float] = STEPS, **how: Unpack[How]
) -> Curves:
    """Delete and insert what a phrase's map marks, beside random blobs."""
    probe, organs, progress = _start(scan, phrase, **how)
    return sanity.delete_and_insert(probe, scan, organs, steps=steps, progress=progress)


def check_organs(scan: Scan, phrase: str, named: str, other: str, **how: Unpack[How]) -> Erasure:
    """Erase the organ a phrase is about, and another one, and score again."""
    probe, organs, progress = _start(scan, phrase, **how)
    return sanity.erase_organs([probe], scan, organs, named, other, progress)[0]


def _start(
    scan: Scan,
    phrase: str,
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[Probe, AnatomyMap, Progress]:
    """Return a phrase beside its model, the scan's anatomy, and who is told of the progress."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    return Probe.of(phrase, model, device), organs, progress


def _point(point: Sequence[float]) -> Point:
    r, a, s = (float(value) for value in point)
    return r, a, s
