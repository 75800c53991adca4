"""The head of mini's text tower: a sentence vector becomes a mixture of concepts.

Two readers are averaged: a small network and the soft nearest neighbours in a glossary of terms.
Beside the mixture stand how much the phrase denies, and how near it is to anything the glossary
holds. Trained by ``training/text_head.py``; numpy does the arithmetic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.models.store import unusable

Array = NDArray[np.float32]
DIMENSIONS, HIDDEN = 384, 256
#: Softness of the nearest neighbours, in units of cosine.
TEMPERATURE = 0.05
_SHAPES = {
    "hidden.weight": (HIDDEN, DIMENSIONS),
    "hidden.bias": (HIDDEN,),
    "concept.weight": (-1, HIDDEN),
    "concept.bias": (-1,),
    "negation.hidden.weight": (64, DIMENSIONS),
    "negation.hidden.bias": (64,),
    "negation.weight": (1, 64),
    "negation.bias": (1,),
}


@dataclass(frozen=True)
class ConceptHead:
    """Sentence vectors to concepts.

    Attributes
    ----------
    tensors : dict of str to ndarray, float32
        The network's weights and biases, named as in the file.
    bank : ndarray, shape (terms, 384), float32
        Unit vectors of the glossary.
    labels : ndarray, shape (terms,), int
        Concept of each term, in the order of the card.
    terms : tuple of str
        The terms themselves; empty where the file does not hold them.
    tower : str
        Text tower whose vectors the head was trained on, a name of ``models.text.TOWERS``.
    """

    tensors: dict[str, Array]
    bank: Array
    labels: NDArray[np.int64]
    terms: tuple[str, ...] = ()
    tower: str = "minilm"

    @classmethod
    def load(cls, path: Path, count: int) -> ConceptHead:
        """Read a weights file of ``count`` concepts; an adapter in it is left aside.

        Raises
        ------
        ModelRefused
            If it is no safetensors file or holds other tensors than this code expects.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = file.metadata() or {}
            terms = tuple(json.loads(about.get("terms", "[]")))
            labels = state.pop("bank.labels").astype(np.int64)
            bank = state.pop("bank.vectors").astype(np.float32)
            own = {name: value for name, value in state.items() if not name.startswith("adapter.")}
            tensors = {name: value.astype(np.float32) for name, value in own.items()}
            _check(tensors, bank, labels, count)
            if terms and len(terms) != len(labels):
                raise ValueError(f"it names {len(terms)} terms for {len(labels)} vectors")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise unusable(path, "mini's text head", error) from error
        return cls(tensors, bank, labels, terms, about.get("tower", cls.tower))

    def __call__(self, vectors: NDArray[np.float32]) -> tuple[Array, Array, Array]:
        """Read sentence vectors.

        Parameters
        ----------
        vectors : ndarray, shape (n, 384), float32
            Unit length, from ``models.text.TextTower``.

        Returns
        -------
        tuple
            Mixture of concepts, shape (n, concepts), rows sum to 1; share of negation in 0..1,
            shape (n,); cosine to the nearest term of the glossary, shape (n,).
        """
        mixture = np.float32(0.5) * (self.network(vectors) + self.neighbours(vectors))
        near = _products(vectors, self.bank).max(axis=1)
        return mixture, self.negation(vectors), np.asarray(near, dtype=np.float32)

    def suggest(self, vector: Array, n: int = 3, phrase: str = "") -> tuple[tuple[str, float], ...]:
        """Return the ``n`` nearest terms and how near they are.

        Parameters
        ----------
        vector : ndarray, shape (384,)
            Unit length; a term is as near as its cosine.
        n : int
        phrase : str
            What was typed; a term is as near, too, as the two are spelt alike.

        Returns
        -------
        tuple of (str, float)
            Empty where the file does not hold its terms.
        """
        if not self.terms:
            return ()
        near = _products(vector[None], self.bank)[0]
        if phrase:
            near = np.maximum(near, [spelt_alike(phrase, term) for term in self.terms])
        order = np.argsort(-near, kind="stable")[:n]
        return tuple((self.terms[row], float(near[row])) for row in order)

    def network(self, vectors: Array) -> Array:
        """Return the network's concepts, shape (n, concepts)."""
        hidden = self._layer(vectors, "hidden")
        logits = _products(hidden, self.tensors["concept.weight"])
        return _softmax(logits + self.tensors["concept.bias"])

    def neighbours(self, vectors: Array) -> Array:
        """Return the nearest terms' concepts, softly weighted, shape (n, concepts)."""
        weights = _softmax(_products(vectors, self.bank) / np.float32(TEMPERATURE))
        concepts_of = np.arange(len(self.tensors["concept.bias"]))[:, None] == self.labels
        return _products(weights, concepts_of.astype(np.float32))

    def negation(self, vectors: Array) -> Array:
        """Return how much the phrase denies what it names, 0..1, shape (n,)."""
        hidden = self._layer(vectors, "negation.hidden")
        logit = _products(hidden, self.tensors["negation.weight"])[:, 0]
        logit = logit + self.tensors["negation.bias"]
        return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float32)

    def _layer(self, vectors: Array, name: str) -> Array:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return np.asarray(np.maximum(_products(vectors, weight) + bias, 0), dtype=np.float32)


def spelt_alike(one: str, other: str) -> float:
    """Return the Dice coefficient, 0..1, of two phrases' runs of three letters."""
    first, second = _threes(one), _threes(other)
    return 2 * len(first & second) / (len(first) + len(second))


@lru_cache(maxsize=2**13)
def _threes(text: str) -> frozenset[str]:
    padded = f"  {text.lower()} "
    return frozenset(padded[n : n + 3] for n in range(len(padded) - 2))


def _products(vectors: Array, rows: Array) -> Array:
    """Return each vector . each row, shape (n, rows), to the same bits on any number of threads."""
    return np.asarray(np.vecdot(vectors[:, None], rows), dtype=np.float32)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float32)


def _check(tensors: dict[str, Array], bank: Array, labels: NDArray[np.int64], count: int) -> None:
    """Raise ValueError unless names, shapes and numbers are what the head needs."""
    expected = {n: tuple(count if s < 0 else s for s in shape) for n, shape in _SHAPES.items()}
    found = {name: value.shape for name, value in tensors.items()}
    if found != expected:
        raise ValueError(f"its tensors are {found}, not {expected}")
    if bank.ndim != 2 or bank.shape != (len(labels), DIMENSIONS):
        raise ValueError(f"its glossary is {bank.shape} for {len(labels)} terms")
    if not len(labels) or labels.min() < 0 or labels.max() >= count:
        raise ValueError("its glossary names concepts that do not exist")
    if not all(np.isfinite(value).all() for value in (*tensors.values(), bank)):
        raise ValueError("some weights are not finite")
