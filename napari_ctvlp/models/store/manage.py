"""What a user does with hosted models: see their state, import, verify and delete them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import ModelCard, Progress, silent
from napari_ctvlp.models.store.digests import record, record_of, recorded
from napari_ctvlp.models.store.hosted import (
    Bundle,
    BundleFile,
    bundle,
    converted,
    folder_of,
    missing_files,
)
from napari_ctvlp.models.store.reading import sha256
from napari_ctvlp.models.store.settings import accepted

_BLOCK = 2**22


@dataclass(frozen=True)
class State:
    """Where a model stands on this computer.

    Attributes
    ----------
    usable : bool
        True when it can run now.
    word : str
        ``"ready"``, ``"missing"``, ``"licence"`` or ``"package"``.
    reason : str
        Why it cannot run and what to do, in a sentence; ``""`` when it can.
    folder : Path
        Where its files lie or belong.
    size_mb : float
        What they take on this disk, in MB (10^6 bytes).
    """

    usable: bool
    word: str
    reason: str
    folder: Path
    size_mb: float


def state_of(model: ModelCard) -> State:
    """Return where a model stands; looks at names and sizes only, so it is quick."""
    hosted = bundle(model)
    folder = folder_of(model) if hosted else weights_folder()
    names = [file.name for file in hosted.files] if hosted else [name for name, _ in model.weights]
    size = sum(_size(folder / name) + _size(converted(folder / name)) for name in names) / 1e6
    word, reason = _hindrance(model, folder)
    return State(not word, word or "ready", reason, folder, size)


def import_files(
    model: ModelCard, source: Path, *, name: str = "", progress: Progress = silent
) -> list[str]:
    """Copy files of a hosted model that the user already has into its folder.

    Parameters
    ----------
    model : ModelCard
    source : Path
        One file, or a folder that holds any of them (a model's folder of another computer).
    name : str
        Which file of the card a single ``source`` is, when it is called otherwise.
    progress : callable

    Returns
    -------
    list of str
        The names that were imported.

    Raises
    ------
    ModelRefused
        If nothing there belongs to the model, or a file has another SHA-256 than the card
        says; what was there before stays.
    """
    hosted = _expect_hosted(model)
    found = _offered(hosted, source, name)
    if not found:
        raise ModelRefused(
            "nothing-to-import",
            f"one of these files of {model.id}: {_names(hosted)}.",
            f"{source} is none of them and holds none of them.",
            "Choose the file itself, or the folder that holds it; a file of another name is "
            "imported with --name.",
        )
    folder = folder_of(model)
    folder.mkdir(parents=True, exist_ok=True)
    done, total = 0, sum(_size(path) for _, path in found) or 1
    for file, path in found:
        _take(file, path, folder, _counted(progress, path.name, done, total))
        done += _size(path)
    return [path.name if _is_made(file, path) else file.name for file, path in found]


def verify_files(model: ModelCard, progress: Progress = silent) -> dict[str, str]:
    """Hash every file of a hosted model again.

    Returns
    -------
    dict of str to str
        Name to SHA-256 of every file that is there.

    Raises
    ------
    ModelRefused
        If a file is not what the card says, or not what it was when it came.
    """
    hosted, folder = _expect_hosted(model), folder_of(model)
    paths = [folder / file.name for file in hosted.files]
    paths = [path for path in (*paths, *map(converted, paths)) if path.is_file()]
    published = {file.name: file.sha256 for file in hosted.files}
    sums: dict[str, str] = {}
    for number, path in enumerate(paths):
        progress(number / len(paths), path.name)
        found = sha256(path)
        wanted = published.get(path.name) or str(recorded(path).get("sha256", found))
        if found != wanted:
            raise _other_sum(path.name, found, wanted)
        sums[path.name] = found
    return sums


def delete(model: ModelCard) -> float:
    """Delete a hosted model's files and what was made of them.

    Returns
    -------
    float
        MB (10^6 bytes) that were freed.

    Raises
    ------
    ModelRefused
        If the files are those of another model.
    """
    hosted, folder = _expect_hosted(model), folder_of(model)
    if hosted.shares:
        raise ModelRefused(
            "shared-files",
            "a model with files of its own.",
            f"The files of {model.id} are those of {hosted.shares}.",
            f"Delete {hosted.shares}, and both are gone.",
        )
    freed = 0.0
    for file in hosted.files:
        for path in (folder / file.name, converted(folder / file.name)):
            freed += _size(path) / 1e6
            path.unlink(missing_ok=True)
            record_of(path).unlink(missing_ok=True)
        for half in folder.glob(f".{file.name}.*.part"):
            half.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a folder that holds something of the user's stays
        folder.rmdir()
    return freed


def _hindrance(model: ModelCard, folder: Path) -> tuple[str, str]:
    """Return a word and a sentence for what keeps a model from running; both "" for nothing."""
    package = str(model.settings.get("package", ""))
    if package and find_spec(package) is None:
        return "package", f"The package {package} is not installed."
    if not bundle(model):
        gone = [name for name, _ in model.weights if not (folder / name).is_file()]
        return ("missing", f"{', '.join(gone)} not in {folder}.") if gone else ("", "")
    missing = missing_files(model, folder)
    if missing:
        names = ", ".join(file.name for file in missing)
        return "missing", f"{names} not in {folder}."
    if not accepted(model):
        return "licence", f"Its licence has to be accepted once: {model.licence}."
    return "", ""


def _offered(hosted: Bundle, source: Path, name: str) -> list[tuple[BundleFile, Path]]:
    """Return the files of a card that a source offers, conversions too."""
    if source.is_file():
        wanted = name or source.name
        named = (file for file in hosted.files if file.name == wanted or _is_made(file, source))
        return [(file, source) for file in named]
    pairs = ((file, path) for file in hosted.files for path in sorted(source.rglob(file.name))[:1])
    whole = [(file, path) for file, path in pairs if path.is_file()]
    have = {file.name for file, _ in whole}
    rest = [file for file in hosted.files if file.name not in have]
    made = ((file, converted(source / file.name)) for file in rest)
    return whole + [(file, path) for file, path in made if path.is_file()]


def _take(file: BundleFile, source: Path, folder: Path, count: Callable[[int], None]) -> None:
    """Copy one file into the folder, whole or not at all, and keep its SHA-256 beside it."""
    made = _is_made(file, source)
    target = folder / (source.name if made else file.name)
    half = folder / f".{target.name}.{os.getpid()}.part"
    sha, done = hashlib.sha256(), 0
    try:
        with source.open("rb") as original, half.open("wb") as copy:
            while block := original.read(_BLOCK):
                copy.write(block)
                sha.update(block)
                done += len(block)
                count(done)
        found = sha.hexdigest()
        note = recorded(source) if made else {}
        if made and note.get("sha256") != found:
            raise _other_sum(source.name, found, str(note.get("sha256", "that its record says")))
        expect_sum(file, str(note["source"]) if made else found)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)
    record(target, found, **({"source": str(note["source"])} if made else {}))


def _is_made(file: BundleFile, path: Path) -> bool:
    """Return True for the conversion of a checkpoint, False for the checkpoint."""
    return path.name == converted(Path(file.name)).name


def _counted(progress: Progress, name: str, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress((before + done) / total, name)


def expect_sum(file: BundleFile, found: str) -> None:
    """Refuse a file whose SHA-256 is not the published one, where one was published."""
    if file.sha256 and file.sha256 != found:
        raise _other_sum(file.name, found, file.sha256)


def _expect_hosted(model: ModelCard) -> Bundle:
    hosted = bundle(model)
    if hosted is None:
        raise ModelRefused(
            "embedded-model",
            "a model whose files do not ship with the package.",
            f"{model.id} needs nothing to be fetched.",
            "It is always there; only hosted models are fetched, imported and deleted.",
        )
    return hosted


def _names(hosted: Bundle) -> str:
    return ", ".join(file.name for file in hosted.files)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _other_sum(name: str, found: str, wanted: str) -> ModelRefused:
    return ModelRefused(
        "corrupt-weights",
        f"{name} with the SHA-256 {wanted}.",
        f"{name} has the SHA-256 {found}.",
        "Get the file again; what was there before has not been touched.",
    )
