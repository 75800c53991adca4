"""Public originals of the training CTs, from their archive by its own client.

The archive is the Imaging Data Commons, its client ``idc-index``: an optional dependency, asked
for in words when it is missing. The network is behind :class:`Archive`, so that everything else
is checked without one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from napari_ctvlp.errors import CtvlpError, InputRefused, OutOfResources
from napari_ctvlp.models.protocol import Progress, silent

#: What was fetched, with digests and licences: written into the folder of the originals.
RECORD = "originals.json"


@dataclass(frozen=True)
class Original:
    """One row of ``originals.toml``.

    Attributes
    ----------
    name, collection, series : str
        Training CT, archive collection, SeriesInstanceUID.
    licence, cite : str
    licence_note : str
        What is uncertain about the licence.
    slices : int
        Files of the series, 0 where that is not known.
    sha256 : str
        Digest of the series (:func:`digest_of`), ``""`` where nobody has pinned it yet.
    elsewhere : str
        Where to get it when the archive does not hold it.
    """

    name: str
    collection: str
    series: str
    licence: str
    cite: str
    licence_note: str = ""
    slices: int = 0
    sha256: str = ""
    elsewhere: str = ""


class Archive(Protocol):
    """The part of ``idc_index.index.IDCClient`` that is used."""

    def download_from_selection(
        self, downloadDir: str, *, seriesInstanceUID: list[str], **others: Any
    ) -> object:
        """Write the files of the series under a folder."""
        ...


def originals() -> tuple[Original, ...]:
    """Return the list of originals."""
    text = Path(__file__).with_name("originals.toml").read_text(encoding="utf-8")
    return tuple(Original(**row) for row in tomllib.loads(text)["original"])


def plan(folder: Path, names: Sequence[str] = ()) -> str:
    """Say what a fetch into ``folder`` would do: one line per CT, licence and source included."""
    record = _record(folder)
    lines = []
    for row in chosen(names):
        state = "fetched" if row.name in record else "to fetch" if row.series else "not in IDC"
        source = f"series {row.series}" if row.series else row.elsewhere
        note = f" ({row.licence_note})" if row.licence_note else ""
        lines.append(f"{row.name}: {state}; {source}; {row.licence}{note}; {row.cite}")
    return "\n".join(lines)


def fetch(
    folder: Path,
    names: Sequence[str] = (),
    *,
    client: Callable[[], Archive] | None = None,
    progress: Progress = silent,
) -> dict[str, Path]:
    """Fetch originals that are not in ``folder`` yet and check all that are.

    Parameters
    ----------
    folder : Path
        Receives one folder of DICOM files per CT and ``originals.json``.
    names : sequence of str
        Which training CTs; all that the archive holds by default.
    client : callable, optional
        Makes the archive's client; ``idc-index`` by default.
    progress : callable

    Returns
    -------
    dict of str to Path
        Folder of each CT asked for.

    Raises
    ------
    InputRefused
        When a name is unknown, the client is missing, or a series is not what it was.
    OutOfResources
        When the archive cannot be reached.
    """
    rows = [row for row in chosen(names) if row.series]
    folder.mkdir(parents=True, exist_ok=True)
    archive: Archive | None = None
    found: dict[str, Path] = {}
    for number, row in enumerate(rows):
        progress(number / len(rows), row.name)
        place = folder / row.name
        if not place.is_dir():
            archive = archive or (client or idc_client)()
            _download(archive, row, place)
        _check(row, place, folder)
        found[row.name] = place
    progress(1.0, "originals")
    return found


def chosen(names: Sequence[str]) -> list[Original]:
    """Return the named originals, or all."""
    known = {row.name: row for row in originals()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputRefused(
            "unknown-original",
            f"names out of: {', '.join(known)}.",
            f"There is no training CT called {', '.join(unknown)}.",
            "Choose from the list.",
        )
    return [known[name] for name in names] if names else list(known.values())


def idc_client() -> Archive:
    """Return the archive's own client.

    Raises
    ------
    InputRefused
        When ``idc-index`` is not installed.
    """
    try:
        from idc_index import index  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise InputRefused(
            "no-archive-client",
            "the package idc-index, which this package does not need otherwise.",
            "It is not installed.",
            "Install it (pip install idc-index) and start again; it needs a network.",
        ) from None
    archive: Archive = index.IDCClient()
    return archive


def digest_of(place: Path) -> str:
    """Return the SHA-256 over the sorted SHA-256 of a series' files: names do not matter."""
    sums = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(place))
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _download(archive: Archive, row: Original, place: Path) -> None:
    """Fetch one series beside its place and move it there when it is whole."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{row.name}-") as half:
        try:
            archive.download_from_selection(downloadDir=half, seriesInstanceUID=[row.series])
        except CtvlpError:
            raise
        except Exception as error:  # the client raises whatever its transport does
            raise _offline(row, f"{type(error).__name__}: {error}") from error
        files = _files(Path(half))
        if not files:
            raise _offline(row, "no file came")
        _check_content(row, files)
        whole = Path(half) / "whole"
        whole.mkdir()
        for number, path in enumerate(files):
            path.rename(whole / f"{number:04d}.dcm")
        whole.rename(place)


def _check_content(row: Original, files: Sequence[Path]) -> None:
    """Refuse another series, or another number of slices."""
    import pydicom

    uids = {
        str(
            pydicom.dcmread(p, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])[
                0x20000E
            ].value
        )
        for p in files
    }
    if uids != {row.series}:
        raise _not_the_same(row, f"the series {', '.join(sorted(uids))}")
    if row.slices and len(files) != row.slices:
        raise _not_the_same(row, f"{len(files)} files instead of {row.slices}")


def _check(row: Original, place: Path, folder: Path) -> None:
    """Compare a fetched series with the pinned digest or with that of the first fetch."""
    record = _record(folder)
    found = digest_of(place)
    first = str(record.get(row.name, {}).get("sha256", ""))
    wanted = row.sha256 or first
    if wanted and found != wanted:
        raise _not_the_same(row, f"the SHA-256 {found} instead of {wanted}")
    if found != first:
        kept = {"sha256": found, "series": row.series, "licence": row.licence, "cite": row.cite}
        text = json.dumps({**record, row.name: kept}, indent=2)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / RECORD
    try:
        read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputRefused(
            "bad-record",
            f"the {RECORD} that a fetch wrote.",
            f"{path} cannot be read ({error}).",
            "Restore it, or fetch into another folder.",
        ) from error
    return read


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file())


def _not_the_same(row: Original, what: str) -> InputRefused:
    return InputRefused(
        "not-the-original",
        f"the series {row.series} of {row.collection}, as it was before.",
        f"{row.name} has {what}.",
        "Remove its folder and fetch again; if it stays so, the archive changed it.",
    )


def _offline(row: Original, why: str) -> OutOfResources:
    return OutOfResources(
        "archive-unreachable",
        "a network that reaches the archive, and a series that it holds.",
        f"{row.name} could not be fetched: {why}.",
        "Try again later; what was fetched stays. Training on your own CTs needs no network.",
    )
