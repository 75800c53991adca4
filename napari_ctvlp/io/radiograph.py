"""Reader of radiographs: DX and CR in DICOM, PNG and JPEG pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp.core.radiograph import Radiograph
from napari_ctvlp.core.scan import Message
from napari_ctvlp.io.dicom.frames import frames_of
from napari_ctvlp.io.dicom.headers import Header, find_files, is_dicom, quiet
from napari_ctvlp.io.dicom.pixels import read_padded
from napari_ctvlp.io.result import plain_text, refused, safe_text
from napari_ctvlp.io.stream import corrupt, judged

#: Modalities of DICOM that are one projection on a plate or a detector.
MODALITIES = frozenset({"CR", "DX", "RG"})
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: A radiograph has no place in the patient, so nothing of it can be missing.
_NEEDLESS = frozenset(
    {"no-geometry", "no-position", "no-orientation", "no-pixel-spacing", "bad-spacing"}
)
_ADVICE = "Open one DX or CR file, or a PNG or JPEG of a radiograph."


def read_radiograph(path: Path | str) -> Radiograph:
    """Read one radiograph; the content decides, never the name.

    Parameters
    ----------
    path : Path or str
        A DICOM file of the modality DX, CR or RG, a PNG or a JPEG.

    Returns
    -------
    Radiograph
        Pixels as stored, rescaled once, turned round where the file says that low is bright
        (MONOCHROME1). Padding is background: as dark as the darkest pixel of the picture. A
        window of the file is kept for showing and not applied.

    Raises
    ------
    InputRefused
        If the path holds something else, slices of a CT above all.
    """
    path = Path(path)
    try:
        if is_dicom(path):
            return _from_dicom(path)
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise refused(
            "no-such-file",
            "a file that can be read.",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check the path and your rights to it.",
        ) from None
    if start.startswith(_PICTURES):
        return _from_picture(path)
    raise refused("not-a-radiograph", "a radiograph.", f"{path.name} is none.", _ADVICE)


def _from_dicom(path: Path) -> Radiograph:
    found = find_files(path)
    if found.broken:
        raise found.broken[0][1]
    header = found.headers[0]
    modality = header.text("Modality")
    if modality not in MODALITIES:
        raise refused(
            "not-a-radiograph",
            "a radiograph (modality DX, CR or RG).",
            f"{header.name} is of the modality {modality or 'nothing'}.",
            "Open a scan with 'Open a CT'; a slice of it is no radiograph.",
        )
    frame, *more = frames_of(header)
    if more:
        raise refused("not-a-radiograph", "one picture.", f"{header.name} is a film.", _ADVICE)
    if frame.defect is not None and frame.defect.code not in _NEEDLESS:
        raise frame.defect
    with judged(path), quiet():
        pixels, padding = read_padded(frame)
        window = _window(header)
    seen = pixels if padding.all() else pixels[~padding]
    if header.text("PhotometricInterpretation") == "MONOCHROME1":
        ends = seen.max() + seen.min()
        pixels, seen = ends - pixels, ends - seen
        window = (float(ends) - window[1], float(ends) - window[0]) if window else None
    if not padding.all():
        pixels[padding] = seen.min()
    spacing = _pair(header, "PixelSpacing") or _pair(header, "ImagerPixelSpacing")
    view = plain_text(header.text("ViewPosition"), 8)
    odd = _odd(pixels, view, header, float(padding.mean()))
    return Radiograph(pixels, spacing, view, window, header.label, odd)


def _from_picture(path: Path) -> Radiograph:
    from PIL import Image

    try:
        with judged(path), Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    except OSError as error:  # what Pillow raises for damage as well
        raise corrupt(path, str(error)) from error
    if pixels.ndim == 3:
        grey = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
        if np.ptp(grey.astype(np.int32), axis=2).any():
            raise refused("colour", "shades of grey.", f"{path.name} is in colour.", _ADVICE)
        pixels = grey[..., 0]
    if pixels.dtype == np.bool_:
        raise refused("not-a-radiograph", "shades of grey.", f"{path.name} is black or white.",
                      _ADVICE)  # fmt: skip
    note = Message(
        "no-polarity",
        "A picture file says neither which side is left nor whether bones are bright: "
        "bones are taken as bright.",
    )
    return Radiograph(pixels, series=safe_text(path.stem), warnings=(note,))


def _window(header: Header) -> tuple[float, float] | None:
    """Return the first window of the file as its lowest and highest value."""
    centres, widths = _numbers(header, "WindowCenter"), _numbers(header, "WindowWidth")
    if not centres or not widths or widths[0] <= 0:
        return None
    return centres[0] - widths[0] / 2, centres[0] + widths[0] / 2


def _pair(header: Header, keyword: str) -> tuple[float, float] | None:
    """Return two lengths over 0, or None."""
    values = _numbers(header, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _numbers(header: Header, keyword: str) -> list[float]:
    """Return the numbers of an element; empty where one is none."""
    value = header.data.get(keyword)
    items = [] if value is None else np.atleast_1d(np.asarray(value)).tolist()
    try:
        return [float(item) for item in items]
    except ValueError:
        return []


def _odd(pixels: NDArray[Any], view: str, header: Header, padded: float) -> tuple[Message, ...]:
    """What the user must know of a DICOM radiograph; ``padded`` is a share of its pixels."""
    out = []
    if padded:
        words = f"{padded:.0%} of the picture is padding; it is shown as background."
        out.append(Message("padding", words))
    if view and not view.startswith(("PA", "AP")):
        words = f"The view is {view}; the model was trained on frontal pictures."
        out.append(Message("not-frontal", words))
    if pixels.min() == pixels.max():
        out.append(Message("flat", f"Every pixel of {header.name} has the same value."))
    return tuple(out)
