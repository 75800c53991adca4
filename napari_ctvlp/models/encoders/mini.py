"""Mini, the embedded encoder: a dense 3D tower, concepts, a text adapter and organs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.geometry import Affine, coarse_affine
from napari_ctvlp.core.grounding import rows_of
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.vocabulary import concepts
from napari_ctvlp.models.encoders.mini_grid import inputs_of
from napari_ctvlp.models.encoders.mini_rows import (
    NOT_TAUGHT,
    POLES,
    own_rows,
    prompts_of,
    unjudged,
    why_not,
)
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.store import unusable

if TYPE_CHECKING:
    from napari_ctvlp.models.encoders.mini_adapter import Adapter
    from napari_ctvlp.models.encoders.mini_pool import Pool
    from napari_ctvlp.models.encoders.mini_text import ConceptHead
    from napari_ctvlp.models.encoders.mini_tower import Tower
    from napari_ctvlp.models.text_choice import Sentences

IMAGE_WEIGHTS = "mini-image.safetensors"
#: Logit of a phrase that is all negation: nothing resembles "no finding" anywhere in particular.
ABSENT_BIAS = -6.0
#: Largest volume that runs in one pass, in 2 mm voxels; longer scans run in overlapping slabs.
ONE_PASS = 14_000_000
#: Known terms that are offered for unknown words.
NEAREST = 3
#: Share of the adapter in a phrase's direction, where the card does not say.
OPEN_SHARE = 0.5

Array = NDArray[np.float32]


class Mini:
    """Encoder protocol of the embedded model.

    Parameters
    ----------
    card : ModelCard
    tower : Module
    pool : Pool
    adapter : Adapter or None
        None where the head's file has none.
    head : ConceptHead
    text : Sentences
    compute : Compute
    """

    def __init__(
        self,
        card: ModelCard,
        tower: Tower,
        pool: Pool,
        adapter: Adapter | None,
        head: ConceptHead,
        text: Sentences,
        compute: Compute,
    ) -> None:
        self.card, self.compute = card, compute
        self.image = str(card.settings.get("image", IMAGE_WEIGHTS))
        self.tower, self.pool, self.adapter = tower, pool, adapter
        self.head, self.text = head, text
        self.concepts, self.findings = concept_names(card)

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> Mini:
        """Load verified weights from ``folder``.

        Raises
        ------
        ModelRefused
            If the files are no safetensors or hold other tensors than this code expects.
        """
        from napari_ctvlp.models.encoders.mini_adapter import Adapter
        from napari_ctvlp.models.encoders.mini_text import ConceptHead
        from napari_ctvlp.models.text_choice import chosen_head, load_tower

        names, findings = concept_names(card)
        image = str(card.settings.get("image", IMAGE_WEIGHTS))
        tower, pool = load_image(folder / image, compute, len(names), findings)
        text, file = chosen_head(card.settings.get("heads", {}))
        head = ConceptHead.load(folder / file, len(names))
        adapter = Adapter.load(folder / file)
        return cls(card, tower, pool, adapter, head, load_tower(text), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode a scan.

        Parameters
        ----------
        scan : Scan
            A CT in HU, any spacing.
        anatomy : AnatomyMap
            Gives the body, the lungs' bounding box and the organs to pool over.
        progress : callable
            Called several times a second.

        Returns
        -------
        Encoding
            One grid of 64-d float16 tokens at 4 mm, zero outside the body.
        """
        hu, place, fine, body = inputs_of(scan, anatomy, progress)
        affine = coarse_affine(fine, 2)
        tokens = self._tokens(hu, place, progress)
        tokens[~body] = 0
        progress(0.95, "organs")
        organs, attention = self._pool(tokens, body, anatomy, affine, progress)
        grid = TokenGrid(tokens, affine, body, level="4mm")
        weights = dict(self.card.weights).get(self.image, "")
        return Encoding((grid,), organs, self.card.id, weights, scan.digest, attention)

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the tokens.

        Each phrase becomes a mixture of concepts w (and a share of negation n), and a direction
        a with a bias b of the adapter; with the card's ``open_share`` s its vector is
        (1 - n) ((1 - s) wE / 8 + s a) and its bias (1 - n) ((1 - s) wB + s b) - 6 n. What falls on
        a tumour word is shared out between tumour concepts as ``settings.unions`` says; words that
        are only half known mean their finding, and any finding, see :meth:`generalised`.

        Returns
        -------
        list of TextVector
            ``concepts`` holds the mixture.
        """
        if not phrases:
            return []
        sentences = self.text.embed(list(phrases))
        mixture, negation, known = self.head(sentences)
        share = np.float32(self.card.settings.get("open_share", OPEN_SHARE))
        table = self.tower.table.detach().cpu().numpy()
        bias = self.tower.bias.detach().cpu().numpy()
        out = []
        if self.adapter is None:
            share, shifts = np.float32(0), negation * 0
            directions = np.zeros((len(phrases), table.shape[1]), np.float32)
        else:
            directions, shifts = self.adapter.each(sentences)
        for number, row in enumerate(mixture):
            w, n = self.shared_out(np.asarray(row, np.float32)), float(negation[number])
            w = self.generalised(w, float(known[number]))
            weights = dict(zip(self.concepts, w.tolist(), strict=True))
            mixed = (1 - share) * (w @ table) / 8.0 + share * directions[number]
            vector = np.asarray((1 - n) * mixed, np.float32)
            level = float((1 - share) * (w @ bias) + share * shifts[number])
            shift = (1 - n) * level + n * ABSENT_BIAS
            near, least = float(known[number]), self._least
            told = near < least
            terms = self.head.suggest(sentences[number], NEAREST, phrases[number]) if told else ()
            nearest = tuple(term for term, _ in terms)
            out.append(TextVector(vector, shift, near, weights, least, nearest))
        return out

    @property
    def _least(self) -> float:
        """How near the glossary a phrase must lie, for the text tower in use."""
        return float(self.card.settings["known"][self.head.tower])

    def shared_out(self, mixture: Array) -> Array:
        """Apply the card's unions to one concept mixture, shape (concepts,)."""
        unions = self.card.settings.get("unions", {})
        best = self.concepts[int(mixture.argmax())]
        if best not in unions:
            return mixture
        shares: dict[str, float] = unions[best]
        rows = [self.concepts.index(name) for name in shares]
        out = mixture.copy()
        out[rows] = mixture[rows].sum() * np.array(list(shares.values()), np.float32)
        return out

    def generalised(self, mixture: Array, known: float) -> Array:
        """Read words that are only half known as a finding of some kind.

        A share of the mixture, 0 for words in the glossary (cosine ``sure``) and growing until
        ``half``, gives way to its own findings, sharpened, and to the card's unions of findings
        (``settings.doubt``). Words about anatomy, and words unlike any (``strange``), stay.

        Parameters
        ----------
        mixture : ndarray, shape (concepts,), float32
        known : float
            Cosine to the nearest term of the glossary.
        """
        doubt: dict[str, Any] = self.card.settings.get("doubt", {})
        sayable = len(self.findings) + len(doubt.get("unions", {}))
        if not doubt or int(mixture.argmax()) >= sayable:
            return mixture
        points = (doubt["strange"], doubt["half"], doubt["sure"])
        share = np.float32(np.interp(known, points, (0.0, 1.0, 0.0)))
        own = np.where(np.arange(len(mixture)) < sayable, mixture, 0) ** 2
        other = own * (np.float32(1 - sum(doubt["unions"].values())) / own.sum())
        for name, weight in doubt["unions"].items():
            other[self.concepts.index(name)] += weight
        return np.asarray((1 - share) * mixture + share * other, np.float32)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per organ and finding.

        ``present`` is a finding's similarity to the organ, ``absent`` the same for organs
        without it, as the pool compares them. Rows the model cannot judge hold NaN and say why.
        """
        rows, masks = [], self.looked_at(encoding, anatomy)
        for number, organ in enumerate(self.pool.organs):
            why = why_not(organ, encoding, anatomy)
            found = {} if why else self._compared(encoding.grids[0], masks[organ], number)
            for finding in self.findings:
                yes, no = found.get(finding, (np.nan, np.nan))
                if not np.isfinite(yes - no):
                    rows.append(unjudged(organ, finding, why or NOT_TAUGHT))
                    continue
                rows.append(
                    FindingRow(organ, finding, yes, no, yes - no, prompts=prompts_of(finding))
                )
        rows += own_rows(rows)
        return FindingsTable(tuple(rows), self.card.id, encoding.scan, poles=POLES, unit="logit")

    def looked_at(self, encoding: Encoding, anatomy: AnatomyMap) -> Mapping[str, NDArray[np.bool_]]:
        """Return where each anatomy's findings are looked for, on the first grid."""
        from napari_ctvlp.models.encoders.mini_pool import organ_masks

        grid = encoding.grids[0]
        masks = organ_masks(anatomy, grid.valid.shape, grid.affine)
        return {organ: masks[organ] & grid.valid for organ in self.pool.organs}

    def _compared(
        self, grid: TokenGrid, mask: NDArray[np.bool_], number: int
    ) -> dict[str, tuple[float, float]]:
        """Return both poles of the findings that were taught in an organ, over its mask."""
        import torch

        pool = self.pool
        taught = pool.level[number].isfinite().nonzero().flatten()
        own = rows_of(grid)[mask[grid.valid]]
        with torch.inference_mode():
            tokens = torch.from_numpy(own).to(self.compute.device)
            present, absent = pool.compare(self.tower.logits(tokens, taught), number, taught)
        both = zip(present.tolist(), absent.tolist(), strict=True)
        return dict(zip((self.findings[n] for n in taught.tolist()), both, strict=True))

    def _tokens(self, hu: Array, place: Array, progress: Progress) -> NDArray[np.float16]:
        """Run the tower, in one pass or in slabs whose overlap makes them agree exactly."""
        slabs = plan_slabs(hu.shape, int(ONE_PASS * self.compute.tiles))
        out = np.zeros((*place.shape[1:], 64), np.float16)
        for number, (keep, take) in enumerate(slabs):
            share = Ticks(progress, number / len(slabs), (number + 1) / len(slabs))
            part = self._run(hu[take], place[:, take.start // 2 : take.stop // 2], share)
            first = (keep.start - take.start) // 2
            count = (keep.stop - keep.start) // 2
            out[keep.start // 2 : keep.stop // 2] = part[first : first + count]
        return out

    def _run(self, hu: Array, place: Array, tick: Ticks) -> NDArray[np.float16]:
        import torch

        device = torch.device(self.compute.device)
        lean = self.compute.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
            volume = torch.from_numpy(hu)[None, None].to(device)
            where = torch.from_numpy(np.ascontiguousarray(place))[None].to(device)
            tokens = self.tower(volume, where, tick)[0]
            return np.asarray(tokens.permute(1, 2, 3, 0).half().cpu().numpy())

    def _pool(
        self,
        tokens: NDArray[np.float16],
        body: NDArray[np.bool_],
        anatomy: AnatomyMap,
        affine: Affine,
        progress: Progress,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        import torch

        from napari_ctvlp.models.encoders.mini_pool import organ_masks

        vectors: dict[str, Array] = {}
        attention: dict[str, Array] = {}
        organs = self.pool.organs
        masks = organ_masks(anatomy, body.shape, affine)
        progress(0.97, "organs")
        for number, name in enumerate(organs):
            mask = masks[name] & body
            if not mask.any():
                continue
            with torch.inference_mode():
                rows = torch.from_numpy(tokens[mask].astype(np.float32)).to(self.compute.device)
                weights = self.pool.attention(rows, number).cpu().numpy()
                vectors[name] = self.pool(rows, number).cpu().numpy()
            progress(0.97 + 0.03 * (number + 1) / len(organs), "organs")
            attention[name] = np.zeros(body.shape, np.float32)
            attention[name][mask] = weights
        return vectors, attention


class Ticks:
    """Turns the tower's ticks into shares of a progress bar."""

    #: Ticks of one pass of the tower.
    COUNT = 18

    def __init__(self, progress: Progress, start: float, stop: float) -> None:
        self.progress, self.start, self.stop, self.done = progress, start, stop, 0

    def __call__(self) -> None:
        """Report one more step; raises what the callback raises."""
        self.done += 1
        share = self.start + (self.stop - self.start) * min(1.0, self.done / self.COUNT)
        self.progress(0.3 + 0.65 * share, "encoding")


def concept_names(card: ModelCard) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the card's concepts in the order of the weights, and its findings, which lead."""
    kinds = {concept.name: concept.kind for concept in concepts()}
    names = tuple(card.settings["concepts"])
    return names, tuple(name for name in names if kinds[name] == "finding")


def load_image(
    path: Path, compute: Compute, count: int, findings: tuple[str, ...]
) -> tuple[Tower, Pool]:
    """Read the image weights of ``count`` concepts; anything but the expected floats is refused."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_ctvlp.models.encoders.mini_pool import Pool
    from napari_ctvlp.models.encoders.mini_tower import Tower, channels_last

    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        tower = Tower(count, detail=any(name.startswith("tower.detail.") for name in state))
        pool = Pool(len(findings))
        whole = torch.nn.ModuleDict({"tower": tower, "pool": pool})
        learned = {name: value for name, value in state.items() if name != "pool.level"}
        if not all(bool(value.isfinite().all()) for value in learned.values()):
            raise ValueError("some weights are not finite")
        whole.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise unusable(path, "mini's image tower", error) from error
    whole.eval().requires_grad_(False)
    channels_last(whole.to(compute.device))
    return tower, pool


def plan_slabs(shape: tuple[int, ...], most: int = 0) -> list[tuple[slice, slice]]:
    """Cut a 2 mm grid along I into (slices to keep, slices to run) of about ``most`` voxels.

    Every slab carries as much overlap as the tower can see, so that no token depends on where
    the cuts are.
    """
    from napari_ctvlp.models.encoders.mini_tower import COARSEST, REACH_MM, VOXEL_MM

    count, plane = shape[0], shape[1] * shape[2]
    most = most or ONE_PASS
    if count * plane <= most:
        return [(slice(0, count), slice(0, count))]
    reach = int(REACH_MM / VOXEL_MM)
    step = max(6 * COARSEST, (most // plane - 2 * reach) // COARSEST * COARSEST)
    starts = range(0, count, step)
    return [
        (slice(a, min(a + step, count)), slice(max(0, a - reach), min(a + step + reach, count)))
        for a in starts
    ]
