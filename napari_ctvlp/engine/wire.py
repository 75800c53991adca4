"""Nouns to JSON plus arrays and back: how results reach the disk and cross a pipe.

No pickle: only the nouns listed here are ever built, through their own constructors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ctvlp import errors
from napari_ctvlp.core.anatomy import AnatomyMap, Organ
from napari_ctvlp.core.checking import ReportRow, ReportTable
from napari_ctvlp.core.checks import Curves, Erasure, Reading, WeightCheck
from napari_ctvlp.core.components import Component, Cut
from napari_ctvlp.core.drafting import Draft, DraftLine
from napari_ctvlp.core.encoding import AttentionMaps, Encoding, EncodingSummary, TokenGrid
from napari_ctvlp.core.findings import FindingRow, FindingsTable
from napari_ctvlp.core.heatmap import Background, Gate, Heatmap, Wording
from napari_ctvlp.core.locality import Likeness
from napari_ctvlp.core.looking import Attention, PlaceWords, Relevance
from napari_ctvlp.core.phrase import Phrase, Span
from napari_ctvlp.core.radiograph import Radiograph, RadiographMap
from napari_ctvlp.core.scan import Message, Scan, ScanMeta, Source
from napari_ctvlp.core.surface import Surfaces

#: What JSON, a noun or one of its fields can be.
Value = Any
Put = Callable[[NDArray[Any]], str]
Get = Callable[[str], NDArray[Any]]

_SCANS = (Scan, Source, ScanMeta, Message, AnatomyMap, Organ, Surfaces)
_ENCODINGS = (Encoding, TokenGrid, EncodingSummary, AttentionMaps)
_ANSWERS = (Heatmap, Gate, Background, Wording, Phrase, Span, FindingsTable, FindingRow)
_REPORTS = (ReportTable, ReportRow, Draft, DraftLine)
_PICTURES = (Radiograph, RadiographMap)
_PLACES = (Cut, Component, Likeness)
_EVIDENCE = (Attention, Relevance, PlaceWords, Reading, WeightCheck, Curves, Erasure)
_LISTED = (*_SCANS, *_ENCODINGS, *_ANSWERS, *_REPORTS, *_PICTURES, *_PLACES, *_EVIDENCE)
NOUNS = {noun.__name__: noun for noun in _LISTED}
_ERRORS = (
    errors.CtvlpError,
    errors.InputRefused,
    errors.ModelRefused,
    errors.JobCancelled,
    errors.WorkerFailed,
    errors.OutOfResources,
)
ERRORS = {error.__name__: error for error in _ERRORS}
#: Arrays of at most so many elements are written into the JSON itself.
INLINE = 256


def pack(value: Value, put: Put) -> Value:
    """Turn a noun into what JSON can hold.

    Parameters
    ----------
    value : noun, container, number, text or array
    put : callable
        Stores one large array and returns the name to find it by.

    Raises
    ------
    TypeError
        For a value that is no noun; a fault of the program.
    """
    match value:
        case None | bool() | int() | float() | str():
            packed: Value = value
        case np.generic():
            packed = value.item()
        case Path():
            packed = {"path": str(value)}
        case np.ndarray():
            packed = _pack_array(value, put)
        case tuple() | list():
            packed = {"tuple": [pack(item, put) for item in value]}
        case Mapping():
            packed = {"map": {str(key): pack(item, put) for key, item in value.items()}}
        case _:
            packed = _pack_noun(value, put)
    return packed


def unpack(value: Value, get: Get) -> Value:
    """Undo :func:`pack`; ``get`` finds a stored array by its name."""
    match value:
        case {"path": path}:
            found: Value = Path(path)
        case {"array": name}:
            found = get(name)
        case {"small": numbers, "dtype": dtype, "shape": shape}:
            found = np.array(numbers, dtype=dtype).reshape(shape)
        case {"tuple": items}:
            found = tuple(unpack(item, get) for item in items)
        case {"map": table}:
            found = {key: unpack(item, get) for key, item in table.items()}
        case {"noun": name, "fields": table}:
            found = NOUNS[name](**{key: unpack(item, get) for key, item in table.items()})
        case _:
            found = value
    return found


def pack_error(error: errors.CtvlpError) -> dict[str, str]:
    """Turn an error into its class name and four parts."""
    return {"type": type(error).__name__, **error.as_dict()}


def unpack_error(parts: Mapping[str, str]) -> errors.CtvlpError:
    """Undo :func:`pack_error`; an unknown class becomes a plain ``CtvlpError``."""
    kind = ERRORS.get(parts["type"], errors.CtvlpError)
    return kind(parts["code"], parts["expected"], parts["found"], parts["advice"])


def _pack_noun(noun: Value, put: Put) -> dict[str, Value]:
    name = type(noun).__name__
    if NOUNS.get(name) is not type(noun):
        raise TypeError(f"a {name} is no noun that can be stored")
    fields = [field.name for field in dataclasses.fields(noun) if field.init]
    return {"noun": name, "fields": {field: pack(getattr(noun, field), put) for field in fields}}


def _pack_array(array: NDArray[Any], put: Put) -> dict[str, Value]:
    if array.size > INLINE:
        return {"array": put(array)}
    return {
        "small": array.ravel().tolist(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }
