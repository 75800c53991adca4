"""A labelled CT brought onto another one: an affine, then demons, at 4 mm.

The atlas is the sample CT with its organ labels. Where it can be laid over a scan it says what
lies where by shape alone, which the network, having seen few patients, does not know well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.geometry import Affine, ras_to_screen, spacing, transform
from napari_ctvlp.models.segmenters.classical.morphology import Tick
from napari_ctvlp.models.segmenters.mini_input import OUTSIDE_HU

#: Demons iterations at a quarter, a half and the whole of the grid's resolution.
ITERATIONS = (60, 60, 30)
#: Smoothing of the demons' field in voxels.
SMOOTH = 1.5
#: HU seen by the registration: clipped here, and pressed above ``BRIGHT``.
RANGE, BRIGHT, PRESS = (-900.0, 160.0), 70.0, 0.25
#: Organs the atlas has a say in, how far its word is smoothed in voxels, and its least chance.
FUSED = (
    "heart", "aorta", "oesophagus", "liver", "spleen", "kidney_left", "kidney_right", "stomach",
)  # fmt: skip
BLUR, FLOOR = 1.0, 0.03
#: What the atlas' labels name, from 1 on; two fit into a byte.
NAMES = ("", "lung_left", "lung_right", *FUSED)
#: Below this correlation with the scan the atlas does not fit and is left out.
LEAST_CORRELATION = 0.75

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Atlas:
    """A labelled CT on a 4 mm IPL grid.

    Attributes
    ----------
    hu : ndarray, shape (i, p, l), float32
    labels : ndarray, same shape, uint8
        Index into :data:`NAMES`.
    affine : ndarray, shape (4, 4)
    """

    hu: Volume
    labels: NDArray[np.uint8]
    affine: Affine

    def mask(self, *names: str) -> Mask:
        """Return the union of named organs, shape (i, p, l)."""
        return np.isin(self.labels, [NAMES.index(name) for name in names])


def packed(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put two labels into each byte, shape (ceil(n / 2),)."""
    flat = np.append(labels.ravel(), np.zeros(labels.size % 2, np.uint8))
    return np.asarray(flat[::2] + 16 * flat[1::2], np.uint8)


