"""The embedded text tower: a small transformer, distilled from MiniLM and taught medicine.

One file holds it all: the weights in half precision and, in the header, its own WordPiece
vocabulary. Trained by ``training/text_tower.py``. Sentence vectors are the mean of the last
layer's token vectors, brought to 384 components and normalised, as MiniLM's are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.store import card, sha256
from napari_ctvlp.models.text import DIMENSIONS

WEIGHTS = "text-tower.safetensors"
#: Card that states the SHA-256.
CARD = "mini"
WIDTH, LAYERS, HEAD = 256, 4, 64
#: Tokens that are read of a phrase, the first one ([CLS]) included.
LONGEST = 64
START, UNKNOWN, PADDING = "[CLS]", "[UNK]", "[PAD]"
_ADVICE = "Install the package again, or put the original file back into the weights folder."
_LOCK = Lock()


class Block(nn.Module):
    """Attention and a two-layer network, each on normalised input and added to what came in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.seen = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return token vectors, shape (n, tokens, width); ``real`` is False on padding."""
        n, tokens, width = hidden.shape
        parts = self.look(self.before(hidden)).view(n, tokens, 3, self.heads, HEAD)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mask = real[:, None, None, :]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = hidden + self.drop(self.seen(seen.transpose(1, 2).reshape(n, tokens, width)))
        inner = functional.gelu(self.widen(self.between(hidden)))
        added: torch.Tensor = hidden + self.drop(self.narrow(inner))
        return added


class Network(nn.Module):
    """Token ids to unit vectors.

    Parameters
    ----------
    vocabulary : int
    width : int
        A multiple of 64, the width of a head of attention.
    layers : int
    dropout : float
        In training only.
    """

    def __init__(
        self, vocabulary: int, width: int = WIDTH, layers: int = LAYERS, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(LONGEST, width)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(layers))
        self.out = nn.Linear(width, DIMENSIONS)

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return unit vectors, shape (n, 384), of ids and their mask, shape (n, tokens)."""
        hidden = self.words(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            hidden = block(hidden, real)
        weight = real[..., None].to(hidden.dtype)
        vector = self.out((hidden * weight).sum(1) / weight.sum(1))
        return functional.normalize(vector.float(), dim=-1)


class SmallTower:
    """Phrases to unit vectors; the same interface as ``models.text.TextTower``.

    Parameters
    ----------
    tokenizer : Tokenizer
    network : Network
    about : mapping of str to str
        Notes in the file: how it was trained, which terms were held out.
    """

    def __init__(
        self, tokenizer: Tokenizer, network: Network, about: Mapping[str, str] | None = None
    ) -> None:
        self.tokenizer, self.network, self.about = tokenizer, network, about or {}
        self._start = tokenizer.token_to_id(START) or 0

    @classmethod
    def load(cls, folder: Path | None = None) -> SmallTower:
        """Load the tower on the CPU, after a look at its SHA-256.

        Parameters
        ----------
        folder : Path, optional
            Where ``text-tower.safetensors`` lies; by default the package's weights.

        Raises
        ------
        ModelRefused
            If it is missing or is not what the card of mini says.
        """
        path = (folder or weights_folder()) / WEIGHTS
        wanted = dict(card(CARD).weights).get(WEIGHTS, "")
        if not path.is_file() or not wanted:
            what = f"is not in {path.parent}." if wanted else "is on no card."
            raise _refused("missing-text-model", path, wanted, what)
        found = sha256(path)
        if found != wanted:
            raise _refused("corrupt-text-model", path, wanted, f"has the SHA-256 {found}.")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> SmallTower:
        """Read any weights file of this kind, whatever its SHA-256; raises ModelRefused."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
                described = file.metadata() or {}
            text = described.pop("tokenizer")
            return cls(_tokenizer(text), _network(state), described)._agree()
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise _refused("corrupt-text-model", path, "", f"cannot be used ({error}).") from error

    def write(self, path: Path, about: Mapping[str, str]) -> None:
        """Write weights in half precision, the vocabulary and notes ``about`` them."""
        from safetensors.torch import save_file

        state = {
            name: value.half().contiguous() for name, value in self.network.state_dict().items()
        }
        save_file(state, path, {**about, "tokenizer": self.tokenizer.to_str()})

    def ids(self, phrase: str) -> list[int]:
        """Return the token ids of a phrase, at most 64, [CLS] first."""
        read = self.tokenizer.encode(phrase, add_special_tokens=False).ids
        return [self._start, *read][:LONGEST]

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per phrase, shape (n, 384), float32.

        Each phrase runs by itself on one thread: its vector depends neither on its
        company nor on the machine's threads.
        """
        out = np.zeros((len(phrases), DIMENSIONS), np.float32)
        with _one_thread(), torch.inference_mode():
            for row, phrase in enumerate(phrases):
                ids = torch.tensor([self.ids(phrase)])
                out[row] = self.network(ids, torch.ones_like(ids, dtype=torch.bool))[0].numpy()
        return out

    def _agree(self) -> SmallTower:
        """Return self; raises ValueError unless vocabulary and weights are one tower's."""
        count = self.tokenizer.get_vocab_size()
        if self.tokenizer.token_to_id(START) is None or count != self.network.words.num_embeddings:
            raise ValueError(f"its {count} words are not those of its weights")
        return self


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread; products on several may differ in their last bits."""
    with _LOCK:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _tokenizer(text: str) -> Tokenizer:
    """Build the tokenizer from its JSON; the library's own errors are bare exceptions."""
    json.loads(text)
    try:
        return Tokenizer.from_str(text)
    except Exception as error:
        raise ValueError(f"its vocabulary is not readable: {error}") from error


def _network(state: Mapping[str, torch.Tensor]) -> Network:
    """Build the network that a state belongs to; raises ValueError or RuntimeError."""
    vocabulary, width = state["words.weight"].shape
    if width % HEAD or not all(bool(value.isfinite().all()) for value in state.values()):
        raise ValueError("its weights are not finite or of another width")
    network = Network(vocabulary, width, sum(name.endswith("look.bias") for name in state))
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _refused(code: str, path: Path, sha: str, what: str) -> ModelRefused:
    wanted = f" with the SHA-256 {sha}" if sha else ""
    return ModelRefused(
        code, f"the embedded text tower {path.name}{wanted}.", f"{path.name} {what}", _ADVICE
    )
