"""The embedded anatomy segmenter: classical masks where they are best, else a small network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.anatomy import AnatomyMap, anatomy_from_labels
from napari_ctvlp.core.geometry import Affine, resample
from napari_ctvlp.core.resources import weights_folder
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.models.encoders.mini_grid import box_of
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent
from napari_ctvlp.models.segmenters.classical import ORGANS as CLASSICAL
from napari_ctvlp.models.segmenters.classical import ClassicalSegmenter
from napari_ctvlp.models.segmenters.mini_atlas import (
    LEAST_CORRELATION,
    Atlas,
    brought,
    from_boxes,
    from_centres,
    fused,
    unpacked,
)
from napari_ctvlp.models.segmenters.mini_input import (
    body_of,
    is_cut,
    on_four_mm,
    padded,
    place_of,
)
from napari_ctvlp.models.segmenters.mini_write import HOLLOW, name_bones, write_organs
from napari_ctvlp.models.segmenters.plausible import Judged, judge, ranges
from napari_ctvlp.models.store import CARDS, read_card, unusable

if TYPE_CHECKING:
    from napari_ctvlp.models.segmenters.classical.morphology import Tick
    from napari_ctvlp.models.segmenters.mini_net import OrganNet

WEIGHTS = "mini-organs.safetensors"
#: Organs of the network, after those of the classical segmenter: name and id in the label map.
BONE_PARTS = ("vertebrae", "ribs", "sternum")
SOFT = tuple(ranges())
ORGANS = (*CLASSICAL, *enumerate((*SOFT, *BONE_PARTS), len(CLASSICAL) + 1))
ID = {name: number for number, name in ORGANS}

LUNGS = ("lung_left", "lung_right")
#: Organs that hardly carried over from one labelled CT to the other (decision 0405).
ROUGH = (
    "oesophagus", "spleen", "kidney_left", "kidney_right", "stomach", "gallbladder", "pancreas",
    "bladder", "colon", "small_bowel",
)  # fmt: skip
#: A 4 mm voxel darker than this is at most the edge of a solid organ.
SOLID_MEAN_HU = -250
#: Voxels of an organ from which its centre can be told.
LEAST_CENTRE = 1000
#: The atlas' HU are stored as bytes: lowest value and step.
ATLAS_LOWEST, ATLAS_STEP = -1024.0, 6.0

Array = NDArray[np.float32]


class AnatomySegmenter:
    """Names the organs of a scan.

    Parameters
    ----------
    folder : Path, optional
        Where the weights lie; by default the folder that ships with the package.

    Attributes
    ----------
    card : ModelCard
    """

    card: ModelCard = read_card(CARDS / "anatomy.toml")

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or weights_folder()

    def segment(
        self, scan: Scan, *, compute: Compute | None = None, progress: Progress = silent
    ) -> AnatomyMap:
        """Label a CT.

        Lungs, airways, bones, muscle, fat and other soft tissue are the classical segmenter's;
        the network names organs within soft tissue and the parts of the skeleton. What is not
        plausible is left out or called doubtful, in words, in ``reliability``.

        Parameters
        ----------
        scan : Scan
            In HU.
        compute : Compute, optional
        progress : Progress

        Returns
        -------
        AnatomyMap
            Labels on the scan's grid with the ids of :data:`ORGANS`.

        Raises
        ------
        InputRefused
            When the scan does not hold HU.
        ModelRefused
            When the weights are missing or not those of this network.
        """
        plan = compute or Compute()
        first = ClassicalSegmenter().segment(
            scan, compute=plan, progress=lambda share, stage: progress(0.55 * share, stage)
        )
        hu, affine = on_four_mm(scan, lambda share, stage: progress(0.55 + 0.1 * share, stage))
        chances = self.chances(scan, hu, affine, first, plan, progress)
        progress(0.8, "organs")
        judged = judged_of(chances, hu, affine, first)
        labels = np.array(first.labels, np.uint8)
        name_bones(labels, first, chances, affine, {name: ID[name] for name in BONE_PARTS})
        progress(0.85, "organs")
        write_organs(
            labels, scan, chances, judged.masks, affine, ID,
            lambda share, stage: progress(0.85 + 0.14 * share, stage),
        )  # fmt: skip
        anatomy = anatomy_from_labels(
            labels, scan, ORGANS, source=self.card.id,
            reliability=reliability(first, judged),
        )  # fmt: skip
        progress(1.0, "done")
        return anatomy

    def chances(
        self,
        scan: Scan,
        hu: Array,
        affine: Affine,
        first: AnatomyMap,
        compute: Compute,
        progress: Progress = silent,
    ) -> dict[str, Array]:
        """Return the chance of each class per 4 mm voxel, shape (i, p, l), summing to 1."""
        from napari_ctvlp.models.segmenters.mini_net import CLASSES, COARSEST

        net, atlas = load(self.folder / WEIGHTS, compute)
        volume = padded(hu, COARSEST)
        place = place_of(body_of(first, volume.shape, affine), not is_cut(scan))
        tick = _Ticks(progress)
        rows = _softmax(net, volume, place, compute, tick)
        i, p, l = hu.shape  # noqa: E741 - the axis is called L
        alone = {name: rows[n, :i, :p, :l] for n, name in enumerate(CLASSES)}
        return with_atlas(alone, atlas, hu, affine, first, tick)


def _softmax(net: OrganNet, volume: Array, place: Array, compute: Compute, tick: _Ticks) -> Array:
    """Run the network, shape (classes, i, p, l)."""
    import torch

    from napari_ctvlp.models.segmenters.mini_net import inputs

    device = torch.device(compute.device)
    lean = compute.precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
        hu, where = (torch.from_numpy(array)[None].to(device) for array in (volume, place))
        logits = net(inputs(hu[None], where), tick)
        return np.asarray(logits.float().softmax(1)[0].cpu().numpy())


def with_atlas(
    chances: dict[str, Array],
    atlas: Atlas,
    hu: Array,
    affine: Affine,
    first: AnatomyMap,
    tick: Tick,
) -> dict[str, Array]:
    """Fuse the network's chances with the atlas where it can be laid over the scan."""
    start = _start(chances, atlas, affine, first)
    if start is None:
        return chances
    expected, known, alike = brought(atlas, hu, affine, start, tick)
    return fused(chances, expected, known) if alike >= LEAST_CORRELATION else chances


