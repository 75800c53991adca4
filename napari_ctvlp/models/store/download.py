"""Hosted files from the hub: at the pinned revision, continued where they broke off.

huggingface_hub finds and transfers the files; a part that has come stays beside the target, so
that a later call, of another process too, goes on from there.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_ctvlp.errors import JobCancelled, ModelRefused
from napari_ctvlp.models.protocol import ModelCard, Progress, silent
from napari_ctvlp.models.store.digests import digest_of, record
from napari_ctvlp.models.store.hosted import Bundle, BundleFile, bundle, folder_of
from napari_ctvlp.models.store.manage import expect_sum
from napari_ctvlp.models.store.reading import sha256
from napari_ctvlp.models.store.settings import apply_offline, expect_accepted, offline

_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(model: ModelCard, progress: Progress = silent) -> list[str]:
    """Fetch the files of a hosted model that are not in its folder yet.

    Parameters
    ----------
    model : ModelCard
        Its licence has been accepted.
    progress : callable
        Called with the share of the file and its name; when it raises ``JobCancelled``, what has
        come so far is kept.

    Returns
    -------
    list of str
        The names that were fetched.

    Raises
    ------
    ModelRefused
        If the network may not be used or does not answer, the card names no pinned revision,
        or a file is not what the hub or the card says.
    """
    hosted = bundle(model)
    wanted = [file for file in hosted.files if _place(hosted, file)[0]] if hosted else []
    if hosted is None or not wanted:
        raise _by_hand(model, hosted)
    expect_accepted(model)
    folder = folder_of(model)
    wanted = [file for file in wanted if not (folder / file.name).is_file()]
    if wanted and offline():
        raise _no_network(model, hosted, "the offline switch is on (CTVLP_OFFLINE)")
    apply_offline()  # the switch may have been turned since this process started
    folder.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        _fetch(model, hosted, file, folder / file.name, progress)
    return [file.name for file in wanted]


def _place(hosted: Bundle, file: BundleFile) -> tuple[str, str]:
    """Return repository and revision of a file; both "" where the hub does not have it."""
    repo = file.repo or hosted.repo
    revision = file.revision if file.repo else hosted.revision
    return (repo, revision) if repo and revision else ("", "")


def _fetch(
    model: ModelCard, hosted: Bundle, file: BundleFile, target: Path, progress: Progress
) -> None:
    """Fetch one file; the network's own errors become one of the house."""
    try:
        _transfer(hosted, file, target, progress)
    except (ModelRefused, JobCancelled):
        raise
    except Exception as error:  # httpx and the hub have many, of several base classes
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise _no_network(model, hosted, f"{file.name}: {words[0]}") from error


def _transfer(hosted: Bundle, file: BundleFile, target: Path, progress: Progress) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        disable_progress_bars,
    )

    disable_progress_bars()
    repo, revision = _place(hosted, file)
    endpoint = os.environ.get("HF_ENDPOINT")
    kind = "model" if file.repo else hosted.repo_type
    url = hf_hub_url(
        repo, file.path or file.name, repo_type=kind, revision=revision, endpoint=endpoint
    )
    told = get_hf_file_metadata(url, endpoint=endpoint)
    if _COMMIT.fullmatch(revision) and told.commit_hash != revision:
        raise _changed(file.name, f"commit {revision}", f"commit {told.commit_hash}")
    half = target.with_name(f".{target.name}.{_short(told.etag or revision)}.part")
    total = told.size or 0
    with _Counted(half, lambda done: progress(done / total if total else 0.0, file.name)) as out:
        http_get(
            url,
            out,
            resume_size=out.seek(0, io.SEEK_END),
            headers=build_hf_headers(),
            expected_size=told.size,
        )
    _expect_whole(half, told.etag or "")
    found = digest_of(half)
    expect_sum(file, found)
    half.replace(target)
    record(target, found)


class _Counted(io.FileIO):
    """A file that is written on from its end and tells how long it is."""

    def __init__(self, path: Path, count: Callable[[int], None]) -> None:
        super().__init__(path, "r+b" if path.is_file() else "w+b")
        self._count = count

    def write(self, block: Any) -> int:
        """Write a block, then report; whoever stops the job keeps the block."""
        written = super().write(block)
        self._count(self.tell())
        return written


def _expect_whole(half: Path, etag: str) -> None:
    """Compare a file with the hub's own sum: SHA-256 of large files, git's SHA-1 of small ones."""
    if len(etag) == 64:
        found = sha256(half)
    elif len(etag) == 40:
        content = half.read_bytes()
        head = f"blob {len(content)}\0".encode()
        found = hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
    else:
        return
    if found != etag:
        half.unlink()
        raise _changed(half.name, f"the sum {etag}", f"the sum {found}")


def _short(etag: str) -> str:
    return re.sub(r"\W", "", etag)[:16]


def _changed(name: str, expected: str, found: str) -> ModelRefused:
    return ModelRefused(
        "corrupt-weights",
        f"{expected} of {name} from the hub.",
        f"The hub sent {found}.",
        "Try again; if that does not help, get the file by hand and import it.",
    )


def _by_hand(model: ModelCard, hosted: Bundle | None) -> ModelRefused:
    if hosted is None:
        return ModelRefused(
            "embedded-model",
            "a model whose files do not ship with the package.",
            f"{model.id} is embedded.",
            "Nothing has to be fetched.",
        )
    return ModelRefused(
        "no-download",
        f"a card with a repository and a pinned revision for {model.id}.",
        f"{model.id} cannot be fetched by this program.",
        _hand_words(model, hosted),
    )


def _no_network(model: ModelCard, hosted: Bundle, why: str) -> ModelRefused:
    return ModelRefused(
        "no-network",
        f"the files of {model.id} from {hosted.repo or 'the hub'}.",
        f"They were not fetched: {why}.",
        f"Try again later (what has come is kept), or: {_hand_words(model, hosted)}",
    )


def _hand_words(model: ModelCard, hosted: Bundle) -> str:
    names = ", ".join(file.name for file in hosted.files if not file.optional)
    return f"Get {names} ({hosted.where}) and put it into {folder_of(model)}."
