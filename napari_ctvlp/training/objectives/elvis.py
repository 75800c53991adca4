"""Local contrast that keeps the likenesses within one image and within one report.

After Seo et al., "ELVIS: Empowering Locality of Vision Language Pre-training with Intra-modal
Similarity" (2023, arXiv:2304.05303). Certain, from its abstract and first page: earlier local
losses destroy, across the projection, how the regions of one image resemble one another; a term
aware of that likeness, in images or reports, keeps it. No equation was readable, so three
readings of the term stand behind one switch; all of them are reconstructions.

The contrast around it follows LoVT (Mueller et al., ECCV 2022, arXiv:2112.02889), whose code was
read: its temperatures, its weights of directions, and attention to build a region's twin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.training.objectives.contrast import NOWHERE, Memory, contrast, same
from napari_ctvlp.training.objectives.reports import (
    SENTENCE,
    TOKEN,
    Adapter,
    Temperature,
    report_of,
)

if TYPE_CHECKING:
    from napari_ctvlp.training.batch import Batch, Sentences

#: Temperatures: of the global contrast, of the local one, of likenesses.
GLOBAL_TAU, LOCAL_TAU, LIKE_TAU = 0.1, 0.3, 0.1
#: Weights of image to text and of text to image.
DIRECTIONS = (0.75, 0.25)
Reading = Literal["preserve", "targets", "gram"]


def global_contrast(
    images: Tensor, texts: Tensor, tau: Tensor | float = GLOBAL_TAU,
    weights: tuple[float, float] = DIRECTIONS,
) -> Tensor:  # fmt: skip
    """Return weighted InfoNCE of unit vectors, shape (n, c) each; 0 for a single pair."""
    logits = images.float() @ texts.float().T / tau
    truth = torch.arange(len(logits), device=logits.device)
    rows = functional.cross_entropy(logits, truth)
    return weights[0] * rows + weights[1] * functional.cross_entropy(logits.T, truth)


def twins(queries: Tensor, items: Tensor, present: Tensor, tau: float = LOCAL_TAU) -> Tensor:
    """Return for each local vector what the other modality says at its place.

    Parameters
    ----------
    queries : Tensor, shape (b, n, c)
        Unit vectors that ask.
    items : Tensor, shape (b, m, c)
        Unit vectors of the other modality.
    present : Tensor, shape (b, m), bool
        False for padding.
    tau : float

    Returns
    -------
    Tensor, shape (b, n, c)
        Unit vectors: items averaged with softmax weights; 0 where no item is present.
    """
    logits = (queries @ items.transpose(1, 2) / tau).masked_fill(~present[:, None], NOWHERE)
    share = logits.softmax(dim=2) * present[:, None]
    return functional.normalize(share @ items, dim=2)


def local_contrast(
    local: Tensor, twin: Tensor, present: Tensor, *, targets: Tensor | None = None,
    tau: float = LOCAL_TAU,
) -> Tensor:  # fmt: skip
    """Return the contrast of local vectors with their twins, within one sample.

    Parameters
    ----------
    local, twin : Tensor, shape (b, n, c)
        Unit vectors.
    present : Tensor, shape (b, n), bool
    targets : Tensor, shape (b, n, n), optional
        How much of a positive each pair is; rows are divided by their sum over what is present.
        The identity when left out.
    tau : float

    Returns
    -------
    Tensor, shape ()
        Mean over present rows and both directions; 0 without a gradient when no sample holds
        two.
    """
    rows = present & (present.sum(dim=1, keepdim=True) >= 2)
    if not bool(rows.any()):
        return local.new_zeros((), dtype=torch.float32)
    wanted = torch.eye(local.shape[1], device=local.device).expand(len(local), -1, -1)
    wanted = wanted if targets is None else targets.detach().float()
    pair = rows[:, :, None] & present[:, None]
    logits = (local.float() @ twin.float().transpose(1, 2) / tau).masked_fill(~pair, NOWHERE)
    costs = []
    for table, target in ((logits, wanted), (logits.mT, wanted.mT)):
        share = target.masked_fill(~pair, 0.0)[rows]
        share = share / share.sum(dim=1, keepdim=True).clamp(min=1e-12)
        costs.append(-(share * table[rows].log_softmax(dim=1)).sum(dim=1).mean())
    return (costs[0] + costs[1]) / 2


def nearness(places: Tensor, reach: float, decay: float = 1.0) -> Tensor:
    """Return LoVT's positives by distance: exp(-decay d) within ``reach``, else 0.

    Parameters
    ----------
    places : Tensor, shape (b, n, 3)
        In any unit of length.
    reach, decay : float
        In that unit and its inverse.
    """
    distance = torch.cdist(places.float(), places.float())
    return torch.where(distance <= reach, torch.exp(-decay * distance), 0.0)


def intra_modal(
    before: Tensor, after: Tensor, present: Tensor, reading: Reading = "preserve", *,
    twin: Tensor | None = None, centred: bool = False, tau: float = LIKE_TAU,
) -> Tensor:  # fmt: skip
    """Return how much the likeness among local vectors of one sample is lost in projection.

    Parameters
    ----------
    before : Tensor, shape (b, n, d)
        Local vectors before the projection; no gradient goes there.
    after : Tensor, shape (b, n, c)
        The same after it.
    present : Tensor, shape (b, n), bool
    reading : str
        ``"preserve"`` (favoured: it fits the captions of the paper's first figure): divergence
        of the softmax of likenesses to the others; ``"targets"``: likenesses before are the
        soft targets of the contrast with ``twin``; ``"gram"``: squared difference of cosines.
    twin : Tensor, shape (b, n, c), optional
        What the other modality says; needed for ``"targets"``.
    centred : bool
        Take the mean of the sample off ``before`` first: vectors of a frozen text model all
        share one direction.
    tau : float

    Returns
    -------
    Tensor, shape ()
        In single precision. 0 without a gradient where no sample holds three vectors: with two
        there is one likeness, and nothing to compare.
    """
    rows = present & (present.sum(dim=1, keepdim=True) >= 3)
    if not bool(rows.any()):
        return after.new_zeros((), dtype=torch.float32)
    ours = functional.normalize(after.float(), dim=2)
    truth = _cosines(before.detach(), present, centred)
    if reading == "targets":
        if twin is None:
            raise InputRefused(
                "no-twins",
                "twins for the reading 'targets'.",
                "None came.",
                "Give what the other modality says of each local vector.",
            )
        share = (truth / tau).masked_fill(~present[:, None], NOWHERE).softmax(dim=2)
        return local_contrast(ours, twin, rows, targets=share)
    pair = _pairs(rows)
    cosines = ours @ ours.mT
    if reading == "gram":
        return (truth - cosines)[pair].square().mean()
    logits = [(x / tau).masked_fill(~pair, NOWHERE)[rows] for x in (cosines, truth)]
    kept, wanted = (x.log_softmax(dim=1) for x in logits)
    return functional.kl_div(kept, wanted, reduction="batchmean", log_target=True)


def locality(before: Tensor, after: Tensor, present: Tensor) -> float:
    """Return how well likenesses survive a projection: 1 is wholly.

    The correlation over pairs of local vectors between cosines before and after, averaged over
    samples; the measure that the paper's argument predicts to fall without its term. NaN when
    no sample has three vectors.

    Parameters
    ----------
    before, after : Tensor, shapes (b, n, d) and (b, n, c)
    present : Tensor, shape (b, n), bool
    """
    with torch.no_grad():
        tables = [_cosines(x, present, False) for x in (before, after)]
        values = []
        for first, second, pair in zip(*tables, _pairs(present), strict=True):
            if int(pair.sum()) >= 6:
                values.append(torch.corrcoef(torch.stack([first[pair], second[pair]]))[0, 1])
    return float(torch.stack(values).mean()) if values else math.nan


def _cosines(vectors: Tensor, present: Tensor, centred: bool) -> Tensor:
    """Cosines within each sample, shape (b, n, n)."""
    vectors = vectors.float().masked_fill(~present[:, :, None], 0.0)
    if centred:
        vectors = vectors - vectors.sum(1, keepdim=True) / present.sum(1).view(-1, 1, 1)
    vectors = functional.normalize(vectors, dim=2)
    return vectors @ vectors.mT


def _pairs(present: Tensor) -> Tensor:
    """Pairs of different present vectors, shape (b, n, n)."""
    different = ~torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    return present[:, :, None] & present[:, None] & different


class Parts(nn.Module):
    """Heads: crops to one vector, the reports' adapter, the past."""

    def __init__(self, past: int) -> None:
        super().__init__()
        self.image = nn.Linear(TOKEN, TOKEN)
        self.adapter = Adapter()
        self.temperature = Temperature(GLOBAL_TAU)
        self.memory = Memory(past, (TOKEN, SENTENCE))


class Objective:
    """Contrast of crops with reports, of sentences with where they look, and kept likenesses.

    The projection whose likenesses are kept is the tower's own head, from ``pre`` to tokens.
    Reports of one set of findings are no negatives of one another, as in fVLM; earlier crops
    are further columns of the global contrast.

    Parameters
    ----------
    reading : str
        Of the intra-modal term; see :func:`intra_modal`.
    local, image, text : float
        Weights of the local contrast and of the likenesses within image and report, against 1
        of the global contrast.
    regions : int
        Tokens drawn per crop.
    past : int
        Crops remembered.
    """

    name = "elvis"

    def __init__(
        self, reading: Reading = "preserve", local: float = 1.0, image: float = 1.0,
        text: float = 0.5, regions: int = 256, past: int = 256,
    ) -> None:  # fmt: skip
        if reading not in get_args(Reading):
            raise InputRefused(
                "bad-objective", f"a reading out of {get_args(Reading)}.", f"It is {reading!r}.",
                "Change [objectives.elvis] in the config.",
            )  # fmt: skip
        self.reading: Reading = reading
        self.local, self.image, self.text, self.regions = local, image, text, regions
        self._parts = Parts(past)

    def parts(self) -> nn.Module:
        """Return the heads."""
        return self._parts

    def loss(self, batch: Batch) -> Tensor:
        """Return the weighted sum of the four terms."""
        before, after = self._regions(batch.pre, batch.tokens)
        regions = functional.normalize(after, dim=2)
        every = torch.ones(after.shape[:2], dtype=torch.bool, device=after.device)
        raw, present, kind = _padded(batch.sentences, after)
        spoken = self._parts.adapter(raw)
        twin = twins(spoken, regions, every)
        alike = (kind[:, :, None] == kind[:, None]).float()
        heard = twins(regions, spoken, present)
        image = intra_modal(
            before, after, every & present.any(1, keepdim=True), self.reading, twin=heard
        )
        text = intra_modal(raw, spoken, present, self.reading, twin=twin, centred=True)
        local = local_contrast(spoken, twin, present, targets=alike)
        weighted = self.local * local + self.image * image + self.text * text
        return self._whole(batch) + weighted

    def _regions(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the same tokens of every crop, shapes (n, k, 96) and (n, k, 64)."""
        chosen = torch.randperm(after[0, 0].numel(), device=after.device)[: self.regions]
        first, second = (x.flatten(2)[:, :, chosen].mT for x in (before, after))
        return first, second

    def _whole(self, batch: Batch) -> Tensor:
        """Global contrast of the crops that have a report."""
        parts = self._parts
        said = [report_of(sentences) for sentences in batch.sentences]
        rows = [number for number, one in enumerate(said) if one is not None]
        if not rows:
            return batch.tokens.new_zeros(())
        reports = torch.stack([one[0] for one in said if one is not None])
        sets = torch.tensor([one[1] for one in said if one is not None], device=reports.device)
        images = functional.normalize(parts.image(batch.tokens[rows].mean(dim=(2, 3, 4))), dim=1)
        past_images, past_reports, past_sets = parts.memory.of(0)
        with torch.no_grad():
            past = past_images, parts.adapter(past_reports)
        parts.memory.add(images, reports, torch.zeros_like(sets), sets)
        weights = same(sets, past_sets)
        if bool(weights.all()):
            return batch.tokens.new_zeros(())
        texts, scale = parts.adapter(reports), parts.temperature.scale()
        return contrast(images, texts, weights, scale, past=past)


def _padded(sentences: tuple[Sentences, ...], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (n, k, 384), presence (n, k), and what is said of which organ (n, k), padded."""
    most = max([len(one.vectors) for one in sentences], default=0)
    raw = like.new_zeros(len(like), max(1, most), SENTENCE)
    present = torch.zeros(raw.shape[:2], dtype=torch.bool, device=like.device)
    kind = torch.full(raw.shape[:2], -1, device=like.device)
    for number, one in enumerate(sentences):
        k = len(one.vectors)
        raw[number, :k], present[number, :k] = one.vectors.to(raw), True
        kind[number, :k] = one.organ * 1000 + one.meaning
    return raw, present, kind
