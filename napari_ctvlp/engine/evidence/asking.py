"""Evidence as verbs for the compute process: a scan and a phrase or place in, a noun out.

Each takes the study's anatomy and finds it where there is none; the untouched scan's encoding is
the kept one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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
#: Any phrase: where only the model is asked for.
_ANY = "nodule"


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
    return places.words_at(Probe.of(_ANY, model, device).encoder, encoding, _point(point))


def phrase_words(
    scan: Scan,
    phrase: str,
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[tuple[str, float], ...]:
    """Weigh the words of a phrase: how much its similarity falls without each."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    progress(0.5, "words left out")
    return wording.driving_words(Probe.of(phrase, model, device), scan, organs)


def place_attention(
    scan: Scan,
    point: Sequence[float],
    *,
    direction: Literal["from", "to"] = "from",
    organ: str = "",
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Attention:
    """Return where a place (R, A, S) in mm looks, or what looks at it, by layer and head."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    progress(0.5, "attention")
    encoder = Probe.of(_ANY, model, device).encoder
    to = direction == "to"
    return attending.attend(encoder, scan, organs, _point(point), to=to, organ=organ)


def phrase_relevance(
    scan: Scan,
    phrase: str,
    *,
    level: str = "8mm",
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Relevance:
    """Return Grad-CAM of a phrase on a convolutional encoder."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    return grad_cam.relevance(Probe.of(phrase, model, device), scan, organs, level, progress)


def sensitivity(
    scan: Scan,
    phrase: str,
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[Reading, ...]:
    """Answer a phrase in other wordings, on shifted scans and at other HU."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    return moving.sensitivity(Probe.of(phrase, model, device), scan, organs, progress)


def check_weights(
    scan: Scan,
    phrase: str,
    *,
    shuffles: int = 3,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> WeightCheck:
    """Compare a phrase's map with those of shuffled weights."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    probes = [Probe.of(phrase, model, device)]
    return sanity.weights_matter(probes, scan, organs, shuffles, progress)[0]


def check_voxels(
    scan: Scan,
    phrase: str,
    *,
    steps: Sequence[float] = STEPS,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Curves:
    """Delete and insert what a phrase's map marks, beside random blobs."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    probe = Probe.of(phrase, model, device)
    return sanity.delete_and_insert(probe, scan, organs, steps=steps, progress=progress)


def check_organs(
    scan: Scan,
    phrase: str,
    named: str,
    other: str,
    *,
    anatomy: AnatomyMap | None = None,
    model: str = "mini",
    device: str = "auto",
    progress: Progress = silent,
) -> Erasure:
    """Erase the organ a phrase is about, and another one, and score again."""
    organs = anatomy or verbs.segment(scan, device=device, progress=progress)
    probes = [Probe.of(phrase, model, device)]
    return sanity.erase_organs(probes, scan, organs, named, other, progress)[0]


def _point(point: Sequence[float]) -> Point:
    r, a, s = (float(value) for value in point)
    return r, a, s
