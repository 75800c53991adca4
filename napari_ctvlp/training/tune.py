"""Peak rules and thresholds of the card, chosen on whole prepared CTs with a painted finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.vocabulary import concepts as rows_of
from napari_ctvlp.models.encoders.mini_tower import Tower
from napari_ctvlp.models.store import card
from napari_ctvlp.training.data import Chest
from napari_ctvlp.training.pooling import Bag, bags_of, organ_tokens, silent_findings
from napari_ctvlp.training.synthesis.canvas import FINDINGS
from napari_ctvlp.training.targets import concepts
from napari_ctvlp.training.whole import (
    Painted,
    concept_logits,
    encode_whole,
    painted_chests,
    thorax_of,
    token_place,
    unknown_tokens,
)

#: (smoothing in mm, share of the mirrored map that is subtracted)
RULES = ((0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (4.0, 0.5))
#: Organs of the regions that ``concepts.toml`` names and the anatomies do not.
PLACES = {"kidneys": ("kidney_left", "kidney_right"), "lungs": ("lung_left", "lung_right")}
MIRROR_SIGMA_MM = 8.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """One map on one chest under one rule.

    Attributes
    ----------
    chest, painted, asked, rule : str
        Training CT, painted finding or ``""``, finding asked for, rule.
    peak : float
        Highest value in the thorax.
    best : float
        Highest value within 8 mm of the painted finding; NaN when none was.
    hit : bool
        The peak lies within 8 mm of the painted finding.
    """

    chest: str
    painted: str
    asked: str
    rule: str
    peak: float
    best: float
    hit: bool


def run_trials(
    tower: Tower, chests: Sequence[Chest], seed: int, each: int, empty: int
) -> tuple[list[Trial], list[Bag]]:
    """Encode painted chests once; return peaks under every rule, and bags for the organ queries.

    Parameters
    ----------
    tower : Tower
    chests : sequence of Chest
    seed : int
    each, empty : int
        CTs per finding, and CTs with nothing painted.
    """
    fixed = {c.case.name: _Fixed(c) for c in chests}
    generator = torch.Generator().manual_seed(seed)
    trials: list[Trial] = []
    bags: list[Bag] = []
    for chest, painted in _both(chests, seed, each, empty):
        own = fixed[chest.case.name]
        tokens = encode_whole(tower, painted.hu, own.place)
        bags += bags_of(tower, tokens, painted, own.organs, own.unknown, own.silent, generator)
        asked = [painted.finding] if painted.finding else own.sayable
        for name in asked:
            trials += _judge(tower, tokens, painted, own, name)
    return trials, bags


def mixture(finding: str) -> Array:
    """Return the concept weights of a phrase that names a finding, as mini's card shares them out.

    Shape (concepts,).
    """
    weights = np.zeros(len(concepts()), np.float32)
    for name, share in card("mini").settings["unions"].get(finding, {finding: 1.0}).items():
        weights[concepts().index(name)] = share
    return weights


def smoothed(
    logits: Array, body: NDArray[np.bool_], sigma_mm: float, mirror: float, middle: float
) -> Array:
    """Return probabilities after the heatmap's rule, as ``core/grounding.py`` applies it.

    ``middle`` is the index along L of the mid-sagittal plane.
    """
    values = np.where(body, 1 / (1 + np.exp(-logits)), 0).astype(np.float32)
    if sigma_mm:
        width = sigma_mm / 4.0
        weight = np.maximum(ndimage.gaussian_filter(body.astype(np.float32), width), 1e-6)
        values = np.asarray(ndimage.gaussian_filter(values, width) / weight, np.float32)
    if mirror:
        other = ndimage.gaussian_filter(values, MIRROR_SIGMA_MM / 4.0)
        place = np.rint(2 * middle - np.arange(values.shape[2])).astype(int)
        inside = (place >= 0) & (place < values.shape[2])
        flipped = other[:, :, np.clip(place, 0, values.shape[2] - 1)] * inside
        values = np.asarray(np.clip(values - mirror * flipped, 0, 1), np.float32)
    return np.where(body, values, np.float32(0))


def rule_of(heatmap: Mapping[str, float]) -> str:
    """Return the name of the rule that a card's ``settings.heatmap`` asks for."""
    return f"sigma {heatmap['sigma_mm']:g} mirror {heatmap['mirror']:g}"


