"""Training chests: CTs at 2 mm with everything the synthesis and the targets need to know."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.geometry import Affine, resample, to_ipl
from napari_ctvlp.core.scan import Scan, ScanMeta, Source
from napari_ctvlp.core.segments import names_in_order, organ_of
from napari_ctvlp.engine.export import table_path
from napari_ctvlp.models.encoders.mini_grid import ChestBox, body_depth, box_of, to_grid
from napari_ctvlp.models.protocol import Compute

#: Anatomy classes of a voxel, in the order of the packed label.
CLASSES = (
    "air", "lungs", "vessel", "trachea", "heart", "aorta", "liver", "spleen", "kidney",
    "stomach", "oesophagus", "bone", "soft_tissue", "unknown", "gallbladder", "pancreas", "colon",
    "small_bowel", "bladder", "vertebra", "rib",
)  # fmt: skip
#: Organ ids (TotalSegmentator numbering) of the classes that need a labelled CT.
ORGAN_IDS = {
    "heart": (51,), "aorta": (52,), "liver": (5,), "spleen": (1,), "kidney": (2, 3),
    "stomach": (6,), "oesophagus": (15,), "trachea": (16,), "gallbladder": (4,), "pancreas": (7,),
    "colon": (20,), "small_bowel": (18, 19), "bladder": (21,), "vertebra": tuple(range(25, 51)),
    "rib": (*range(92, 116),), "bone": (*range(69, 79), 91, 116),
}  # fmt: skip
#: TotalSegmentator ids of what our own segmenters call by name; of bones they know too little.
NAMED = {
    organ_of(name): number
    for number, name in enumerate(names_in_order("totalsegmentator"), start=1)
    if name in (
        "spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
        "esophagus", "trachea", "small_bowel", "colon", "urinary_bladder", "heart", "aorta",
    )
}  # fmt: skip
SIDE_SHIFT, FLAG_SHIFT = 5, 7
#: Flags: no finding may be said of the voxel; a real tumour (weak label); emphysema unknown.
IGNORE, WEAK_MASS, MAYBE_EMPHYSEMA = 1, 2, 4
#: Ring around a real, left-out finding, in mm.
MARGIN_MM = 8.0


@dataclass(frozen=True)
class Case:
    """One row of the list of training CTs (``training/cases.toml``).

    Attributes
    ----------
    name, folder : str
        Folder relative to the data root.
    weight : float
        Relative number of crops drawn from it.
    organs : bool
        True when ``organs.nii.gz`` is there.
    enhanced : bool
        True when vessels hold contrast medium.
    unknown_findings : bool
        True when thick dense tissue in the lungs may be a real, unlabelled finding.
    ignore_mm : tuple of (R, A, S, radius)
        Balls in RAS mm where a real finding was seen but not drawn.
    role : str
        ``"train"``, ``"validation"`` or ``"calibration"``.
    chest : bool
        False when no lung is in the field: what looks like lung is bowel gas.
    """

    name: str
    folder: str
    weight: float
    organs: bool = False
    enhanced: bool = False
    unknown_findings: bool = True
    ignore_mm: tuple[tuple[float, float, float, float], ...] = ()
    role: str = "train"
    chest: bool = True


@dataclass(frozen=True)
class Chest:
    """A prepared CT on a 2 mm IPL grid.

    Attributes
    ----------
    case : Case
    hu : ndarray, shape (i, p, l), int16
    lung_mm : ndarray, shape (i, p, l), int8
        Signed distance to the surface of the filled lungs, positive inside, clipped at 100.
    body_mm : ndarray, shape (i, p, l), uint8
        Distance to the body surface.
    labels : ndarray, shape (i, p, l), int16
        Class + (side << 5) + (flags << 7); side 1 left, 2 right, 0 neither.
    affine : ndarray, shape (4, 4)
    box : ChestBox
    ids : ndarray, shape (i, p, l), uint8, optional
        Organ ids in TotalSegmentator numbering, 0 where nothing is labelled.
    """

    case: Case
    hu: NDArray[np.int16]
    lung_mm: NDArray[np.int8]
    body_mm: NDArray[np.uint8]
    labels: NDArray[np.int16]
    affine: Affine
    box: ChestBox
    ids: NDArray[np.uint8] | None = None

    def save(self, path: Path) -> None:
        """Write one compressed ``.npz``."""
        np.savez_compressed(
            path,
            hu=self.hu,
            lung_mm=self.lung_mm,
            body_mm=self.body_mm,
            labels=self.labels,
            ids=np.zeros(self.hu.shape, np.uint8) if self.ids is None else self.ids,
            affine=self.affine,
            box=np.stack([self.box.centre, self.box.half]),
            case=np.array(json.dumps(self.case.__dict__)),
        )

    @staticmethod
    def load(path: Path) -> Chest:
        """Read what :meth:`save` wrote."""
        with np.load(path) as file:
            case = Case(**json.loads(str(file["case"])))
            box = ChestBox(*file["box"])
            names = ("hu", "lung_mm", "body_mm", "labels", "affine")
            hu, lung, body, labels, affine = (file[name] for name in names)
            ids = file.get("ids")
        return Chest(case, hu, lung, body, labels, affine, box, ids)


def cases(role: str = "") -> list[Case]:
    """Return the CTs the shipped weights were made with, all or those of one role."""
    text = Path(__file__).with_name("cases.toml").read_text(encoding="utf-8")
    rows = [Case(**row) for row in tomllib.loads(text)["case"]]
    return [case for case in rows if role in ("", case.role)]


def read_ipl(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read a NIfTI of the training set in IPL order."""
    import nibabel

    image = nibabel.loadsave.load(path)
    array = np.asarray(image.dataobj)  # type: ignore[attr-defined]
    return to_ipl(array, np.asarray(image.affine, dtype=np.float64))  # type: ignore[attr-defined]


