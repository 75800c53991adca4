"""BioViL and BioViL-T behind the encoder protocol: chest radiographs, and those made from a CT.

The published recipe for a map: cosine of each projected patch with the text, a Gaussian of 1.5
patches, upsampling over the square that was cut out, NaN outside it. Smoothing is linear, so it
is done on the tokens once: every phrase is then one product.

A frontal radiograph is rendered from a CT with parallel rays; what the model says of a patch is
said of all tissue along the patch's ray, so its cells carry the same token from front to back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.encoding import Encoding, TextVector, TokenGrid
from napari_ctvlp.core.findings import FindingsTable
from napari_ctvlp.core.geometry import ipl_affine, ras_to_screen, transform
from napari_ctvlp.core.radiograph import Radiograph
from napari_ctvlp.core.scan import Scan
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.models.encoders.framing import inside
from napari_ctvlp.models.encoders.hosting import loaded, table_of, text_vectors
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ctvlp.models.encoders.biovil_net import ImageTower
    from napari_ctvlp.models.encoders.prompts import Prompts

#: Pixels the shorter side is brought to, those of the square cut from the middle, and the sigma
#: of the map in patches.
RESIZED, CROP, SIGMA = 512, 448, 1.5
#: Pixel of a radiograph that is rendered from a CT, in mm.
RENDERED_MM = 1.0
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Patches:
    """A picture's patches in the joint space.

    Attributes
    ----------
    smooth : ndarray, shape (h, w, c), float32
        Unit vectors after the Gaussian.
    parts : ndarray, shape (h, w, c), float32
        What each patch adds to the unit vector of the picture.
    vector : ndarray, shape (c,), float32
        Their sum, of unit length.
    """

    smooth: Array
    parts: Array
    vector: Array


class BiovilT:
    """Encoder protocol of BioViL-T, and of BioViL by its own card.

    Parameters
    ----------
    card : ModelCard
        Setting ``crop``; for tests ``sizes``.
    network : ImageTower
    prompts : Prompts
    compute : Compute
    """

    def __init__(
        self, card: ModelCard, network: ImageTower, prompts: Prompts, compute: Compute
    ) -> None:
        self.card, self.network, self.prompts, self.compute = card, network, prompts, compute
        self.crop = int(card.settings.get("crop", CROP))

    @classmethod
    def load(cls, card: ModelCard, folder: Path, compute: Compute) -> BiovilT:
        """Load both checkpoints that the card names.

        Raises
        ------
        ModelRefused
            If one holds other tensors than the card allows.
        """
        from torch.nn.functional import normalize

        from napari_ctvlp.models.encoders.biovil_net import ImageTower, Sizes, TextTower

        sizes = Sizes(**card.settings.get("sizes", {}))
        network = loaded(ImageTower(sizes), card, folder, compute, "image")
        text = loaded(TextTower(sizes), card, folder, compute, "text")

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            return normalize(text(ids, mask), dim=-1)

        return cls(card, network, text_vectors(run, card, folder, compute), compute)

    def encode(self, scan: Scan, anatomy: AnatomyMap, *, progress: Progress = silent) -> Encoding:
        """Encode the frontal radiograph that is rendered from a scan.

        Parameters
        ----------
        scan : Scan
            A CT in HU.
        anatomy : AnatomyMap
            Not needed.
        progress : callable

        Returns
        -------
        Encoding
            Cells of a patch's width and depth, one token along each ray.
        """
        progress(0.05, "rendering a radiograph")
        picture = rendered(scan)
        patches = self._patches(picture.pixels, progress)
        rows, columns = patches.smooth.shape[:2]
        edge = extent(picture.shape, self.crop) * RENDERED_MM / rows
        depth_mm = scan.shape[1] * scan.spacing[1]
        deep = max(1, round(depth_mm / edge))
        middle = ras_to_screen(transform(scan.affine, (np.array(scan.shape) - 1) / 2))
        step = np.array([edge, depth_mm / deep, edge])
        affine = ipl_affine(step, middle - (np.array([rows, deep, columns]) - 1) / 2 * step)
        seen = inside(scan, (rows, deep, columns), affine)
        share = np.maximum(seen.sum(axis=1), 1)[..., None]
        outside = ~seen.any(axis=1)
        smooth, parts = (
            np.repeat(x[:, None], deep, axis=1) for x in (patches.smooth, patches.parts / share)
        )
        rest = patches.parts[outside].sum(axis=0)
        grids = (
            TokenGrid(smooth, affine, seen, "patch", kind="cosine"),
            TokenGrid(parts, affine, seen, "patch", kind="split", rest=rest),
        )
        return Encoding(
            grids, dict.fromkeys(("whole", ""), patches.vector), self.card.id, "", scan.digest
        )

    def encode_radiograph(
        self,
        radiograph: Radiograph,
        progress: Progress = silent,
        prior: Radiograph | None = None,
    ) -> Encoding:
        """Encode a picture: as :meth:`encode` does, with one cell of depth and no place.

        Parameters
        ----------
        radiograph : Radiograph
        progress : callable
        prior : Radiograph, optional
            An earlier picture of the same patient, for a model of two visits.

        Raises
        ------
        ModelRefused
            If the model knows no earlier pictures.
        """
        if prior is not None and not self.network.encoder.two_visits:
            raise ModelRefused(
                "no-prior",
                "a model that compares two pictures, such as biovil_t.",
                f"{self.card.id} reads one picture only.",
                "Leave the earlier picture out, or choose another model.",
            )
        patches = self._patches(radiograph.pixels, progress, prior)
        valid = np.ones((patches.smooth.shape[0], 1, patches.smooth.shape[1]), np.bool_)
        grids = (
            TokenGrid(patches.smooth[:, None], np.eye(4), valid, "patch", kind="cosine"),
            TokenGrid(patches.parts[:, None], np.eye(4), valid, "patch", kind="split"),
        )
        return Encoding(
            grids, dict.fromkeys(("whole", ""), patches.vector), self.card.id, "", radiograph.digest
        )

    def map_on(self, radiograph: Radiograph, encoding: Encoding, vector: TextVector) -> Array:
        """Return the published map of a phrase on a picture, shape (row, column), float32."""
        low = encoding.grids[0].tokens[:, 0] @ vector.vector
        return over_picture(low, radiograph.shape, self.crop)

    def embed(self, phrases: Sequence[str]) -> list[TextVector]:
        """Bring phrases beside the patches."""
        return self.prompts.pairs(phrases)

    def score(self, encoding: Encoding, anatomy: AnatomyMap) -> FindingsTable:
        """Return one row per finding of the card, for the picture as a whole."""
        return table_of(self.card, encoding, self.prompts)

    def _patches(
        self, pixels: NDArray[Any], progress: Progress, prior: Radiograph | None = None
    ) -> Patches:
        import torch

        lean, device = self.compute.precision == "bfloat16", torch.device(self.compute.device)
        visits = [pixels] if prior is None else [pixels, prior.pixels]
        progress(0.3, "encoding")
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=lean):
            images = [
                torch.from_numpy(prepared(one, self.crop)).expand(1, 3, -1, -1).to(device)
                for one in visits
            ]
            projected = self.network.project(self.network.encoder(*images))[0].float()
        return patches_of(projected.permute(1, 2, 0).cpu().numpy())


def patches_of(projected: Array) -> Patches:
    """Return a picture's patches from their projections, shape (h, w, c)."""
    vector = projected.mean(axis=(0, 1), dtype=np.float64)
    size = np.linalg.norm(vector)
    unit = projected / np.linalg.norm(projected, axis=-1, keepdims=True)
    smooth = ndimage.gaussian_filter(unit, SIGMA, axes=(0, 1))
    parts = projected / (projected[..., 0].size * size)
    return Patches(smooth, parts.astype(np.float32), (vector / size).astype(np.float32))