def _start(
    chances: dict[str, Array], atlas: Atlas, affine: Affine, first: AnatomyMap
) -> Affine | None:
    """Lay box of lungs on box of lungs, else heart on heart or liver on liver; None without."""
    if all(first.has(name) and first.by_name[name].complete for name in LUNGS):
        ours = box_of(first.mask(LUNGS), first.affine)
        theirs = box_of(atlas.mask(*LUNGS), atlas.affine)
        ends = [np.stack([box.centre - box.half, box.centre + box.half]) for box in (ours, theirs)]
        return from_boxes(ends[0], ends[1])
    for name in ("heart", "liver"):
        mask = chances[name] > 0.5
        if mask.sum() >= LEAST_CENTRE:
            return from_centres({name: mask}, affine, {name: atlas.mask(name)}, atlas.affine)
    return None


class _Ticks:
    """Turns the ticks of network and registration into shares of a progress bar."""

    #: Ticks of one pass of the network and of a registration.
    COUNT = 16 + 200

    def __init__(self, progress: Progress) -> None:
        self.progress, self.done = progress, 0

    def __call__(self) -> None:
        self.done += 1
        self.progress(0.65 + 0.15 * min(1.0, self.done / self.COUNT), "organs")


def judged_of(chances: dict[str, Array], hu: Array, affine: Affine, first: AnatomyMap) -> Judged:
    """Return which of the network's organs are kept, on the 4 mm grid."""
    lungs = _on_grid(first, ("lung_left", "lung_right", "airways"), hu.shape, affine)
    names = list(chances)
    best = np.stack(list(chances.values())).argmax(axis=0)
    solid = ~lungs & (hu > SOLID_MEAN_HU)
    found = {
        name: (best == names.index(name)) & (~lungs if name in HOLLOW else solid) for name in SOFT
    }
    bones = _on_grid(first, ("bones",), hu.shape, affine)
    voxel = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return judge(found, chances, hu, _midline(bones, best == names.index("vertebrae")), voxel)


def _midline(bones: NDArray[np.bool_], vertebrae: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the middle of the spine per slice along L, shape (i,); the grid's without one."""
    spine = vertebrae if vertebrae.sum() > 50 else bones
    count = spine.sum(axis=(1, 2))
    if not count.any():
        return np.full(len(spine), (spine.shape[2] - 1) / 2)
    sums = (spine.sum(axis=1) * np.arange(spine.shape[2])).sum(axis=1)
    seen = np.flatnonzero(count)
    middle = np.interp(np.arange(len(spine)), seen, sums[seen] / count[seen])
    return np.asarray(middle, np.float64)


def _on_grid(
    anatomy: AnatomyMap, names: tuple[str, ...], shape: tuple[int, ...], affine: Affine
) -> NDArray[np.bool_]:
    mask = anatomy.mask(names).astype(np.uint8)
    return resample(mask, anatomy.affine, shape, affine, order=0) > 0


def reliability(first: AnatomyMap, judged: Judged) -> str:
    """Return in words what to trust and what not."""
    parts = [first.reliability, "Organs within soft tissue come from a small network."]
    if rough := [name.replace("_", " ") for name in judged.masks if name in ROUGH]:
        parts.append(
            f"Rough, seldom right in a patient it has not learned from: {', '.join(rough)}."
        )
    for title, reasons in (("Left out", judged.left_out), ("Doubtful", judged.doubtful)):
        if reasons:
            listed = "; ".join(f"{n.replace('_', ' ')} ({why})" for n, why in reasons.items())
            parts.append(f"{title}: {listed}.")
    return " ".join(parts)


def load(path: Path, compute: Compute) -> tuple[OrganNet, Atlas]:
    """Read network and atlas; anything but the expected finite numbers is refused."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_ctvlp.models.encoders.mini_tower import channels_last
    from napari_ctvlp.models.segmenters.mini_net import OrganNet

    net = OrganNet()
    try:
        state = {name: value.float() for name, value in load_file(path).items()}
        parts = [state.pop(f"atlas.{part}").numpy() for part in ("hu", "labels", "affine")]
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError("some weights are not finite")
        net.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise unusable(path, "the organ network", error) from error
    net.eval().requires_grad_(False)
    channels_last(net.to(compute.device))
    hu = (parts[0] * ATLAS_STEP + ATLAS_LOWEST).astype(np.float32)
    labels = unpacked(parts[1].astype(np.uint8), hu.shape)
    return net, Atlas(hu, labels, parts[2].astype(np.float64))
