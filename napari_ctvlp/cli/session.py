"""``ctvlp session``: a saved session computed again, and held against what it says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ctvlp.cli.output import as_json, say, terminal_progress

if TYPE_CHECKING:
    from napari_ctvlp.core.scan import Scan
    from napari_ctvlp.engine.sessions import SavedSession
    from napari_ctvlp.models.protocol import Progress


def session(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A session saved by the window.")],
    *,
    ct: Annotated[
        Path | None, typer.Option(help="The scan, or a folder it lies in; else FILE's folder.")
    ] = None,
    kept: Annotated[bool, typer.Option(help="Take results that were kept on disk.")] = False,
) -> None:
    """Compute a saved session again; exit with 1 when a number is not the same."""
    from napari_ctvlp.engine import sessions

    progress = terminal_progress()
    saved = sessions.read_session(file)
    scan = sessions.find_scan(saved, ct or file.resolve().parent, progress)
    answers = _run(saved, scan, progress, kept=kept)
    print(as_json({"scan": saved.scan, "compute": dict(saved.compute), "results": answers}))
    differ = [answer["phrase"] for answer in answers if not answer["same"]]
    for phrase in differ:
        say(f"Not the same as in the session: {phrase}")
    if differ:
        raise typer.Exit(1)
    say(f"{len(answers)} phrases, every number the same as in the session.")


def _run(
    saved: SavedSession, scan: Scan, progress: Progress, *, kept: bool
) -> list[dict[str, Any]]:
    """Compute the phrases; without kept results, in a folder that is thrown away."""
    from napari_ctvlp.engine import sessions

    if kept:
        return sessions.run_session(saved, scan, progress=progress)
    with (
        tempfile.TemporaryDirectory(prefix="ctvlp-") as folder,
        sessions.environment("CTVLP_CACHE", folder),
    ):
        return sessions.run_session(saved, scan, progress=progress)
