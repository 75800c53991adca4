"""MiniLM as a teacher: its vectors, computed once and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.models.text import DIMENSIONS, TextTower

BATCH = 256


class Teacher:
    """Vectors of a text tower by text, in half precision, kept as they come.

    Parameters
    ----------
    tower : TextTower
    folder : Path
        Where ``teacher.txt``, a text per line, and ``teacher.f16``, a vector each, are kept.
    """

    def __init__(self, tower: TextTower, folder: Path) -> None:
        self.tower = tower
        self.texts, self.vectors_file = folder / "teacher.txt", folder / "teacher.f16"
        self.texts.touch()
        self.vectors_file.touch()
        # A run may have been stopped between the two files, or within a line.
        lines = self.texts.read_text(encoding="utf-8").split("\n")[:-1]
        rows = min(len(lines), self.vectors_file.stat().st_size // (2 * DIMENSIONS))
        self.rows = {text: n for n, text in enumerate(lines[:rows])}
        self.table = np.fromfile(self.vectors_file, np.float16, rows * DIMENSIONS)
        self.table = self.table.reshape(rows, DIMENSIONS)
        self.table.tofile(self.vectors_file)
        self.texts.write_text("".join(f"{text}\n" for text in self.rows), encoding="utf-8")

    def words(self) -> list[str]:
        """Return the plain words of the tower's vocabulary, which begins with the frequent."""
        table = json.loads((self.tower.folder / "tokenizer.json").read_text(encoding="utf-8"))
        listed = sorted(table["model"]["vocab"].items(), key=lambda item: item[1])
        return [word for word, _ in listed if word.isascii() and word.isalpha() and len(word) > 1]

    def learn(self, texts: Sequence[str]) -> None:
        """Embed the texts that are new, in bfloat16, those of like length together."""
        new = sorted({text for text in texts if text not in self.rows}, key=lambda t: (len(t), t))
        parts = [self.table]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                parts.append(self.tower.embed(batch).astype(np.float16))
            first = len(self.rows)
            self.rows.update((text, first + n) for n, text in enumerate(batch))
            with self.texts.open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in batch)
            with self.vectors_file.open("ab") as binary:
                binary.write(parts[-1].tobytes())
        self.table = np.concatenate(parts)

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return unit vectors of learned texts, shape (n, 384), float32."""
        rows = self.table[[self.rows[text] for text in texts]]
        return torch.from_numpy(rows.astype(np.float32))
