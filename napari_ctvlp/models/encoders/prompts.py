"""Prompts of hosted encoders to unit vectors: by their text tower, or from vectors made before.

A tower can only read free text with its tokenizer's file. Where that is missing, the vectors
that the bundle brings are used, and any other text says why it cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.encoding import TextVector
from napari_ctvlp.errors import ModelRefused

Array = NDArray[np.float32]
Ids = NDArray[np.int64]
Run = Callable[[Sequence[str]], Array]
Tokenizer = Callable[[Sequence[str]], tuple[Ids, Ids]]

#: File of a bundle with vectors made before: tensor ``vectors`` (n, c), metadata ``texts``.
VECTORS = "text-vectors.safetensors"
#: Texts that go through a tower at once.
_BATCH = 64


class Prompts:
    """Texts to unit vectors; each text is run once.

    Parameters
    ----------
    run : callable or None
        Texts to vectors (n, c); None without a tokenizer.
    table : mapping of str to ndarray, shape (c,)
        Vectors made before.
    why : str
        Why free text cannot be used, for the refusal.
    positive, negative : str
        Templates with ``{}``; without a negative one, a phrase is its positive prompt alone.
    """

    def __init__(
        self,
        run: Run | None,
        table: Mapping[str, Array] | None = None,
        why: str = "",
        *,
        positive: str = "{}",
        negative: str = "",
    ) -> None:
        self._run, self._why = run, why
        self._known = dict(table or {})
        self._spelt = {text.casefold(): text for text in self._known}
        self.positive, self.negative = positive, negative

    @property
    def free(self) -> bool:
        """Whether any text can be read, not only those with a vector."""
        return self._run is not None

    def vectors(self, texts: Sequence[str]) -> Array:
        """Return one vector per text, shape (n, c).

        Raises
        ------
        ModelRefused
            If a text has no vector and there is no tokenizer.
        """
        if self._run is None:
            texts = [self._spelt.get(text.casefold(), text) for text in texts]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new and self._run is None:
            raise ModelRefused(
                "no-tokenizer",
                f"one of the {len(self._known)} texts that have a vector: {_few(self._known)}.",
                f"{new[0]!r} has none, and free text cannot be read. {self._why}".rstrip(),
                "Add the tokenizer's file to the model's folder, or choose one of these texts.",
            )
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            if self._run is not None:
                self._known.update(zip(batch, self._run(batch), strict=True))
        return np.stack([self._known[text] for text in texts])

    def pairs(self, phrases: Sequence[str]) -> list[TextVector]:
        """Return phrases beside the tokens: positive minus negative prompt."""
        if not phrases:
            return []
        found = self.vectors([_filled(self.positive, phrase) for phrase in phrases])
        if self.negative:
            found = found - self.vectors([_filled(self.negative, phrase) for phrase in phrases])
        return [TextVector(row) for row in found]


def read_vectors(path: Path) -> dict[str, Array]:
    """Read vectors made before; empty when the file is not there.

    Raises
    ------
    ModelRefused
        If it is there and not what it should be.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="np") as file:
            texts = json.loads((file.metadata() or {})["texts"])
            vectors = file.get_tensor("vectors").astype(np.float32)
        return dict(zip(texts, vectors, strict=True))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ModelRefused(
            "corrupt-vectors",
            f"safetensors with a tensor 'vectors' and as many 'texts' in {path.name}.",
            f"{path.name} cannot be used ({error}).",
            "Get the file again or delete it.",
        ) from error


def write_vectors(path: Path, texts: Sequence[str], vectors: Array) -> None:
    """Write what :func:`read_vectors` reads."""
    from safetensors.numpy import save_file

    save_file({"vectors": np.ascontiguousarray(vectors)}, path, {"texts": json.dumps(list(texts))})


def wordpiece(vocabulary: Path, longest: int) -> Tokenizer | None:
    """Return BERT's lower-case WordPiece with the words of ``vocab.txt``; None without the file.

    Parameters
    ----------
    vocabulary : Path
    longest : int
        Tokens of a text, with the two marks around it; longer texts are cut.

    Returns
    -------
    callable or None
        Texts to ids and mask, int64 (n, tokens of the longest one).
    """
    if not vocabulary.is_file():
        return None
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding()

    def run(texts: Sequence[str]) -> tuple[Ids, Ids]:
        found = tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in found], np.int64)
        return ids, np.array([one.attention_mask for one in found], np.int64)

    return run


def _filled(template: str, phrase: str) -> str:
    """Put a phrase into a template, without the full stop it may come with."""
    return template.replace("{}", phrase.strip().rstrip("."))


def _few(known: Mapping[str, Array]) -> str:
    names = list(known)[:3]
    return ", ".join(map(repr, names)) + ("..." if len(known) > len(names) else "") or "none"
