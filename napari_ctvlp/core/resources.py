"""Files that ship with the package: weights, the sample CT, the manifest.

In a wheel they lie inside the package; in a checkout at the top level.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def weights_folder() -> Path:
    """Folder of the embedded weights; the environment's ``CTVLP_WEIGHTS`` names another one."""
    chosen = os.environ.get("CTVLP_WEIGHTS")
    return Path(chosen) if chosen else _first(PACKAGE / "weights", PACKAGE.parent / "weights")


def sample_folder() -> Path:
    """Folder of the sample CT, LIDC-IDRI-0001 at 1.3 x 1.3 x 2.5 mm, with its contours."""
    return _first(PACKAGE / "data", PACKAGE.parent / "examples" / "data")


def _first(*folders: Path) -> Path:
    return next((folder for folder in folders if folder.is_dir()), folders[-1])
