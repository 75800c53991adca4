"""Training CTs of the organ network: 4 mm volumes, classes from label files, an atlas and HU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, resample
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.models.segmenters.mini_input import on_four_mm
from napari_ctvlp.models.segmenters.mini_net import CLASSES
from napari_ctvlp.training.data import read_ipl

#: Class of a voxel of which nothing is known.
IGNORE = 255
#: TotalSegmentator ids of each class; what is not listed is background.
IDS = {
    "lung_left": (10, 11), "lung_right": (12, 13, 14), "airways": (16,), "heart": (51, 61),
    "aorta": (52,), "oesophagus": (15,), "liver": (5,), "spleen": (1,), "kidney_left": (3,),
    "kidney_right": (2,), "stomach": (6,), "gallbladder": (4,), "pancreas": (7,),
    "bladder": (21,), "colon": (20,), "small_bowel": (18, 19), "vertebrae": tuple(range(26, 51)),
    "ribs": tuple(range(92, 116)), "sternum": (116,), "bones": (25, *range(69, 79), 91),
    "vessels": (53, 54, 55, 56, 57, 58, 59, 60, 62, 63, 64),
}  # fmt: skip
#: Soft tissue above this is taken for contrast medium when it is no bone, in HU.
PLAIN_HU = 50.0
#: What is left of HU above that in the volume without contrast.
LEFT = 0.06
SOFT = tuple(
    CLASSES.index(name)
    for name in ("heart", "aorta", "oesophagus", "liver", "spleen", "kidney_left",
                 "kidney_right", "stomach", "gallbladder", "pancreas", "bladder", "vessels")
)  # fmt: skip
BONY = tuple(CLASSES.index(name) for name in ("vertebrae", "ribs", "sternum", "bones"))

Labels = NDArray[np.uint8]
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class OrganCase:
    """One CT on a 4 mm IPL grid.

    Attributes
    ----------
    name : str
    hu : ndarray, shape (i, p, l), float32
    plain : ndarray, same shape
        The same with contrast medium taken out of soft tissue.
    labels : ndarray, same shape, uint8
        Index into :data:`CLASSES`, or :data:`IGNORE`.
    body : ndarray, same shape, bool
    affine : ndarray, shape (4, 4)
        Index to RAS mm.
    weight : float
        Relative number of crops drawn from it.
    """

    name: str
    hu: Volume
    plain: Volume
    labels: Labels
    body: NDArray[np.bool_]
    affine: Affine
    weight: float = 1.0

    def save(self, path: Path) -> None:
        """Write one compressed ``.npz``."""
        np.savez_compressed(path, **vars(self))

    @staticmethod
    def load(path: Path) -> OrganCase:
        """Read what :meth:`save` wrote."""
        with np.load(path) as file:
            parts = {name: file[name] for name in file.files}
        return OrganCase(**(parts | {"name": str(parts["name"]), "weight": float(parts["weight"])}))


def read_scan(path: Path) -> Scan:
    """Read a training CT."""
    hu, affine = read_ipl(path)
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    return Scan(np.asarray(hu, np.int16), affine, Source((path,), shape, affine), ScanMeta())


def without_contrast(hu: Volume, bone: NDArray[np.bool_]) -> Volume:
    """Press what is brighter than :data:`PLAIN_HU` and no bone."""
    near = ndimage.binary_dilation(bone, iterations=1)
    pressed = np.minimum(hu, PLAIN_HU + LEFT * (hu - PLAIN_HU))
    return np.where(near, hu, pressed).astype(np.float32)


def prepare(name: str, folder: Path) -> tuple[OrganCase, AnatomyMap]:
    """Read one CT; its labels are the drawn organs if there are any, else :data:`IGNORE`."""
    from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter

    scan = read_scan(folder / "ct.nii.gz")
    anatomy = ClassicalSegmenter().segment(scan)
    hu, affine = on_four_mm(scan)
    seen = resample(np.asarray(anatomy.labels, np.uint8), anatomy.affine, hu.shape, affine, order=0)
    bone = seen == anatomy.by_name["bones"].id
    labels = np.full(hu.shape, IGNORE, np.uint8)
    if (folder / "organs.nii.gz").is_file():
        labels = drawn(folder / "organs.nii.gz", hu.shape, affine)
        bone |= np.isin(labels, BONY)
    case = OrganCase(name, hu, without_contrast(hu, bone), labels, seen > 0, affine)
    return case, anatomy


def drawn(path: Path, shape: tuple[int, ...], affine: Affine) -> Labels:
    """Read an organ map on the 4 mm grid: of the eight 2 mm parts of a voxel the commonest wins."""
    array, source = read_ipl(path)
    table = np.zeros(256, np.uint8)
    for name, ids in IDS.items():
        table[list(ids)] = CLASSES.index(name)
    fine_shape = tuple(2 * n for n in shape)
    fine_affine = affine.copy()
    fine_affine[:3, :3] /= 2
    fine_affine[:3, 3] = affine[:3, 3] - fine_affine[:3, :3] @ np.full(3, 0.5)
    fine = resample(table[np.asarray(array, np.uint8)], source, fine_shape, fine_affine, order=0)
    i, p, l = shape  # noqa: E741 - the axis is called L
    parts = fine.reshape(i, 2, p, 2, l, 2).transpose(0, 2, 4, 1, 3, 5).reshape(i, p, l, 8)
    votes = np.stack([(parts == n).sum(axis=-1, dtype=np.uint8) for n in range(len(CLASSES))])
    return np.asarray(votes.argmax(axis=0), np.uint8)


def from_atlas(case: OrganCase, anatomy: AnatomyMap, atlas: Labels, known: Labels) -> OrganCase:
    """Label an unlabelled CT where an atlas brought onto it can be trusted.

    Parameters
    ----------
    case : OrganCase
    anatomy : AnatomyMap
        Of the classical segmenter: gives lungs, airways and bones.
    atlas : ndarray, shape (i, p, l)
        Classes of the labelled CT on this grid.
    known : ndarray, same shape
        1 where the labelled CT's field of view reaches.

    Returns
    -------
    OrganCase
        Soft organs are the inner part of the atlas organ where HU is positive; bones what is
        bone and lies near the atlas' bone; lungs and airways are the classical ones; background
        lies at least two voxels from all organs. The rest is :data:`IGNORE`.
    """
    seen = resample(
        np.asarray(anatomy.labels, np.uint8), anatomy.affine, case.hu.shape, case.affine, order=0
    )
    labels = np.full(case.hu.shape, IGNORE, np.uint8)
    far = ndimage.distance_transform_edt(atlas == 0) > 2
    labels[(far & (known > 0)) | ~ndimage.binary_dilation(case.body)] = 0
    for number in SOFT:
        inner = ndimage.binary_erosion(atlas == number)
        labels[inner & (case.hu > 0)] = number
    bone = seen == anatomy.by_name["bones"].id
    labels[ndimage.binary_dilation(bone)] = IGNORE
    near = ndimage.distance_transform_edt(~np.isin(atlas, BONY), return_indices=True)
    labels[bone] = np.where(near[0] <= 3, atlas[tuple(near[1])], IGNORE)[bone]
    for name in ("lung_left", "lung_right", "airways"):
        labels[seen == anatomy.by_name[name].id] = CLASSES.index(name)
    return replace(case, labels=labels)
