"""Training of the text head: glossary terms in many wordings, side and negation words included.

    python -m napari_ctvlp.training.text_head --out weights/mini-text.safetensors

The text tower stays frozen, so that all phrases are embedded once. Held out for the report:
one term in ten of each concept, and wordings of their own. The weights that ship are then
trained on every term. Negation is taught from raw phrases, because with the parser off "no lung
mass" reaches the head as it stands.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_ctvlp.core.vocabulary import concepts, findings
from napari_ctvlp.models.encoders.mini_text import DIMENSIONS, HIDDEN, ConceptHead
from napari_ctvlp.models.store import card
from napari_ctvlp.models.text import TOWERS
from napari_ctvlp.models.text_choice import Sentences, chosen_tower, load_tower

GLOSSARY = Path(__file__).resolve().parent / "glossary"
STEPS, BATCH, RATE = 900, 512, 2e-3
#: Noise per component on unit vectors (less for negation, a subtle turn), dropout, label smoothing.
NOISE, QUIET_NOISE, DROPOUT, SMOOTHING = 0.03, 0.01, 0.2, 0.02
HELD_OUT = 0.1
_TIMES = {"template": 2, "side": 2, "negation": 8, "asserted": 1}


@dataclass(frozen=True)
class Phrases:
    """Wordings of terms, their concept rows and whether they deny.

    Attributes
    ----------
    texts : tuple of str
    concept : ndarray, shape (n,), int
    negated : ndarray, shape (n,), float
    """

    texts: tuple[str, ...]
    concept: NDArray[np.int64]
    negated: NDArray[np.float32]


class Remembering:
    """A text tower that embeds no phrase twice."""

    def __init__(self, tower: Sentences) -> None:
        self._tower = tower
        self._known: dict[str, NDArray[np.float32]] = {}

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (n, 384)."""
        new = sorted({text for text in phrases if text not in self._known}, key=len)
        self._known.update(zip(new, self._tower.embed(new), strict=True))
        return np.stack([self._known[text] for text in phrases])


class Network(nn.Module):
    """The trainable half of ``ConceptHead``; its state carries the same names."""

    def __init__(self, concepts: int = 0) -> None:
        super().__init__()
        self.hidden = nn.Linear(DIMENSIONS, HIDDEN)
        self.concept = nn.Linear(HIDDEN, concepts or len(names()))
        self.negation_hidden = nn.Linear(DIMENSIONS, 64)
        self.negation = nn.Linear(64, 1)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return concept logits (n, concepts) and negation logits (n,)."""
        hidden = self.drop(torch.relu(self.hidden(_noisy(vectors, NOISE))))
        denied = self.drop(torch.relu(self.negation_hidden(_noisy(vectors, QUIET_NOISE))))
        return self.concept(hidden), self.negation(denied)[:, 0]

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights under the names of ``ConceptHead``."""
        state = self.state_dict()
        names = {name: name.replace("negation_hidden", "negation.hidden") for name in state}
        return {names[name]: value.numpy().astype(np.float32) for name, value in state.items()}


def names(model: str = "mini") -> tuple[str, ...]:
    """Return the concepts that a model's head tells apart, in the order of its card."""
    return tuple(card(model).settings["concepts"])


def glossary() -> dict[str, tuple[str, ...]]:
    """Return every term by concept: the findings' words and the files of ``glossary/``."""
    terms: dict[str, list[str]] = {concept.name: [] for concept in concepts()}
    for finding in findings().values():
        if finding.concept:
            terms[finding.concept].extend(finding.words)
    for name, listed in _table()["terms"].items():
        terms[name].extend(listed)
    return {name: tuple(dict.fromkeys(listed)) for name, listed in terms.items()}


def held_out() -> dict[str, list[str]]:
    """Return the terms by concept that are kept from what is measured on them."""
    return dict(_table()["held_out"])


def foreign() -> list[str]:
    """Return phrases that are none of the concepts; nothing is trained on them."""
    return list(_table()["foreign"]["held_out"])


