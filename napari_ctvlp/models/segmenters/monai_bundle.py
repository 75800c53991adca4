"""The MONAI bundle wholeBody_ct_segmentation: 104 segments by one SegResNet, at 1.5 or 3 mm.

Preparation, windows and the way back follow the bundle's published inference configuration
(version 0.1.9): right-anterior-superior order, linear resampling, mean and deviation of voxels
that are not 0, then -1..1; windows of 96 voxels, a quarter shared, weighed by a Gaussian; the
strongest channel, brought back by nearest voxel. Half precision is not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import in_order, to_ipl
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.core.segments import merged, names_in_order
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.store import state_dict

_PROGRAM = "wholebody"


class WholeBody:
    """Names voxels by the published network of one resolution.

    Parameters
    ----------
    card : ModelCard
        ``settings.pixdim_mm``, ``settings.window`` and ``settings.network`` (arguments of
        monai's SegResNet).
    net : torch.nn.Module
    """

    def __init__(self, card: ModelCard, net: Any) -> None:
        self.card = card
        self.net = net

    @classmethod
    def load(cls, card: ModelCard, folder: Path) -> WholeBody:
        """Read the checkpoint that the card names.

        Raises
        ------
        ModelRefused
            If it is missing or not that of this network.
        """
        net = network(card.settings["network"])
        expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        net.load_state_dict(state_dict(card, folder, expected), assign=True)
        return cls(card, net.eval().requires_grad_(False))

    def segment(self, scan: Scan, *, compute: Compute, progress: Progress = silent) -> AnatomyMap:
        """Return organs on the scan's grid; segments of one organ are one.

        Parameters
        ----------
        scan : Scan
            A CT in HU, of any part of the body.
        compute : Compute
        progress : Progress
            Called for every window.
        """
        progress(0.0, "resampling")
        image, spacing = self._prepared(scan)
        labels = self._labelled(image, compute, progress)
        progress(0.95, "measuring")
        organs, rows = merged(_back(labels, image, spacing, scan), names_in_order(_PROGRAM))
        return anatomy_from_labels(
            organs, scan, rows, source=self.card.id, reliability=str(self.card.summary)
        )

    def _prepared(self, scan: Scan) -> tuple[Any, Any]:
        """Return the network's picture (1, r, a, s) and the transform that resampled it."""
        import torch
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.intensity.array import NormalizeIntensity, ScaleIntensity
        from monai.transforms.spatial.array import Spacing

        view, affine = in_order(scan.hu, scan.affine, "RAS")
        own = torch.from_numpy(np.ascontiguousarray(view, dtype=np.float32))[None]
        spacing = Spacing(pixdim=[float(self.card.settings["pixdim_mm"])] * 3, mode="bilinear")
        image = spacing(MetaTensor(own, affine=torch.from_numpy(affine)))
        return ScaleIntensity(-1.0, 1.0)(NormalizeIntensity(nonzero=True)(image)), spacing

    def _labelled(self, image: Any, compute: Compute, progress: Progress) -> Any:
        """Return the strongest channel of every voxel, shape (1, r, a, s)."""
        import torch
        from monai.inferers.utils import sliding_window_inference

        window, overlap = int(self.card.settings["window"]), float(self.card.settings["overlap"])
        net = self.net.to(compute.device)
        total = math.prod(_windows(size, window, overlap) for size in image.shape[1:])
        done = 0

        def one(part: torch.Tensor) -> torch.Tensor:
            nonlocal done
            progress(0.05 + 0.85 * done / total, f"window {done + 1} of {total}")
            done += 1
            found: torch.Tensor = net(part)
            return found

        with torch.inference_mode():
            logits = sliding_window_inference(
                image.as_tensor()[None],
                roi_size=(window,) * 3,
                sw_batch_size=1,
                predictor=one,
                overlap=overlap,
                mode="gaussian",
                padding_mode="replicate",
                sw_device=compute.device,
                device="cpu",
            )
        return logits[0].argmax(dim=0, keepdim=True)


def network(settings: Mapping[str, Any]) -> Any:
    """Build monai's SegResNet for one grey channel in three dimensions, untrained."""
    from monai.networks.nets.segresnet import SegResNet

    return SegResNet(spatial_dims=3, in_channels=1, **settings)


def _windows(size: int, window: int, overlap: float) -> int:
    """Return how many windows lie along an axis."""
    return max(1, math.ceil((size - window) / int(window * (1 - overlap))) + 1)


def _back(labels: Any, image: Any, spacing: Any, scan: Scan) -> NDArray[np.uint8]:
    """Bring labels from the network's grid to the scan's, by nearest voxel."""
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.utils import convert_applied_interp_mode

    steps = convert_applied_interp_mode(image.applied_operations[:1], mode="nearest")
    held = MetaTensor(labels.float(), affine=image.affine, applied_operations=steps)
    stored = spacing.inverse(held)
    found, _ = to_ipl(stored[0].numpy().astype(np.uint8), stored.affine.numpy().astype(float))
    return np.ascontiguousarray(found[: scan.shape[0], : scan.shape[1], : scan.shape[2]])
