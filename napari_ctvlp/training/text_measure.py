"""What a text tower makes of terms it never read, MiniLM beside it.

    python -m napari_ctvlp.training.text_measure --weights weights/text-tower.safetensors

The head of concepts is trained three times on each tower without the terms that the small tower's
training held out; then those are asked for. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ctvlp.models.encoders.mini_text import ConceptHead
from napari_ctvlp.models.text import TextTower
from napari_ctvlp.models.text_choice import Sentences
from napari_ctvlp.models.text_small import SmallTower
from napari_ctvlp.training import text_corpus
from napari_ctvlp.training.text_head import Remembering, build, examine, foreign, names, without

Array = NDArray[np.float32]
#: Number of unseen sentences and of misspelt terms that are looked at.
SENTENCES, MISSPELT = 500, 200


def auroc(high: Array, low: Array) -> float:
    """Chance that a draw of ``high`` exceeds one of ``low``; ties count half."""
    ranks = np.searchsorted(np.sort(low), high, "left") + np.searchsorted(
        np.sort(low), high, "right"
    )
    return float(ranks.mean() / (2 * len(low)))


def misspelt(terms: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Return (term with one letter dropped, term) for terms of eight letters and more."""
    rng = np.random.default_rng(seed)
    long = [term for term in terms if len(term) >= 8]
    picks = rng.permutation(len(long))[:count]
    holes = [int(rng.integers(1, len(long[n]) - 1)) for n in picks]
    return [(long[n][:h] + long[n][h + 1 :], long[n]) for n, h in zip(picks, holes, strict=True)]


def suggestions(tower: Sentences, head: ConceptHead, seed: int = 0) -> float:
    """Share of misspelt terms whose own term is among the first three suggestions."""
    pairs = misspelt(head.terms, MISSPELT, seed)
    vectors = tower.embed([wrong for wrong, _ in pairs])
    found = [
        term in {name for name, _ in head.suggest(vector, 3)}
        for vector, (_, term) in zip(vectors, pairs, strict=True)
    ]
    return float(np.mean(found))


def nearness(
    tower: Sentences, head: ConceptHead, terms: Sequence[str], sentences: Sequence[str]
) -> dict[str, float]:
    """Measure how far known phrases, foreign ones and unseen sentences are told apart.

    Returns
    -------
    dict
        AUROC of the nearest cosine, unseen terms against foreign phrases and against unseen
        sentences; the fifth percentile of unseen terms and the highest foreign one; mean cosine
        of a term with its denial and of its left with its right version.
    """
    real, strange = (head(tower.embed(list(texts)))[2] for texts in (terms, foreign()))
    general = head(tower.embed(list(sentences)))[2]
    return {
        "known: AUROC against foreign phrases": auroc(real, strange),
        "known: AUROC against unseen sentences": auroc(real, general),
        "known: 5th percentile of unseen terms": float(np.percentile(real, 5)),
        "known: highest foreign phrase": float(strange.max()),
        "known: 95th percentile of unseen sentences": float(np.percentile(general, 95)),
        "cosine of a term and its denial": _cosine(tower, terms, "{}", "no {}"),
        "cosine of its left and its right": _cosine(tower, terms, "left {}", "right {}"),
    }


def measure(
    tower: Sentences,
    left: Mapping[str, Sequence[str]],
    sentences: Sequence[str],
    teacher: Array,
    seeds: int,
) -> list[dict[str, float]]:
    """Return one row of numbers per seed of the head.

    Parameters
    ----------
    tower : Sentences
    left : mapping of concept to terms
        Held out.
    sentences : sequence of str
        Unseen general ones.
    teacher : ndarray, shape (sentences, 384)
        MiniLM's vectors of them.
    seeds : int
    """
    kept = Remembering(tower)
    terms = [term for name in names() for term in left.get(name, ())]
    likeness = float((tower.embed(sentences) * teacher).sum(1).mean())
    out = []
    for seed in range(seeds):
        head = build(kept, without(left), seed)
        said = examine(kept, head, left)
        row = {
            "held-out terms, concept first": said["mean"],
            "held-out terms, in the best three": said["top three"],
            "negation right": said["negation"],
            "negation: denied found": said["negated found"],
            "negation: asserted kept": said["asserted kept"],
            "cosine to MiniLM, unseen sentences": likeness,
        }
        row |= nearness(kept, head, terms, sentences)
        out.append(row | {"misspelt terms, own term in three": suggestions(kept, head)})
    return out


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
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the head")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    small, minilm = SmallTower.read(chosen.weights), TextTower.load()
    left = json.loads(small.about["held_out"])
    prose = text_corpus.prose(text_corpus.installed(), 10**6, 0)
    sentences = [text for text in prose if text_corpus.unseen(text)][:SENTENCES]
    teacher = minilm.embed(sentences)
    print(f"{sum(map(len, left.values()))} held-out terms, {len(sentences)} unseen sentences\n")
    towers: dict[str, Sentences] = {"small": small, "MiniLM": minilm}
    print(table({n: measure(t, left, sentences, teacher, chosen.seeds) for n, t in towers.items()}))


def _cosine(tower: Sentences, terms: Sequence[str], first: str, second: str) -> float:
    one, other = (tower.embed([frame.format(t) for t in terms]) for frame in (first, second))
    return float((one * other).sum(1).mean())


if __name__ == "__main__":
    main()
