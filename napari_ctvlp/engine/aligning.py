"""align: one study brought to the other's place by a rigid motion, through SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import (
    Affine,
    ras_to_lps,
    resample,
    spacing,
    transform,
)
from napari_ctvlp.core.scan import AIR_HU, Message, Scan, Source
from napari_ctvlp.io.result import Progress, refused, silent

#: The metric is computed on a grid this coarse, mm; HU beyond the window say nothing.
_STEP_MM = 4.0
_WINDOW = (-1000.0, 300.0)
_ITERATIONS, _SAMPLES, _SEED = 120, 0.1, 7
#: Planes resampled at a time.
_SLAB = 8


def align(fixed: Scan, moving: Scan, *, progress: Progress = silent) -> Scan:
    """Return ``moving`` on the grid of ``fixed``, turned and shifted to match it.

    Parameters
    ----------
    fixed, moving : Scan
        Two studies of one patient.
    progress : callable, optional
        May raise to stop.

    Returns
    -------
    Scan
        ``moving`` resampled (linear) on ``fixed``'s grid; a notice says by how many
        millimetres and degrees it was moved. Its source is that of ``moving``.

    Raises
    ------
    InputRefused
        ``no-alignment`` when the two have too little in common.

    Notes
    -----
    Rigid (three turns, three shifts) from the centres of mass, Mattes mutual information on
    two levels, fixed seed: the same input gives the same motion.
    """
    matrix = _motion(fixed, moving, progress)
    out = np.empty(fixed.shape, dtype=moving.hu.dtype)
    back = np.linalg.inv(matrix) @ moving.affine
    for start in range(0, fixed.shape[0], _SLAB):
        place = fixed.affine.copy()
        place[:3, 3] = transform(fixed.affine, (start, 0, 0))
        slab = out[start : start + _SLAB]
        slab[:] = resample(moving.hu, back, slab.shape, place, fill=float(AIR_HU))
        progress(0.7 + 0.3 * start / fixed.shape[0], "moving")
    note = Message("aligned", _words(matrix, fixed))
    meta = replace(moving.meta, notices=(*moving.meta.notices, note))
    source = Source(moving.source.files, fixed.shape, fixed.affine, resampled=True)
    return Scan(out, fixed.affine, source, meta)


def _motion(fixed: Scan, moving: Scan, progress: Progress) -> Affine:
    """Find the motion that maps RAS points of ``fixed`` to those of ``moving``."""
    import SimpleITK as sitk  # noqa: N813

    progress(0.0, "aligning")
    still, other = _image(fixed), _image(moving)
    start = sitk.CenteredTransformInitializer(
        still, other, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLES, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, _ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([_STEP_MM, 0])
    method.SetInitialTransform(start, inPlace=False)
    method.SetNumberOfThreads(1)
    stopped: list[BaseException] = []

    def step() -> None:
        try:
            progress(min(0.69, 0.3 * method.GetOptimizerIteration() / _ITERATIONS), "aligning")
        except BaseException as error:
            stopped.append(error)
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, step)
    try:
        found = method.Execute(still, other)
    except RuntimeError as error:
        raise refused(
            "no-alignment",
            "two studies that overlap.",
            "No motion was found that brings them together.",
            "Compare them without alignment.",
        ) from error
    if stopped:
        raise stopped[0]
    origin = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(found.TransformPoint(tuple(unit))) - origin for unit in np.eye(3)]
    return _ras(np.column_stack(columns), origin)


def _ras(turn: NDArray[np.float64], shift: NDArray[np.float64]) -> Affine:
    """LPS rotation and shift as a 4x4 matrix in RAS mm."""
    flip = np.diag(ras_to_lps(np.ones(3)))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = flip @ turn @ flip, flip @ shift
    return matrix


def _image(scan: Scan) -> Any:
    """Return a coarse SimpleITK image in LPS, clipped to the window."""
    import SimpleITK as sitk  # noqa: N813

    steps = np.maximum(1, np.round(_STEP_MM / scan.spacing)).astype(int)
    few = scan.hu[:: steps[0], :: steps[1], :: steps[2]]
    image = sitk.GetImageFromArray(np.clip(few.astype(np.float32), *_WINDOW))
    axes = scan.affine[:3, :3] / spacing(scan.affine)
    image.SetSpacing([float(x) for x in (scan.spacing * steps)[::-1]])
    image.SetOrigin([float(x) for x in ras_to_lps(scan.affine[:3, 3])])
    image.SetDirection(ras_to_lps(axes.T).T[:, ::-1].ravel().tolist())
    return image


def _words(matrix: Affine, fixed: Scan) -> str:
    """Say how far and by how many degrees the study was moved."""
    centre = transform(fixed.affine, (np.array(fixed.shape) - 1) / 2)
    shift = float(np.linalg.norm(transform(matrix, centre) - centre))
    turn = float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
    return (
        f"Aligned to the other study: moved by {shift:.1f} mm at its centre and turned by "
        f"{turn:.1f} degrees, linear interpolation. Do not measure in it."
    )