def split_terms(
    terms: Mapping[str, Sequence[str]], seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Hold out one term in ten of each concept; returns (trained, held out)."""
    rng = np.random.default_rng(seed)
    kept: dict[str, list[str]] = {}
    left: dict[str, list[str]] = {}
    for name, listed in terms.items():
        order = rng.permutation(len(listed))
        count = max(1, round(HELD_OUT * len(listed)))
        left[name] = [listed[n] for n in order[:count]]
        kept[name] = [listed[n] for n in order[count:]]
    return kept, left


def frames(which: str) -> dict[str, tuple[list[str], float]]:
    """Return the templates of one split by kind, and whether they deny (1.0) or not (0.0)."""
    table = _table()
    return {
        "template": (table["templates"][which], 0.0),
        "side": (table["sides"][which], 0.0),
        "negation": (table["negations"][which], 1.0),
        "asserted": (table["negations"]["asserted"], 0.0),
    }


def without(left: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the glossary but for some terms."""
    gone = {term for listed in left.values() for term in listed}
    return {name: [t for t in listed if t not in gone] for name, listed in glossary().items()}


def wordings(
    terms: Mapping[str, Sequence[str]], which: str, seed: int = 0, model: str = "mini"
) -> Phrases:
    """Put each term bare and into random templates, sides and negations of one split.

    Parameters
    ----------
    terms : mapping of concept to terms
    which : {"train", "held_out"}
    seed : int
    """
    kinds = frames(which)
    texts, concept, negated = [], [], []
    for row, name in enumerate(names(model)):
        for term in terms.get(name, ()):
            rng = np.random.default_rng([seed, *term.encode()])
            made = [(term, 0.0)]
            for kind, (listed, denied) in kinds.items():
                count = min(_TIMES[kind], len(listed))
                picks = rng.choice(len(listed), count, replace=False)
                made += [(listed[pick].format(term), denied) for pick in picks]
            texts += [text for text, _ in made]
            negated += [denied for _, denied in made]
            concept += [row] * len(made)
    return Phrases(tuple(texts), np.array(concept), np.array(negated, dtype=np.float32))


def fit(vectors: NDArray[np.float32], phrases: Phrases, seed: int, concepts: int = 0) -> Network:
    """Train a network on embedded phrases; classes weigh alike however many terms they have."""
    torch.manual_seed(seed)
    network = Network(concepts).train()
    data = torch.from_numpy(vectors)
    truth, denied = torch.from_numpy(phrases.concept), torch.from_numpy(phrases.negated)
    odds = 1.0 / torch.bincount(truth).float().clamp(min=1).sqrt()[truth]
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    ask = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    deny = nn.BCEWithLogitsLoss()
    for _ in range(STEPS):
        rows = torch.multinomial(odds, BATCH, replacement=True)
        logits, negation = network(data[rows])
        loss = ask(logits, truth[rows]) + deny(negation, denied[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def build(
    tower: Remembering, terms: Mapping[str, Sequence[str]], seed: int, model: str = "mini"
) -> ConceptHead:
    """Train a head on terms and keep their vectors as its bank."""
    phrases, known = wordings(terms, "train", model=model), names(model)
    network = fit(tower.embed(phrases.texts), phrases, seed, len(known))
    rows = [(term, row) for row, name in enumerate(known) for term in terms.get(name, ())]
    bank = tower.embed([term for term, _ in rows])
    labels = np.array([row for _, row in rows])
    return ConceptHead(network.tensors(), bank, labels, tuple(term for term, _ in rows))


def report(tower: Remembering, seed: int) -> dict[str, float]:
    """Train without one term in ten and measure what the head makes of the rest."""
    kept, left = split_terms(glossary(), seed)
    return examine(tower, build(tower, kept, seed), left)


def examine(
    tower: Remembering, head: ConceptHead, left: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Measure what a head makes of terms that it was not trained on.

    Returns
    -------
    dict
        Shares right in 0..1: concept of bare held-out terms (network, neighbours, mean, mean in the
        best three), negation on held-out templates and terms, and the cosines that rejection
        rests on.
    """
    bare = [(term, row) for row, name in enumerate(names()) for term in left[name]]
    vectors = tower.embed([term for term, _ in bare])
    truth = np.array([row for _, row in bare])
    mixture, _, near = head(vectors)
    worded = wordings(left, "held_out")
    denied = head.negation(tower.embed(worded.texts))
    strange = head(tower.embed(foreign()))[2]
    right = (denied > 0.5) == (worded.negated > 0.5)
    best = np.argsort(-mixture, axis=1)
    return {
        "terms": float(len(bare)),
        "network": float((head.network(vectors).argmax(1) == truth).mean()),
        "neighbours": float((head.neighbours(vectors).argmax(1) == truth).mean()),
        "mean": float((best[:, 0] == truth).mean()),
        "top three": float((best[:, :3] == truth[:, None]).any(1).mean()),
        "negation": float(right.mean()),
        "negated found": float(right[worded.negated > 0.5].mean()),
        "asserted kept": float(right[worded.negated < 0.5].mean()),
        "known, 5th percentile": float(np.percentile(near, 5)),
        "foreign, highest": float(strange.max()),
    }


def save(head: ConceptHead, path: Path, tower: str) -> None:
    """Write a head of a tower as safetensors, in half precision, with the terms it knows."""
    from safetensors.numpy import save_file

    tensors = {name: value.astype(np.float16) for name, value in head.tensors.items()}
    tensors["bank.vectors"] = head.bank.astype(np.float16)
    tensors["bank.labels"] = head.labels.astype(np.uint8)
    save_file(tensors, path, {"terms": json.dumps(head.terms), "tower": tower})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the report over three seeds as JSON, write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds to report")
    parser.add_argument("--model", default="mini", help="card whose concepts the head tells apart")
    parser.add_argument("--tower", choices=TOWERS, default="", help="by default the product's own")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    name = chosen_tower(chosen.tower)
    tower = Remembering(load_tower(name))
    for seed in range(chosen.seeds):
        row = report(tower, seed)
        print(json.dumps({name: round(value, 3) for name, value in row.items()}), flush=True)
    save(build(tower, glossary(), 0, chosen.model), chosen.out, name)


def _noisy(vectors: torch.Tensor, amount: float) -> torch.Tensor:
    return vectors + amount * torch.randn_like(vectors)


@cache
def _table() -> dict[str, Any]:
    """Read every file of the glossary into one table."""
    table: dict[str, Any] = {}
    for path in sorted(GLOSSARY.glob("*.toml")):
        for part, rows in tomllib.loads(path.read_text(encoding="utf-8")).items():
            kept = table.setdefault(part, {})
            for name, row in rows.items():
                kept[name] = [*kept[name], *row] if name in kept else row
    return table


if __name__ == "__main__":
    main()