def unpacked(pairs: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Undo :func:`packed`."""
    flat = np.stack([pairs % 16, pairs // 16], axis=1).ravel()
    return flat[: int(np.prod(shape))].reshape(shape)


def fused(
    chances: Mapping[str, Volume], atlas: Mapping[str, Volume], known: Mask
) -> dict[str, Volume]:
    """Multiply the network's chances by what the atlas expects and scale them to sum to 1.

    Parameters
    ----------
    chances : mapping of class to ndarray, shape (i, p, l)
    atlas : mapping of class to ndarray, same shape
        Smoothed masks of :data:`FUSED` on the scan's grid.
    known : ndarray of bool, same shape
        Where the atlas reaches; elsewhere the network's word stands.
    """
    rest = np.clip(1 - np.sum(list(atlas.values()), axis=0), 0, 1)
    out = {
        name: chance * np.where(known, atlas.get(name, rest) + FLOOR, 1)
        for name, chance in chances.items()
    }
    total = np.maximum(np.sum(list(out.values()), axis=0), 1e-9)
    return {name: (chance / total).astype(np.float32) for name, chance in out.items()}


def brought(
    atlas: Atlas, hu: Volume, affine: Affine, start: Affine, tick: Tick
) -> tuple[dict[str, Volume], Mask, float]:
    """Lay the atlas over a scan.

    Parameters
    ----------
    atlas : Atlas
    hu : ndarray, shape (i, p, l)
    affine : ndarray, shape (4, 4)
    start : ndarray, shape (4, 4)
        Rough map from screen (I, P, L) mm of the scan to that of the atlas.

    Returns
    -------
    tuple
        Smoothed masks of :data:`FUSED`, where the atlas reaches, and the correlation of the two
        scans there, air left out.
    """
    way = register(hu, affine, atlas.hu, atlas.affine, start, tick)
    like = (hu, affine)
    moved = bring(pressed(atlas.hu), atlas.affine, way, *like, nearest=False, fill=RANGE[0])
    labels = bring(atlas.labels, atlas.affine, way, *like, nearest=True)
    known = bring(np.ones_like(atlas.labels), atlas.affine, way, *like, nearest=True) > 0
    both = known & (hu > OUTSIDE_HU)
    alike = np.corrcoef(moved[both], pressed(hu)[both])[0, 1] if both.sum() > 100 else 0.0
    masks = {
        name: ndimage.gaussian_filter((labels == NAMES.index(name)).astype(np.float32), BLUR)
        for name in FUSED
    }
    return masks, known, float(alike)


def register(
    fixed: Volume,
    affine: Affine,
    moving: Volume,
    moving_affine: Affine,
    start: Affine,
    tick: Tick,
) -> Any:
    """Return the SimpleITK transform that takes points of ``fixed`` to points of ``moving``.

    Affine by correlation on two levels, then fast symmetric forces demons (Thirion 1998;
    Vercauteren et al. 2009) with a smoothed field, on one thread.
    """
    import SimpleITK

    there, here = (image_of(pressed(v), a) for v, a in ((fixed, affine), (moving, moving_affine)))
    rough = _affine(there, here, start, tick)
    here = SimpleITK.Resample(here, there, rough, SimpleITK.sitkLinear, RANGE[0])
    field = None
    for shrink, count in zip((4, 2, 1), ITERATIONS, strict=True):
        one, other = (_shrunk(image, shrink) for image in (there, here))
        if field is not None:
            field = SimpleITK.Resample(field, one)
        field = _demons(one, other, field, count, tick)
    both = SimpleITK.CompositeTransform(3)
    both.AddTransform(rough)
    both.AddTransform(SimpleITK.DisplacementFieldTransform(field))
    return both


def pressed(hu: Volume) -> Volume:
    """Return HU as the registration sees them: enhanced tissue hardly brighter than plain."""
    low = np.where(hu > BRIGHT, BRIGHT + PRESS * (hu - BRIGHT), hu)
    return np.clip(low, *RANGE).astype(np.float32)


def image_of(array: NDArray[Any], affine: Affine) -> Any:
    """Wrap an IPL array as a SimpleITK image whose physical axes are (L, P, I) mm."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(s) for s in spacing(affine)[::-1]])
    image.SetOrigin([float(x) for x in ras_to_screen(affine[:3, 3])[::-1]])
    return image


def bring(
    array: NDArray[Any],
    affine: Affine,
    way: Any,
    like: NDArray[Any],
    like_affine: Affine,
    *,
    nearest: bool,
    fill: float = 0.0,
) -> NDArray[Any]:
    """Resample an array of the moving CT onto the grid of ``like``."""
    import SimpleITK

    moving = image_of(array, affine)
    grid = image_of(np.zeros(like.shape, np.uint8), like_affine)
    how = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
    out = SimpleITK.Resample(moving, grid, way, how, fill, moving.GetPixelID())
    return np.asarray(SimpleITK.GetArrayFromImage(out))


def from_boxes(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> Affine:
    """Return the map that takes one box, (2, 3) screen mm, to another."""
    scale = (moving[1] - moving[0]) / (fixed[1] - fixed[0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(scale)
    matrix[:3, 3] = moving[0] - scale * fixed[0]
    return matrix


def from_centres(
    fixed: Mapping[str, Mask], affine: Affine, moving: Mapping[str, Mask], moving_affine: Affine
) -> Affine:
    """Return the shift that takes the centres of masks of one CT to those of another on average."""
    shifts = [
        _centre(moving[name], moving_affine) - _centre(mask, affine) for name, mask in fixed.items()
    ]
    matrix = np.eye(4)
    matrix[:3, 3] = np.mean(shifts, axis=0)
    return matrix


def _centre(mask: Mask, affine: Affine) -> NDArray[np.float64]:
    return ras_to_screen(transform(affine, np.argwhere(mask).mean(axis=0)))


def _shrunk(image: Any, times: int) -> Any:
    import SimpleITK

    if times == 1 or min(image.GetSize()) < 8 * times:
        return image
    sigma = 0.4 * times * image.GetSpacing()[0]
    return SimpleITK.Shrink(SimpleITK.SmoothingRecursiveGaussian(image, sigma), [times] * 3)


def _demons(fixed: Any, moving: Any, field: Any, count: int, tick: Tick) -> Any:
    import SimpleITK

    demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(count)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(SMOOTH)
    demons.SetNumberOfThreads(1)
    images = (fixed, moving) if field is None else (fixed, moving, field)
    found = _watched(demons, images, tick)
    return SimpleITK.Cast(found, SimpleITK.sitkVectorFloat64)


def _affine(fixed: Any, moving: Any, start: Affine, tick: Tick) -> Any:
    import SimpleITK

    first = SimpleITK.AffineTransform(3)
    flip = np.eye(3)[::-1]
    first.SetMatrix((flip @ start[:3, :3] @ flip).ravel().tolist())
    first.SetTranslation((flip @ start[:3, 3]).tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.15, seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(first, inPlace=True)
    _watched(method, (fixed, moving), tick)
    return first


def _watched(method: Any, images: tuple[Any, ...], tick: Tick) -> Any:
    """Run a registration that calls ``tick`` each iteration and stops when that raises."""
    import SimpleITK

    raised: list[BaseException] = []

    def check() -> None:
        try:
            tick()
        except BaseException as error:
            raised.append(error)
            method.Abort() if hasattr(method, "Abort") else method.StopRegistration()

    method.AddCommand(SimpleITK.sitkIterationEvent, check)
    try:
        found = method.Execute(*images)
    except RuntimeError:
        if not raised:
            raise
    if raised:
        raise raised[0]
    return found