def prepare(case: Case, root: Path, organs: Path | None = None) -> Chest:
    """Resample, segment and label one training CT.

    Parameters
    ----------
    case : Case
    root : Path
        Folder that holds ``case.folder``.
    organs : Path, optional
        Folder of organ maps made by a segmenter, ``<case name>.nii.gz``, in TotalSegmentator's
        numbering or with the table of ``ctvlp segment`` beside; used where the case has no map
        of its own. Their 0 says nothing of a voxel.
    """
    from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter

    folder = root / case.folder
    hu, affine = read_ipl(folder / "ct.nii.gz")
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    stored = np.asarray(hu, dtype=np.int16)
    scan = Scan(stored, affine, Source((folder / "ct.nii.gz",), shape, affine), ScanMeta())
    anatomy = ClassicalSegmenter().segment(scan, compute=Compute())
    return assemble(case, scan, anatomy, folder, organs)


def assemble(
    case: Case, scan: Scan, anatomy: AnatomyMap, folder: Path, organs: Path | None = None
) -> Chest:
    """Build the chest from a scan, its anatomy and the label files in ``folder``."""
    hu, affine = to_grid(scan)
    coarse = resample(
        np.asarray(anatomy.labels, np.uint16), anatomy.affine, hu.shape, affine, order=0
    )
    body = coarse > 0
    names = {organ.name: organ.id for organ in anatomy.organs}
    airway = coarse == names.get("airways", -1)
    left, right = (coarse == names.get(name, -1) for name in ("lung_left", "lung_right"))
    if not case.chest:
        left, right, airway = (np.zeros_like(body) for _ in range(3))
    side = _sides(left, right, airway)
    lungs = side > 0
    classes = _classes(hu, lungs, airway, body, coarse == names.get("bones", -1))
    flags = _flags(case, hu, lungs, affine, folder)
    ids = _organ_ids(case, folder, organs, hu.shape, affine)
    if case.organs:
        classes[classes == CLASSES.index("unknown")] = CLASSES.index("soft_tissue")
    _add_organs(classes, ids, lungs)
    packed = classes.astype(np.int16) + (side << SIDE_SHIFT) + (flags << FLAG_SHIFT)
    inside = ndimage.distance_transform_edt(lungs) if lungs.any() else np.zeros(hu.shape)
    outside = ndimage.distance_transform_edt(~lungs) if lungs.any() else np.full(hu.shape, 50.0)
    lung_mm = np.clip(2 * (inside - outside), -100, 100).astype(np.int8)
    depth = np.clip(body_depth(body, 2.0), 0, 250).astype(np.uint8)
    box = box_of(left | right if (left | right).any() else body, affine)
    if not lungs.any():
        box = ChestBox(box.centre, box.half * np.array([1.0, 0.8, 0.75]))
    rounded = np.round(hu).astype(np.int16)
    return Chest(case, rounded, lung_mm, depth, packed.astype(np.int16), affine, box, ids)


