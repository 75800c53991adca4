"""What a text tower makes of terms it never read, MiniLM beside it.

    python -m napari_ctvlp.training.text_measure --weights weights/text-tower.safetensors

The head of concepts is trained three times on each tower without the terms that the small tower's
training held out; then those are asked for. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ctvlp.models.encoders.mini_text import TEMPERATURE, ConceptHead
from napari_ctvlp.models.text import TextTower
from napari_ctvlp.models.text_choice import Sentences
from napari_ctvlp.models.text_small import SmallTower
from napari_ctvlp.training import text_corpus
from napari_ctvlp.training.text_head import Remembering, build, examine, foreign, without

Array = NDArray[np.float32]
#: Number of unseen sentences and of misspelt terms that are looked at.
SENTENCES, MISSPELT = 500, 200


def auroc(high: Array, low: Array) -> float:
    """Chance that a draw of ``high`` exceeds one of ``low``; ties count half."""
    row = np.sort(low)
    below, up_to = np.searchsorted(row, high, "left"), np.searchsorted(row, high, "right")
    return float((below + up_to).mean() / (2 * len(low)))


def misspelt(terms: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Return (term with one letter dropped, term) for terms of eight letters and more."""
    rng = np.random.default_rng(seed)
    long = [term for term in terms if len(term) >= 8]
    picks = rng.permutation(len(long))[:count]
    holes = [int(rng.integers(1, len(long[n]) - 1)) for n in picks]
    return [(long[n][:h] + long[n][h + 1 :], long[n]) for n, h in zip(picks, holes, strict=True)]


def suggestions(tower: Sentences, head: ConceptHead, spelling: bool) -> float:
    """Share of misspelt terms whose own term is among the first three suggestions."""
    pairs = misspelt(head.terms, MISSPELT, 0)
    vectors = tower.embed([wrong for wrong, _ in pairs])
    found = [
        right in {term for term, _ in head.suggest(vector, 3, wrong if spelling else "")}
        for vector, (wrong, right) in zip(vectors, pairs, strict=True)
    ]
    return float(np.mean(found))


def alone(
    tower: Sentences,
    left: Mapping[str, Sequence[str]],
    sentences: Sequence[str],
    teacher: Array,
) -> dict[str, float]:
    """Measure a tower without a head, over every concept of the glossary.

    Parameters
    ----------
    tower : Sentences
    left : mapping of concept to terms
        Held out.
    sentences : sequence of str
        Unseen general ones.
    teacher : ndarray, shape (sentences, 384)
        MiniLM's vectors of them.

    Returns
    -------
    dict
        Concepts by soft nearest neighbours; AUROC of the nearest cosine, unseen terms against
        foreign phrases and against unseen sentences, with the cosines a threshold must part;
        share of terms with a letter dropped that are suggested themselves among three;
        mean cosines of a term and its denial, of its left and right, of sentences and MiniLM's.
    """
    kept = {name: terms for name, terms in without(left).items() if terms}
    listed = tuple(term for terms in kept.values() for term in terms)
    bank = tower.embed(listed)
    labels = np.repeat(np.arange(len(kept)), [len(terms) for terms in kept.values()])
    rows = [(term, row) for row, name in enumerate(kept) for term in left.get(name, ())]
    terms, truth = [term for term, _ in rows], np.array([row for _, row in rows])
    near = tower.embed(terms) @ bank.T
    odds = np.exp(near / TEMPERATURE)
    best = np.argsort([-odds[:, labels == n].sum(1) for n in range(len(kept))], axis=0).T
    general, head = tower.embed(sentences), ConceptHead({}, bank, labels, listed)
    real, strange, said = (
        cosines.max(1) for cosines in (near, tower.embed(foreign()) @ bank.T, general @ bank.T)
    )
    return {
        "neighbours alone, all concepts: first": float((best[:, 0] == truth).mean()),
        "neighbours alone: in the best three": float((best[:, :3] == truth[:, None]).any(1).mean()),
        "known: AUROC against foreign phrases": auroc(real, strange),
        "known: AUROC against unseen sentences": auroc(real, said),
        "known: 5th percentile of unseen terms": float(np.percentile(real, 5)),
        "known: 95th percentile of foreign phrases": float(np.percentile(strange, 95)),
        "known: 95th percentile of unseen sentences": float(np.percentile(said, 95)),
        "misspelt terms: own term suggested": suggestions(tower, head, False),
        "misspelt terms: with spelling": suggestions(tower, head, True),
        "cosine of a term and its denial": _cosine(tower, terms, "{}", "no {}"),
        "cosine of its left and its right": _cosine(tower, terms, "left {}", "right {}"),
        "cosine to MiniLM, unseen sentences": float((general * teacher).sum(1).mean()),
    }


def headed(tower: Remembering, left: Mapping[str, Sequence[str]], seed: int) -> dict[str, float]:
    """Train a head of the card's concepts without some terms, and ask it for them."""
    head = build(tower, without(left), seed)
    said = examine(tower, head, left)
    return {
        "head: concept first": said["mean"],
        "head: in the best three": said["top three"],
        "head: negation right": said["negation"],
        "head: denied found": said["negated found"],
        "head: asserted kept": said["asserted kept"],
    }


def table(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return a Markdown table: a line per number, a column per tower, a value per seed."""
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in next(iter(rows.values()))[0]:
        values = [[f"{row[name]:.3f}" for row in listed] for listed in rows.values()]
        cells = [v[0] if len(set(v)) == 1 else " / ".join(v) for v in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the small tower and MiniLM and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the head, or 0")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    small, minilm = SmallTower.read(chosen.weights), TextTower.load()
    left = json.loads(small.about["held_out"])
    prose = text_corpus.prose(text_corpus.installed(), 10**6, 0)
    sentences = [text for text in prose if text_corpus.unseen(text)][:SENTENCES]
    teacher = minilm.embed(sentences)
    print(f"{sum(map(len, left.values()))} held-out terms, {len(sentences)} unseen sentences\n")
    rows: dict[str, list[dict[str, float]]] = {}
    towers: dict[str, Sentences] = {"small": small, "MiniLM": minilm}
    for name, tower in towers.items():
        kept = Remembering(tower)
        once = alone(kept, left, sentences, teacher)
        rows[name] = [once | headed(kept, left, seed) for seed in range(chosen.seeds)] or [once]
        print(json.dumps({name: rows[name]}), file=sys.stderr, flush=True)
    print(table(rows))


def _cosine(tower: Sentences, terms: Sequence[str], first: str, second: str) -> float:
    one, other = (tower.embed([frame.format(t) for t in terms]) for frame in (first, second))
    return float((one * other).sum(1).mean())


if __name__ == "__main__":
    main()