def thresholds(
    trials: Sequence[Trial], rule: str, alarms: float = 0.1
) -> dict[str, tuple[float, float]]:
    """Return (present, absent) per finding under one rule.

    ``present`` is exceeded by a share ``alarms`` of the chests without anything painted (by
    linear interpolation between them); ``absent`` is what 90 % of the painted findings exceed,
    at most ``present``.
    """
    out = {}
    for name in FINDINGS:
        own = [t for t in trials if t.rule == rule and t.asked == name]
        empty = [t.peak for t in own if not t.painted]
        painted = [t.best for t in own if t.painted]
        if not empty or not painted:
            continue
        present = float(np.clip(np.quantile(empty, 1 - alarms), 0.05, 0.98))
        out[name] = (present, float(min(present, np.quantile(painted, 0.1))))
    return out


def strictest(groups: Iterable[Sequence[Trial]], rule: str) -> dict[str, tuple[float, float]]:
    """Return per finding the higher ``present`` and ``absent`` of several roles' trials."""
    out: dict[str, tuple[float, float]] = {}
    for trials in groups:
        for name, (present, absent) in thresholds(trials, rule).items():
            before = out.get(name, (0.0, 0.0))
            out[name] = max(before[0], present), max(before[1], absent)
    return {name: out[name] for name in FINDINGS if name in out}


def report(trials: Sequence[Trial]) -> str:
    """Format hits by finding and rule as a Markdown table."""
    rules = list(dict.fromkeys(t.rule for t in trials))
    lines = ["| finding | chests | " + " | ".join(rules) + " |", "|" + "---|" * (len(rules) + 2)]
    for name in FINDINGS:
        own = [t for t in trials if t.painted == name]
        hits = [[t.hit for t in own if t.rule == rule] for rule in rules]
        numbers = " | ".join(f"{np.mean(h):.2f}" if h else "-" for h in hits)
        lines.append(f"| {name} | {len(hits[0])} | {numbers} |")
    overall = [np.mean([t.hit for t in trials if t.painted and t.rule == rule]) for rule in rules]
    lines.append("| all | | " + " | ".join(f"{x:.2f}" for x in overall) + " |")
    return "\n".join(lines)


def load(path: Path) -> list[Trial]:
    """Read what :func:`save` wrote."""
    return [Trial(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def save(trials: Sequence[Trial], path: Path) -> None:
    """Write trials as JSON."""
    path.write_text(json.dumps([asdict(t) for t in trials]), encoding="utf-8")


class _Fixed:
    """What of a chest does not depend on the painting."""

    def __init__(self, chest: Chest) -> None:
        self.place = token_place(chest)
        self.organs = organ_tokens(chest)
        self.unknown = unknown_tokens(chest)
        self.body = self.place[3] > 0
        self.thorax = thorax_of(chest)
        self.silent = silent_findings(chest)
        self.sayable = [f for f in FINDINGS if f not in self.silent and self.searched(f).any()]
        start = -chest.affine[0, 3] + 1.0
        self.middle = float((chest.box.centre[2] - start) / 4.0)

    def searched(self, finding: str) -> NDArray[np.bool_]:
        """Return where a finding is looked for, as the product's gate would say it."""
        where = next(row.where for row in rows_of() if row.name == finding)
        if where == "thorax":
            field = self.thorax
        elif where == "body":
            field = self.body
        else:
            parts = PLACES.get(where, (where,))
            field = np.logical_or.reduce([self.organs[name] for name in parts])
        return np.asarray(field & self.body & ~self.unknown)


def _both(
    chests: Sequence[Chest], seed: int, each: int, empty: int
) -> Iterator[tuple[Chest, Painted]]:
    yield from painted_chests(chests, [""], seed + 500_000, empty)
    yield from painted_chests(chests, FINDINGS, seed, each)


def _judge(
    tower: Tower, tokens: torch.Tensor, painted: Painted, own: _Fixed, name: str
) -> Iterator[Trial]:
    logits = concept_logits(tower, tokens, mixture(name))
    searched = own.searched(name) | painted.truth
    for sigma, mirror in RULES:
        values = smoothed(logits, own.body, sigma, mirror, own.middle)
        inside = np.where(searched, values, -1)
        top = int(inside.argmax())
        best = float(values[painted.near].max()) if painted.finding else float("nan")
        hit = bool(painted.near.flat[top]) if painted.finding else False
        rule = rule_of({"sigma_mm": sigma, "mirror": mirror})
        yield Trial(painted.name, painted.finding, name, rule, float(inside.max()), best, hit)
