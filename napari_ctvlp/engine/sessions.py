"""Session files: what was looked at and what came out, without identity, to be run again.

A session names its scan by digests alone. The file that was opened is found again in the
folder of the session file, or where the user says; its path and its names are never written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import verbs
from napari_ctvlp.engine.compute import choose
from napari_ctvlp.engine.export import plain
from napari_ctvlp.engine.jobs import part
from napari_ctvlp.engine.opening import open_item, open_scan
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.dicom.headers import is_dicom
from napari_ctvlp.io.result import Progress, refused, silent
from napari_ctvlp.io.survey import survey
from napari_ctvlp.models import store

FORMAT = "ctvlp session 1"
_LIMIT_BYTES = 8 << 20
#: Files looked at when a scan is searched for.
_MOST_FILES = 20_000


@dataclass(frozen=True)
class SavedSession:
    """What a session file holds.

    Attributes
    ----------
    scan : str
        Digest of voxels and affine.
    file : mapping
        ``bytes`` and ``sha256`` of the first file of the scan.
    model, segmenter : mapping
        ``id`` and ``digest`` of card and weights.
    compute : mapping
        ``device``, ``precision``, ``threads``.
    phrases : tuple of mapping
        ``text``, ``gate``.
    view : mapping
        Whatever the window wants back: window, point, organs, looks, key images.
    results : tuple of mapping
        One per phrase: ``sha256`` of the heatmap's values, peak, place, margin, verdict, support,
        shares, wordings.
    """

    scan: str
    file: Mapping[str, Any]
    model: Mapping[str, str]
    segmenter: Mapping[str, str]
    compute: Mapping[str, Any]
    phrases: tuple[Mapping[str, Any], ...] = ()
    view: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()


def saved_session(
    scan: Scan,
    asked: Sequence[tuple[Heatmap, bool]],
    view: Mapping[str, Any],
    *,
    model: str,
    device: str = "auto",
    segmenter: str = "anatomy",
) -> SavedSession:
    """Gather a session.

    Parameters
    ----------
    scan : Scan
    asked : sequence of (Heatmap, bool)
        What came out, and whether its phrase was to be searched only where it says.
    view : mapping
        What the window wants back.
    model, device, segmenter : str
        Card ids, and the device as the user chose it.

    Raises
    ------
    InputRefused
        ``no-file`` when the scan was not read from a file, ``not-reproducible`` when the
        anatomy was opened or edited by hand, so that no command gives the same numbers.
    """
    if not scan.source.files or not scan.source.files[0].is_file():
        raise refused(
            "no-file",
            "a scan that was read from a file.",
            "This one was not, or the file is gone.",
            "Save the results instead.",
        )
    if segmenter not in {card.id for card in store.cards("segmenter")}:
        raise refused(
            "not-reproducible",
            "an anatomy that a segmenter found.",
            f"The anatomy came from elsewhere ({segmenter}).",
            "Save the label map, or segment the scan again before saving the session.",
        )
    card = store.card(model)
    return SavedSession(
        scan=scan.digest,
        file=_fingerprint(scan.source.files[0]),
        model={"id": model, "digest": store.model_digest(card)},
        segmenter={"id": segmenter, "digest": store.model_digest(store.card(segmenter))},
        compute=asdict(choose(device, card)),
        phrases=tuple({"text": m.phrase.text, "gate": gate, "kind": m.kind} for m, gate in asked),
        view=plain(dict(view)),
        results=tuple(result_of(heatmap) for heatmap, _ in asked),
    )


def result_of(heatmap: Heatmap) -> dict[str, Any]:
    """Return the numbers of a heatmap that a second run must give again, bit for bit."""
    values = np.ascontiguousarray(heatmap.values)
    numbers = {
        "phrase": heatmap.phrase.text,
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        "peak": heatmap.peak,
        "peak_ras_mm": heatmap.peak_ras,
        "margin": heatmap.margin,
        "verdict": heatmap.verdict,
        "support": heatmap.support,
        "naive": heatmap.naive,
        "p_value": heatmap.background.p_value,
        "shares": heatmap.shares,
        "wordings": [(one.text, one.value, one.support) for one in heatmap.wordings],
    }
    return {name: plain(value) for name, value in numbers.items()}


def write_session(path: Path, session: SavedSession) -> None:
    """Write a session file."""
    content = {"format": FORMAT, "package": version("napari-ctvlp"), **asdict(session)}
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_session(path: Path) -> SavedSession:
    """Read a session file.

    Raises
    ------
    InputRefused
        ``bad-session`` when it is none.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        content.pop("package")
        content["phrases"], content["results"] = map(
            tuple, (content["phrases"], content["results"])
        )
        return _sound_session(SavedSession(**content))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise refused(
            "bad-session",
            f"a file of the form '{FORMAT}'.",
            f"The session file cannot be read ({type(error).__name__}).",
            "Save the session again.",
        ) from None


