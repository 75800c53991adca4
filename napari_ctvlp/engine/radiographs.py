"""Radiographs: opened as such, and searched for a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_ctvlp.core.encoding import Encoding
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.radiograph import Radiograph, RadiographMap
from napari_ctvlp.engine import cache, compute
from napari_ctvlp.engine.loaded import encoder, kept
from napari_ctvlp.errors import ModelRefused
from napari_ctvlp.io.radiograph import read_radiograph
from napari_ctvlp.models import store
from napari_ctvlp.models.protocol import Compute, Progress, silent

#: Card id of the encoder of radiographs.
MODEL = "biovil_t"


def open_radiograph(path: Path | str, *, progress: Progress = silent) -> Radiograph:
    """Open a radiograph: DX or CR in DICOM, PNG or JPEG.

    Parameters
    ----------
    path : Path or str
    progress : callable

    Raises
    ------
    InputRefused
        If it is anything else, slices of a CT above all.
    """
    progress(0.1, "reading")
    return read_radiograph(path)


def ground_radiograph(
    radiograph: Radiograph,
    phrase: str,
    model: str = MODEL,
    *,
    prior: Radiograph | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> RadiographMap:
    """Find where a radiograph resembles a phrase; the picture is encoded once.

    Parameters
    ----------
    radiograph : Radiograph
    phrase : str
        Read by the model as it stands, side and negation too.
    model : str
        Card id of an encoder of radiographs.
    prior : Radiograph, optional
        An earlier picture of the same patient, for a model that compares two (biovil_t).
    device : {"auto", "cuda", "mps", "cpu"}
    progress : callable

    Returns
    -------
    RadiographMap
        Cosines on the picture's own pixels, and that of the whole picture.

    Raises
    ------
    ModelRefused
        If the model reads no radiographs or no earlier ones, or its files are not there.

    Examples
    --------
    >>> from napari_ctvlp import ground_radiograph, open_radiograph
    >>> ground_radiograph(open_radiograph("chest.dcm"), "effusion").peak_index  # doctest: +SKIP
    (812, 301)
    """
    chosen = compute.choose(device, store.card(model))
    reader = _reader(model, chosen)
    key = cache.key_of(
        "radiograph", store.model_digest(store.card(model)), f"{chosen.device} {chosen.precision}",
        radiograph.digest, prior.digest if prior else "",
    )  # fmt: skip
    encoding: Encoding = kept(
        key, lambda: reader.encode_radiograph(radiograph, progress, prior), progress
    )
    progress(0.9, "phrase")
    (vector,) = reader.embed([phrase])
    values = reader.map_on(radiograph, encoding, vector)
    score = float(encoding.organs[""] @ vector.vector)
    compared = prior.digest if prior else ""
    return RadiographMap(values, parse(phrase), model, radiograph.digest, score, compared)


def _reader(model: str, chosen: Compute) -> Any:
    """Return an encoder that reads radiographs."""
    found = encoder(model, chosen)
    if not hasattr(found, "encode_radiograph"):
        raise ModelRefused(
            "no-radiographs",
            "a model that reads radiographs, such as biovil_t.",
            f"{model} reads CT only.",
            "Choose another model.",
        )
    return found
