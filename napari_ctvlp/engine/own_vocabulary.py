"""The user's own findings: where their file lies, and how every process comes to read it."""

from __future__ import annotations

import os
from pathlib import Path

from napari_ctvlp.core import vocabulary
from napari_ctvlp.core.vocabulary.own import read
from napari_ctvlp.errors import InputRefused

#: What a new file begins with.
START = """# Findings of your own, and words of yours for findings that are known.
# Save, then choose "Reload" in the Findings dock; the command line reads this file by itself.
#
# [[finding]]
# name = "septic_emboli"                     # small letters, digits and _
# title = "septic emboli"
# organs = ["lung_left", "lung_right"]       # where it is looked for
# words = ["septic emboli", "septic embolus"]
# present = ["septic emboli"]                # prompts of the findings table
# absent = ["no septic emboli"]
# concept = "cavity"                         # what the embedded model takes it for, if anything
#
# [[finding]]
# name = "nodule"                            # a known finding: these words are added
# words = ["nummular focus"]
"""
_used: tuple[Path, int, int] | None = None


def settings_folder() -> Path:
    """Return the folder of what a user has chosen: ``CTVLP_CONFIG``, or the system's own place."""
    chosen = os.environ.get("CTVLP_CONFIG")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_config_dir("napari-ctvlp", appauthor=False))


def vocabulary_file() -> Path:
    """Return the path of the user's vocabulary, which need not exist yet."""
    return settings_folder() / "vocabulary.toml"


def refresh(path: Path | None = None) -> bool:
    """Use the user's vocabulary as it now is on disk.

    Parameters
    ----------
    path : Path, optional
        By default :func:`vocabulary_file`; a file that is not there means no findings of one's own.

    Returns
    -------
    bool
        Whether anything was read anew.

    Raises
    ------
    InputRefused
        ``bad-vocabulary``; what was used before stays in use.
    """
    global _used  # noqa: PLW0603 - there is one vocabulary
    path = path or vocabulary_file()
    try:
        stat = path.stat()
        state = (path, stat.st_mtime_ns, stat.st_size)
    except OSError:
        state = (path, 0, 0)
    if state == _used or (_used is None and state[1:] == (0, 0)):
        return False
    vocabulary.use(read(text_of(path)))
    _used = state
    return True


def text_of(path: Path) -> str:
    """Return what a vocabulary file holds, nothing where there is none.

    Raises
    ------
    InputRefused
        ``bad-vocabulary`` when it cannot be read as text.
    """
    if not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unread(path, error) from None


def save(text: str) -> None:
    """Check a vocabulary, write it whole and use it.

    Raises
    ------
    InputRefused
        ``bad-vocabulary``; then neither the file nor the words in use change.
    """
    path = vocabulary_file()
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _unread(path, error) from None
    read(text)
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(raw)
        fresh.replace(path)
    except OSError as error:
        raise _unread(path, error) from None
    refresh()


def _unread(path: Path, error: Exception) -> InputRefused:
    return InputRefused(
        "bad-vocabulary",
        "a text file in UTF-8 in the settings folder.",
        f"{path.name} cannot be used ({type(error).__name__}).",
        "Mend or delete it; until then an open window keeps the words from before.",
    )