def _sound_session(session: SavedSession) -> SavedSession:
    """Return a session in which everything that is used later is there and of its kind."""
    needed = [(session.scan, str), (session.file["bytes"], int), (session.file["sha256"], str)]
    for name in (session.model, session.segmenter):
        needed += [(name["id"], str), (name["digest"], str)]
    needed += [(session.compute["device"], str), (session.compute["threads"], int)]
    for row in session.phrases:
        needed += [(row["text"], str), (row["gate"], bool), (row["kind"], str)]
    needed += [(row, dict) for row in session.results] + [(session.view, dict)]
    if not all(isinstance(value, kind) for value, kind in needed):
        raise ValueError("a value of another kind")
    if len(session.phrases) != len(session.results) or session.compute["threads"] < 1:
        raise ValueError("phrases without results")
    return session


def find_scan(session: SavedSession, where: Path, progress: Progress = silent) -> Scan:
    """Open the scan of a session.

    Parameters
    ----------
    session : SavedSession
    where : Path
        The scan itself, or a folder in which it lies.
    progress : callable, optional

    Raises
    ------
    InputRefused
        ``scan-not-found`` when no file there is the session's, ``scan-differs`` when its
        voxels are others.
    """
    for path in _candidates(where):
        if path.stat().st_size == session.file["bytes"] and dict(session.file) == _fingerprint(
            path
        ):
            return _opened(session, path, progress)
    raise refused(
        "scan-not-found",
        "the file that the session was made of, beside the session file.",
        "No file there has its SHA-256.",
        "Say where the scan lies (command line: --ct PATH).",
    )


def run_session(
    session: SavedSession, scan: Scan, *, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Compute the phrases of a session again, with its model, device and threads.

    Returns
    -------
    list of dict
        As :func:`result_of` gives them, with ``same``: whether every number equals the
        session's, bit for bit.

    Raises
    ------
    InputRefused
        ``model-differs`` when model or segmenter are not the session's.
    """
    for name in (session.model, session.segmenter):
        if store.model_digest(store.card(name["id"])) != name["digest"]:
            raise refused(
                "model-differs",
                f"the weights of '{name['id']}' that the session was made with.",
                "These are others.",
                "Install the version that the session was made with.",
            )
    device = session.compute["device"]
    with environment("OMP_NUM_THREADS", str(session.compute["threads"])):
        anatomy = verbs.segment(
            scan, session.segmenter["id"], device=device, progress=part(progress, 0.0, 0.5)
        )
        answers = []
        for phrase, known in zip(session.phrases, session.results, strict=True):
            heatmap = verbs.ground(
                scan,
                phrase["text"],
                anatomy=anatomy,
                model=session.model["id"],
                gate=phrase["gate"],
                maps=phrase["kind"] if phrase["kind"] != "probability" else "",
                device=device,
                progress=part(progress, 0.5, 1.0),
            )
            result = result_of(heatmap)
            same = bool(known) and all(result.get(name) == told for name, told in known.items())
            answers.append({**result, "same": same})
    return answers


def _candidates(where: Path) -> Iterator[Path]:
    """Files that may be the scan, nearest first."""
    if where.is_file():
        yield where
        return
    for number, path in enumerate(sorted(where.rglob("*"))):
        if number > _MOST_FILES:
            return
        if path.is_file():
            yield path


def _opened(session: SavedSession, path: Path, progress: Progress) -> Scan:
    """Open a file, or the series it belongs to, and compare the digest."""
    if not is_dicom(path):
        scans: Iterator[Scan] = iter([open_scan(path, progress=progress)])
    else:
        items = survey([path.parent], part(progress, 0.0, 0.3)).items()
        own = [item for item in items if item.stack is not None and path in item.files]
        scans = (open_item(item, part(progress, 0.3, 1.0)) for item in own)
    for scan in _opened_ones(scans):
        if scan.digest == session.scan:
            return scan
    raise refused(
        "scan-differs",
        "the voxels that the session was made of.",
        "The first file is the same, the volume is not.",
        "See whether slices were added or removed.",
    )


def _opened_ones(scans: Iterator[Scan]) -> Iterator[Scan]:
    """Yield the scans that can be opened."""
    while True:
        try:
            yield next(scans)
        except StopIteration:
            return
        except InputRefused:
            continue


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha.update(piece)
    return {"bytes": path.stat().st_size, "sha256": sha.hexdigest()}
