"""Lessons of the small text tower: what is read, how batches are drawn, what is asked of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from napari_ctvlp.core.vocabulary import concepts
from napari_ctvlp.training import text_corpus
from napari_ctvlp.training.text_corpus import Wording
from napari_ctvlp.training.text_head import foreign, glossary, held_out

#: Softness of the contrast, and the cosine that the sides of one term may reach.
TEMPERATURE, SIDE_COSINE = 0.1, 0.8


@dataclass(frozen=True)
class Plan:
    """Sizes of a training.

    Attributes
    ----------
    steps, seed : int
    vocabulary : int
        Tokens.
    width, layers : int
        Of the network.
    prose, strings, reports : int
        Sentences, random strings of words and reports to learn from.
    names : int
        Names from medical code lists.
    words : int
        Words of the teacher's vocabulary, the most frequent first.
    times : int
        Templates of a kind per term.
    general, drawn : int
        General texts and terms' concepts of a batch.
    """

    steps: int = 1700
    seed: int = 0
    vocabulary: int = 10000
    width: int = 256
    layers: int = 3
    prose: int = 4000
    strings: int = 4000
    reports: int = 800
    names: int = 12000
    words: int = 8000
    times: int = 1
    general: int = 128
    drawn: int = 20


@dataclass(frozen=True)
class Corpus:
    """What is read: general texts by length, medical wordings, and what was held out."""

    general: tuple[str, ...]
    medical: tuple[Wording, ...]
    said: tuple[Wording, ...]
    unseen: tuple[str, ...]
    left: dict[str, list[str]]

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything the teacher must embed."""
        return (*self.general, *(w.text for w in (*self.medical, *self.said)), *self.unseen)


def corpus(plan: Plan, words: Sequence[str], folders: Sequence[Path]) -> Corpus:
    """Gather what to learn from; held-out terms and sentences are in none of it."""
    rows = {concept.name: row for row, concept in enumerate(concepts())}
    terms = glossary()
    left = text_corpus.held_out(terms, held_out())
    gone = {term for listed in left.values() for term in listed}
    kept = {name: [t for t in listed if t not in gone] for name, listed in terms.items()}
    leak = re.compile(r"\b(" + "|".join(map(re.escape, sorted(gone))) + r")\b", re.IGNORECASE)
    said = text_corpus.report_sentences(rows, plan.reports, plan.seed)
    prose = text_corpus.prose(folders, plan.prose, plan.seed)
    strings = text_corpus.strings(words, plan.strings, plan.seed)
    never = gone | set(foreign())
    names = text_corpus.code_names(plan.names, plan.seed) if plan.names else []
    named = [name for name in names if not leak.search(name)]
    general = {text for text in (*words, *strings, *prose, *named) if text.lower() not in never}
    return Corpus(
        tuple(sorted((t for t in general if not text_corpus.unseen(t)), key=lambda t: (len(t), t))),
        tuple(text_corpus.wordings(kept, rows, plan.times, plan.seed)),
        tuple(w for w in said if not leak.search(w.text)),
        tuple(t for t in prose if text_corpus.unseen(t)),
        left,
    )


class Lessons:
    """Draws batches; what a step holds follows from the seed and the step alone.

    Parameters
    ----------
    texts : Corpus
    plan : Plan
    """

    def __init__(self, texts: Corpus, plan: Plan) -> None:
        self.texts, self.plan = texts, plan
        self.by_term: dict[int, dict[str, list[Wording]]] = {}
        for wording in texts.medical:
            self.by_term.setdefault(wording.concept, {}).setdefault(wording.term, []).append(
                wording
            )
        self.rows = sorted(self.by_term)
        odds = np.sqrt([len(self.by_term[row]) for row in self.rows])
        self.odds = odds / odds.sum()

    def general(self, step: int) -> list[str]:
        """Return general texts of about one length."""
        rng = np.random.default_rng([self.plan.seed, step, 1])
        texts, count = self.texts.general, self.plan.general
        start = int(rng.integers(0, max(1, len(texts) - 4 * count)))
        picks = rng.choice(min(len(texts), 4 * count), min(len(texts), count), replace=False)
        return [texts[start + n] for n in picks]

    def medical(self, step: int) -> list[Wording]:
        """Return terms of some concepts, a part also denied or sided, and report sentences."""
        rng = np.random.default_rng([self.plan.seed, step, 2])
        out: list[Wording] = []
        for row in rng.choice(self.rows, self.plan.drawn, p=self.odds):
            terms = list(self.by_term[row].values())
            for n in rng.choice(len(terms), min(2, len(terms)), replace=False):
                out += _versions(terms[n], rng)
        said = self.texts.said
        return out + [said[n] for n in rng.integers(0, max(1, len(said)), self.plan.drawn) if said]


def _versions(listed: Sequence[Wording], rng: np.random.Generator) -> list[Wording]:
    """Return a term bare or worded, at times denied, at times on either side."""
    plain = [w for w in listed if not w.denied]
    out = [plain[0] if rng.random() < 0.4 else plain[int(rng.integers(len(plain)))]]
    denied = [w for w in listed if w.denied]
    if denied and rng.random() < 0.5:
        out.append(denied[int(rng.integers(len(denied)))])
    sides = [[w for w in listed if w.side == side] for side in ("left", "right")]
    if all(sides) and rng.random() < 0.3:
        out += [options[int(rng.integers(len(options)))] for options in sides]
    return out


def contrast(vectors: torch.Tensor, labels: torch.Tensor, strangers: torch.Tensor) -> torch.Tensor:
    """Supervised contrast of unit vectors, shape (n, 384), by label; a scalar.

    Each vector's likeness to those of its label is raised against all others and against
    ``strangers``, shape (m, 384), which have no label. Zero where no two labels agree.
    """
    logits = vectors @ torch.cat([vectors, strangers]).T / TEMPERATURE
    itself = torch.eye(len(vectors), logits.shape[1], dtype=torch.bool)
    chances = logits.masked_fill(itself, -torch.inf).log_softmax(1)[:, : len(vectors)]
    same = (labels[:, None] == labels) & ~itself[:, : len(vectors)]
    count = same.sum(1)
    mean = -torch.where(same, chances, 0.0).sum(1)[count > 0] / count[count > 0]
    return mean.mean() if len(mean) else vectors.sum() * 0.0


def apart(vectors: torch.Tensor, drawn: Sequence[Wording]) -> torch.Tensor:
    """Mean excess over the allowed cosine between the sides of one term; a scalar."""
    pairs = [
        (n, m)
        for n, one in enumerate(drawn)
        for m, other in enumerate(drawn[:n])
        if one.term == other.term and {one.side, other.side} == {"left", "right"}
    ]
    if not pairs:
        return vectors.sum() * 0.0
    first, second = torch.tensor(pairs).T
    cosine = (vectors[first] * vectors[second]).sum(1)
    return functional.relu(cosine - SIDE_COSINE).mean()