def closing(mask: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """Close a 2 mm mask with a ball, by two distance transforms inside its box."""
    if not mask.any():
        return mask.copy()
    pad = int(np.ceil(radius_mm / 2)) + 1
    found = ndimage.find_objects(mask.view(np.uint8))[0]
    region = tuple(slice(max(0, s.start - pad), s.stop + pad) for s in found)
    part = np.pad(mask[region], pad)
    grown = ndimage.distance_transform_edt(~part, sampling=2.0) <= radius_mm
    closed = ndimage.distance_transform_edt(grown, sampling=2.0) > radius_mm
    out = mask.copy()
    out[region] |= closed[pad:-pad, pad:-pad, pad:-pad]
    return out


def opening(mask: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """Open a 2 mm mask with a ball."""
    core = ndimage.distance_transform_edt(mask, sampling=2.0) > radius_mm
    return np.asarray(ndimage.distance_transform_edt(~core, sampling=2.0) <= radius_mm) & mask


def _sides(
    left: NDArray[np.bool_], right: NDArray[np.bool_], airway: NDArray[np.bool_]
) -> NDArray[np.int16]:
    """Filled lungs: vessels and small dense things inside count as lung; 1 left, 2 right."""
    side = np.zeros(left.shape, dtype=np.int16)
    for number, lung in ((1, left), (2, right)):
        filled = closing(lung, 10.0)
        filled = np.stack([ndimage.binary_fill_holes(plane) for plane in filled])
        side[filled & ~airway & (side == 0)] = number
    return side


def _classes(
    hu: NDArray[np.float32],
    lungs: NDArray[np.bool_],
    airway: NDArray[np.bool_],
    body: NDArray[np.bool_],
    bone: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Anatomy class of each voxel that HU and the classical segmenter can tell."""
    classes = np.where(body, CLASSES.index("unknown"), 0).astype(np.uint8)
    shell = body & (body_depth(body, 2.0) < 25.0)
    classes[shell] = CLASSES.index("soft_tissue")
    classes[bone] = CLASSES.index("bone")
    classes[lungs] = CLASSES.index("lungs")
    classes[lungs & (hu > -400)] = CLASSES.index("vessel")
    classes[airway] = CLASSES.index("trachea")
    return classes


def _organ_ids(
    case: Case, folder: Path, organs: Path | None, shape: tuple[int, ...], affine: Affine
) -> NDArray[np.uint8]:
    """Read the case's own organ map, else that of a segmenter, else nothing."""
    path = folder / "organs.nii.gz"
    if not case.organs and organs is not None:
        path = organs / f"{case.name}.nii.gz"
    if not path.exists():
        return np.zeros(shape, np.uint8)
    array, source = read_ipl(path)
    labels = totalsegmentator(np.asarray(array, np.uint8), path)
    return resample(labels, source, shape, affine, order=0)


def totalsegmentator(labels: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Return labels in TotalSegmentator's numbering.

    A map that ``ctvlp segment`` wrote is translated by the table that lies beside it; any other
    is taken for what the documentation asks for.

    Parameters
    ----------
    labels : ndarray, uint8
    path : Path
        Where they came from, ``NAME.nii.gz``; the table is ``NAME.json``.
    """
    beside = table_path(path)
    if not beside.is_file():
        return labels
    table = json.loads(beside.read_text(encoding="utf-8"))
    if not isinstance(table, dict) or "segmenter" not in table:
        return labels
    numbers = np.zeros(256, np.uint8)
    for organ in table["organs"]:
        numbers[organ["id"]] = NAMED.get(organ["name"], 0)
    return numbers[labels]


def _add_organs(
    classes: NDArray[np.uint8], ids: NDArray[np.uint8], lungs: NDArray[np.bool_]
) -> None:
    """Write the labelled organs over the rough classes, in place."""
    for name, numbers in ORGAN_IDS.items():
        classes[np.isin(ids, numbers) & ~lungs] = CLASSES.index(name)


def _flags(
    case: Case,
    hu: NDArray[np.float32],
    lungs: NDArray[np.bool_],
    affine: Affine,
    folder: Path,
) -> NDArray[np.int16]:
    """Where nothing may be said, and where a real tumour lies."""
    flags = np.zeros(hu.shape, dtype=np.int16)
    if case.unknown_findings:
        thick = opening(lungs & (hu > -350), 6.0)
        flags[ndimage.binary_dilation(thick, iterations=2)] |= IGNORE
        flags[lungs & (ndimage.gaussian_filter(hu, 1.5) < -940)] |= MAYBE_EMPHYSEMA
    for *centre, radius in case.ignore_mm:
        flags[_ball(hu.shape, affine, np.array(centre), radius)] |= IGNORE
    if (folder / "nodule.nii.gz").exists():
        nodule = _label_file(folder / "nodule.nii.gz", hu.shape, affine)
        near = ndimage.distance_transform_edt(~nodule, sampling=2.0) <= MARGIN_MM
        flags[near] |= IGNORE
    if (folder / "tumour_box.nii.gz").exists():
        tumour_box = _label_file(folder / "tumour_box.nii.gz", hu.shape, affine)
        flags[ndimage.binary_dilation(tumour_box, iterations=3)] |= IGNORE
        flags[_weak_tumour(hu, tumour_box)] |= WEAK_MASS
    return flags


def _weak_tumour(hu: NDArray[np.float32], box: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest thick soft part of a tumour box."""
    smooth = ndimage.gaussian_filter(hu, 1.0)
    soft = opening(box & (smooth > -200) & (smooth < 150), 4.0)
    parts, count = ndimage.label(soft)
    if not count:
        return soft
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def _label_file(path: Path, shape: tuple[int, ...], affine: Affine) -> NDArray[np.bool_]:
    array, source = read_ipl(path)
    return resample((array > 0).astype(np.uint8), source, shape, affine, order=0) > 0


def _ball(
    shape: tuple[int, ...], affine: Affine, centre: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return np.asarray(((points - centre) ** 2).sum(axis=-1) <= radius**2)
