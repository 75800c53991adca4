"""TotalSegmentator, task total, through the interface of its own package (an optional extra)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import to_ipl
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.segments import merged
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.store import CARDS, offline, read_card

#: nnU-Net data sets whose weights the task reads, at 1.5 mm.
_DATASETS = (291, 292, 293, 294, 295)
_DEVICES = {"cuda": "gpu"}


class TotalSegmentator:
    """Runs the installed package on a scan and names its segments after the organs of the house.

    Attributes
    ----------
    card : ModelCard
    """

    card: ModelCard = read_card(CARDS / "totalsegmentator.toml")

    def segment(self, scan: Scan, *, compute: Compute, progress: Progress = silent) -> AnatomyMap:
        """Return organs on the scan's grid.

        Raises
        ------
        ModelRefused
            If the package is not installed, its weights are missing while the network is off,
            or it answers with another grid.
        """
        import nibabel

        _expect_package()
        progress(0.02, "TotalSegmentator (cannot be stopped before it is done)")
        image = nibabel.Nifti1Image(np.ascontiguousarray(scan.hu, np.float32), scan.affine)
        with _in_private():
            answer = _call("python_api", "totalsegmentator")(
                image,
                None,
                ml=True,
                task="total",
                quiet=True,
                device=_DEVICES.get(compute.device, compute.device),
            )
        progress(0.9, "measuring")
        return _anatomy(answer, scan, self.card)


def _anatomy(answer: Any, scan: Scan, card: ModelCard) -> AnatomyMap:
    """Bring the package's answer, numbers by its own table, to the scan's grid."""
    view, affine = to_ipl(np.asarray(answer.dataobj), np.asarray(answer.affine, np.float64))
    if view.shape != scan.shape or not np.allclose(affine, scan.affine, atol=1e-2):
        raise ModelRefused(
            "other-grid",
            f"labels on the scan's grid {scan.shape}.",
            f"TotalSegmentator answered on {view.shape}, or elsewhere in space.",
            "Install a version 2 of TotalSegmentator, or import a result made by hand.",
        )
    table: Mapping[int, str] = _call("map_to_binary", "class_map")["total"]
    names = [table.get(number, f"label_{number}") for number in range(1, max(table) + 1)]
    labels, rows = merged(view.astype(np.uint8), names)
    return anatomy_from_labels(labels, scan, rows, source=card.id, reliability=card.summary)


def _call(module: str, name: str) -> Any:
    """Return a public name of the package."""
    return getattr(import_module(f"totalsegmentator.{module}"), name)


@contextlib.contextmanager
def _in_private() -> Iterator[None]:
    """Keep the package from sending statistics, from the network when it is off, from stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        _call("config", "setup_totalseg")()
        _expect_weights()
        before = _call("config", "get_config_key")("send_usage_stats")
        _call("config", "set_config_key")("send_usage_stats", False)
        try:
            yield
        finally:
            _call("config", "set_config_key")("send_usage_stats", before)


def _expect_package() -> None:
    if find_spec("totalsegmentator") is None:
        raise ModelRefused(
            "missing-package",
            "the package TotalSegmentator 2.",
            "The package TotalSegmentator is not installed.",
            "Run: pip install 'napari-ctvlp[totalsegmentator]', or open a result that was made "
            "elsewhere (a label map, or a folder of masks) as the anatomy.",
        )


def _expect_weights() -> None:
    """Refuse a run that would fetch weights while the network is off."""
    folder = _call("config", "get_weights_dir")()
    missing = [f"Dataset{n}" for n in _DATASETS if not any(folder.glob(f"Dataset{n}_*"))]
    if missing and offline():
        raise ModelRefused(
            "missing-weights",
            f"the folders {', '.join(missing)}_* in {folder}.",
            "TotalSegmentator's weights are not on this computer and the network is off.",
            "Copy them from a computer that has them (totalseg_import_weights), or switch the "
            "network on: ctvlp models offline off.",
        )
