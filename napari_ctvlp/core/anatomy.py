"""AnatomyMap: which organ each voxel belongs to, whatever segmenter said so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.geometry import Affine, checked_affine, spacing, transform
from napari_ctvlp.core.scan import Scan

Side = Literal["left", "right", ""]
#: Organs that some segmenters draw in parts; the name of the whole means all of them.
PARTS = {"bones": ("bones", "vertebrae", "ribs", "sternum")}


@dataclass(frozen=True)
class Organ:
    """One row of an anatomy table.

    Attributes
    ----------
    id : int
        Value in the label map, at least 1.
    name : str
        House name, a key of ``core/vocabulary/organs.toml`` such as ``"lung_left"``.
    ml : float
        Volume in ml inside the scan.
    mean_hu : float
        Mean HU over its voxels; NaN when empty.
    complete : bool
        False when the organ is cut by the edge of the field of view.
    """

    id: int
    name: str
    ml: float
    mean_hu: float
    complete: bool


@dataclass(frozen=True)
class AnatomyMap:
    """Organ labels on a scan's grid.

    Attributes
    ----------
    labels : ndarray, shape (i, p, l), uint8 or uint16, read-only
        0 is unlabelled; every other id has a row in ``organs``. Sides are patient sides.
    affine : ndarray, shape (4, 4)
        Index to RAS mm, axis-aligned IPL.
    organs : tuple of Organ
        The table, by id.
    source : str
        Which segmenter, for example ``"classical"``.
    reliability : str
        One sentence for the user on how far to trust it.
    digest : str
        Digest of the scan it describes.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    affine: Affine
    organs: tuple[Organ, ...]
    source: str
    reliability: str = ""
    digest: str = ""
    by_name: dict[str, Organ] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Freeze the labels and index the table."""
        view = self.labels.view()
        view.flags.writeable = False
        object.__setattr__(self, "labels", view)
        object.__setattr__(self, "affine", checked_affine(self.affine))
        object.__setattr__(self, "by_name", {organ.name: organ for organ in self.organs})

    @cached_property
    def content(self) -> str:
        """SHA-256 over labels, affine and table, 64 hex digits: same content, same key."""
        sha = hashlib.sha256(f"{self.source}{self.labels.dtype.str}{self.labels.shape}".encode())
        sha.update((self.affine + 0.0).tobytes())  # -0.0 and 0.0 are one number
        sha.update(repr([(organ.id, organ.name) for organ in self.organs]).encode())
        for plane in self.labels:
            sha.update(np.ascontiguousarray(plane).tobytes())
        return sha.hexdigest()

    def mask(self, names: str | Iterable[str]) -> NDArray[np.bool_]:
        """Return the union of named organs, shape (i, p, l); absent names add nothing."""
        wanted = with_parts([names] if isinstance(names, str) else names)
        ids = [self.by_name[name].id for name in wanted if name in self.by_name]
        return np.isin(self.labels, ids)

    def point_inside(self, name: str) -> tuple[float, float, float] | None:
        """Return RAS mm of the voxel of an organ nearest to its centre; None when it has none.

        Large label maps are looked at in steps, which finds a voxel of the organ all the same.
        """
        if not self.has(name):
            return None
        number = self.by_name[name].id
        for step in (4, 1):
            found = np.argwhere(self.labels[::step, ::step, ::step] == number) * step
            if len(found):
                nearest = found[np.argmin(((found - found.mean(axis=0)) ** 2).sum(axis=1))]
                r, a, s = transform(self.affine, nearest).tolist()
                return r, a, s
        return None

    def has(self, name: str) -> bool:
        """Return True when the organ is in the table with at least one voxel."""
        return name in self.by_name and self.by_name[name].ml > 0


def with_parts(names: Iterable[str]) -> list[str]:
    """Return organ names with the parts of :data:`PARTS` written out."""
    return [part for name in names for part in PARTS.get(name, (name,))]


def anatomy_from_labels(
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    scan: Scan,
    names: Sequence[tuple[int, str]],
    *,
    source: str,
    reliability: str = "",
) -> AnatomyMap:
    """Measure volumes, mean HU and completeness of a label map on the scan's own grid.

    Parameters
    ----------
    labels : ndarray, shape (i, p, l)
        Same grid as ``scan.hu``.
    scan : Scan
        The scan the labels describe.
    names : sequence of (id, name)
        Every id that may occur.
    """
    top = max(number for number, _ in names) + 1
    counts, sums = np.zeros(top), np.zeros(top)
    for plane, hu in zip(labels, scan.hu, strict=True):
        counts += np.bincount(plane.ravel(), minlength=top)
        sums += np.bincount(plane.ravel(), weights=hu.ravel(), minlength=top)
    cut = _ids_on_edges(labels)
    organs = tuple(
        Organ(
            number,
            name,
            float(counts[number] * scan.voxel_ml),
            float(sums[number] / counts[number]) if counts[number] else float("nan"),
            number not in cut,
        )
        for number, name in names
    )
    return AnatomyMap(labels, scan.affine, organs, source, reliability, scan.digest)


def renamed(anatomy: AnatomyMap, names: Mapping[str, str]) -> AnatomyMap:
    """Give organs other names.

    Parameters
    ----------
    anatomy : AnatomyMap
    names : mapping
        New name by present name; organs that are not in it keep theirs.

    Returns
    -------
    AnatomyMap
        Organs that come to share a name become one, under the first one's number: then the
        labels are new and the first one's figures stand until they are measured again.
    """
    kept: dict[str, Organ] = {}
    merged: dict[int, int] = {}
    for organ in anatomy.organs:
        name = names.get(organ.name, organ.name)
        if name in kept:
            merged[organ.id] = kept[name].id
        else:
            kept[name] = replace(organ, name=name)
    labels = anatomy.labels
    if merged:
        table: NDArray[Any] = np.arange(1 + max(o.id for o in anatomy.organs), dtype=labels.dtype)
        table[list(merged)] = list(merged.values())
        labels = table[labels]
    return replace(anatomy, labels=labels, organs=tuple(kept.values()))


def voxel_ml(anatomy: AnatomyMap) -> float:
    """Volume in ml of one label voxel."""
    return float(spacing(anatomy.affine).prod() / 1000)


def _ids_on_edges(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> set[int]:
    """Ids that touch any of the six faces of the volume."""
    found: set[int] = set()
    for axis in range(3):
        for end in (0, -1):
            found.update(np.unique(np.take(labels, end, axis=axis)).tolist())
    return found
