"""What the numbers of a volume can be, where the format does not say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.scan import Unit
from napari_ctvlp.io.result import Notes

#: Voxels looked at to judge a distribution.
_SAMPLE = 400_000


def judge_values(values: NDArray[Any], notes: Notes, *, scaled: bool = False) -> Unit:
    """Tell HU from labels, stored CT numbers and anything else, and warn.

    Parameters
    ----------
    values : ndarray
        The whole volume, rescaled.
    notes : Notes
        Receives the warnings.
    scaled : bool
        True when the file carried a rescale of its own.

    Returns
    -------
    {"HU", "stored", "label", "arbitrary"}
    """
    step = max(1, int(np.ceil((values.size / _SAMPLE) ** (1 / values.ndim))))
    sample = values[(slice(None, None, step),) * values.ndim]
    if values.dtype.kind == "f":
        _warn_non_finite(values, notes)
        sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        notes.warn("not-ct", "No voxel holds a finite number: this is not a usable CT.")
        return "arbitrary"
    if _looks_like_labels(values, sample):
        notes.warn(
            "looks-like-labels",
            f"Only few whole numbers occur ({int(sample.min())} to {int(sample.max())}): this "
            "looks like a label map, not a CT. Use it as a segmentation.",
        )
        return "label" if sample.max() < 128 else "arbitrary"
    if _looks_like_hu(sample):
        return "HU"
    if not scaled and _looks_like_shifted_hu(sample):
        notes.warn(
            "no-rescale",
            "No value is negative and no rescale is stored: the numbers look like CT numbers "
            "1024 too high. Tools that need Hounsfield units would be wrong; subtract 1024 "
            "and save again.",
        )
        return "stored"
    notes.warn(
        "not-ct",
        f"Values run from {sample.min():g} to {sample.max():g}, which is unlike CT in "
        "Hounsfield units. Tools made for CT will mislead on it.",
    )
    return "arbitrary"


def _warn_non_finite(values: NDArray[Any], notes: Notes) -> None:
    """Count NaN and infinite voxels."""
    count = int(values.size - np.isfinite(values).sum())
    if count:
        notes.warn(
            "non-finite",
            f"{count} of {values.size} voxels are NaN or infinite. They are left out of window "
            "and statistics and taken as air.",
        )


def _looks_like_labels(values: NDArray[Any], sample: NDArray[Any]) -> bool:
    """Whole numbers from 0, few of them, or in large flat patches."""
    if sample.min() < 0 or sample.max() > 65535 or np.any(np.mod(sample, 1)):
        return False
    if len(np.unique(sample)) <= 16:
        return True
    plane = values.reshape(*values.shape[:2], -1)[..., values[0, 0].size // 2]
    same = float((np.diff(plane.astype(np.float32), axis=0) == 0).mean())
    return bool(sample.max() < 256 and same > 0.9)


def _looks_like_hu(sample: NDArray[Any]) -> bool:
    """Negative values, a plausible middle and a range wider than normalised data."""
    low, middle, high = np.percentile(sample, [0, 50, 100])
    return bool(-20_000 < low < 0 and -1100 <= middle <= 500 and 100 < high - low < 40_000)


def _looks_like_shifted_hu(sample: NDArray[Any]) -> bool:
    """Air near 0 and soft tissue near 1024."""
    tissue = float(((sample > 900) & (sample < 1200)).mean())
    air = float((sample < 300).mean())
    return bool(sample.min() >= 0 and sample.max() < 8192 and tissue > 0.1 and air > 0.05)