def prepared(pixels: NDArray[Any], crop: int) -> Array:
    """Return a picture as the model is fed it, 0..1, shape (crop, crop).

    Parameters
    ----------
    pixels : ndarray, shape (row, column)
        Any numbers; the lowest becomes 0, the highest 255, whole numbers between.
    crop : int
        Edge of the square cut from the middle, after the shorter side is brought to 512.
    """
    from PIL import Image

    values = pixels.astype(np.float64)
    values -= values.min()
    grey = (values / (values.max() or 1.0) * 255).astype(np.uint8)
    shorter = min(grey.shape)
    height, width = (RESIZED * n // shorter for n in grey.shape)
    resized = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    square = np.asarray(resized)[top : top + crop, left : left + crop]
    return square.astype(np.float32) / np.float32(255)


def extent(shape: tuple[int, int], crop: int) -> int:
    """Return the edge of the square that the model sees, in pixels of the picture."""
    return int(crop * min(shape) / RESIZED)


def over_picture(low: Array, shape: tuple[int, int], crop: int, mode: str = "bilinear") -> Array:
    """Return a map of patches as a picture, NaN outside the square that the model sees.

    Parameters
    ----------
    low : ndarray, shape (h, w)
    shape : (row, column)
        Of the picture.
    crop : int
    mode : {"bilinear", "nearest"}
    """
    import torch
    from torch.nn import functional

    edge = extent(shape, crop)
    small = torch.from_numpy(np.ascontiguousarray(low, dtype=np.float32))[None, None]
    aligned = {"align_corners": False} if mode == "bilinear" else {}
    square = functional.interpolate(small, size=(edge, edge), mode=mode, **aligned)[0, 0]
    out = np.full(shape, np.nan, np.float32)
    top, left = ((n - edge) // 2 for n in shape)
    out[top : top + edge, left : left + edge] = square.numpy()
    return out


def rendered(scan: Scan) -> Radiograph:
    """Render the frontal radiograph of a scan; the patient's left is on the right."""
    from napari_ctvlp.models.radiograph import FRONTAL, render

    (image,) = render(scan, (FRONTAL,), RENDERED_MM)
    return Radiograph(image.integrals, (RENDERED_MM, RENDERED_MM), "rendered")
