"""Put the files that live outside the package into the wheel; see docs/decisions/0001.

In a checkout ``napari_ctvlp/napari.yaml`` is a relative link to the top-level manifest. Where
a checkout has no links (Windows without developer mode) an editable install gets a copy instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MANIFEST = "napari.yaml"
OUTSIDE = {
    MANIFEST: "napari_ctvlp/napari.yaml",
    "weights": "napari_ctvlp/weights",
    "examples/data": "napari_ctvlp/data",
}


class OutsideFiles(BuildHookInterface[Any]):
    """Wheels get real files; editable installs read the checkout and need no copy."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the outside files of a wheel, or mend the link of an editable install."""
        root = Path(self.root)
        if version == "editable":
            mend_link(root / MANIFEST, root / OUTSIDE[MANIFEST])
            return
        for source, target in OUTSIDE.items():
            build_data["force_include"][str(root / source)] = target


def mend_link(manifest: Path, link: Path) -> None:
    """Make ``link`` say what ``manifest`` says, by a copy where it does not already."""
    wanted = manifest.read_bytes()
    if not link.is_file() or link.read_bytes() != wanted:
        link.unlink(missing_ok=True)
        link.write_bytes(wanted)
