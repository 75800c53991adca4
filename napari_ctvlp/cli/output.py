"""Files that appear whole or not at all, JSON on standard output, progress on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from napari_ctvlp.errors import InputRefused
from napari_ctvlp.models.protocol import Progress, silent

#: Stands for standard output where a file could stand.
STDOUT = Path("-")
NIFTI = (".nii", ".nii.gz")


class Outputs:
    """The files of one run: written under other names, renamed together at the end.

    Parameters
    ----------
    *inputs : Path
        Files and folders that must not be overwritten.

    Examples
    --------
    >>> with Outputs(ct) as outputs:  # doctest: +SKIP
    ...     half = outputs.add(Path("labels.nii.gz"), NIFTI)
    ...     write(half)
    """

    def __init__(self, *inputs: Path) -> None:
        self._inputs = [path.resolve() for path in inputs]
        self._files: dict[Path, Path] = {}

    def add(self, path: Path, suffixes: Sequence[str]) -> Path:
        """Check a target and return the name to write to until the end.

        Raises
        ------
        InputRefused
            If the folder is missing, the name has another suffix or an input would be lost.
        """
        if not path.name.endswith(tuple(suffixes)):
            raise _refused(
                "bad-suffix",
                f"a file name that ends with {' or '.join(suffixes)}.",
                f"The output is {path.name!r}.",
                "Choose another name.",
            )
        if not path.parent.is_dir():
            raise _refused(
                "missing-folder",
                "a folder that exists.",
                f"There is no folder {path.parent}.",
                "Make it first, or choose another one.",
            )
        self._refuse_loss(path)
        half = path.with_name(f".{os.getpid()}-{path.name}")
        self._files[half] = path
        return half

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Write JSON into a file that appears at the end."""
        self.add(path, (".json",)).write_text(as_json(content) + "\n", encoding="utf-8")

    def __enter__(self) -> Outputs:
        """Start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename every file that was written, or delete all of them after an error."""
        for half, path in self._files.items():
            if error is None and half.exists():
                half.replace(path)
            else:
                half.unlink(missing_ok=True)

    def _refuse_loss(self, path: Path) -> None:
        target = path.resolve()
        inside = path.exists() and any(folder in target.parents for folder in self._inputs)
        taken = [*self._inputs, *(other.resolve() for other in self._files.values())]
        if inside or target in taken or path.is_dir():
            raise _refused(
                "would-overwrite",
                "an output that replaces no input, no folder and no other output.",
                f"{path} is one.",
                "Choose another name.",
            )


def early(*suffixes: str) -> Callable[[Path | None], Path | None]:
    """Return an option's callback that refuses an output's name before anything is computed."""

    def checked(path: Path | None) -> Path | None:
        if path is not None and path != STDOUT:
            Outputs().add(path, suffixes)
        return path

    return checked


def as_json(content: dict[str, Any]) -> str:
    """Return strict, indented JSON."""
    return json.dumps(content, indent=2, allow_nan=False)


def say(text: str) -> None:
    """Tell the user something; standard output stays free for JSON."""
    print(text, file=sys.stderr)


def terminal_progress() -> Progress:
    """Return a callback that keeps one line on a terminal, or none when there is no terminal."""
    if not sys.stderr.isatty():
        return silent

    def show(share: float, stage: str) -> None:
        end = "\n" if share >= 1.0 else ""
        print(f"\r\x1b[K{share:4.0%} {stage}", end=end, file=sys.stderr, flush=True)

    return show


def _refused(code: str, expected: str, found: str, advice: str) -> InputRefused:
    return InputRefused(code, expected, found, advice)
