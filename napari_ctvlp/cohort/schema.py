"""What a store holds: its tables, their columns, their units, and the version of all that.

``docs/cohorts.md`` prints :data:`TABLES`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from napari_ctvlp.errors import InputRefused

FORMAT = "ctvlp cohort"
#: Raised whenever a column changes its name, its type or its meaning.
VERSION = 1


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
    kind : {"text", "texts", "flag", "count", "number", "numbers", "vector"}
        Parquet string, list of strings, boolean, int32, float64, list of float64, list of
        float32.
    words : str
        Meaning and unit.
    """

    name: str
    kind: str
    words: str


_SCAN = Column("scan", "text", "number of the scan in this store, `000001` and on")
TABLES: dict[str, tuple[Column, ...]] = {
    "scans": (
        _SCAN,
        Column("state", "text", "`done` or `failed`"),
        Column("error_kind", "text", "class of the error of a failed scan"),
        Column("error_code", "text", "its code, see `docs/codes.md`"),
        Column("error", "text", "its words; names of files stand as `(file)`"),
        Column("digest", "text", "SHA-256 over voxels and affine"),
        Column("modality", "text", "`CT`, or empty where the format does not say"),
        Column("unit", "text", "`HU`"),
        Column("warnings", "texts", "codes of what one must know"),
        Column("notices", "texts", "codes of what was merely done"),
        Column("shape_i", "count", "voxels toward inferior"),
        Column("shape_p", "count", "voxels toward posterior"),
        Column("shape_l", "count", "voxels toward the patient's left"),
        Column("spacing_i", "number", "mm toward inferior"),
        Column("spacing_p", "number", "mm toward posterior"),
        Column("spacing_l", "number", "mm toward the patient's left"),
        Column("affine", "numbers", "voxel (i, p, l) to RAS mm, 4 x 4 row by row"),
        Column("segmenter", "text", "card of the segmenter"),
        Column("segmenter_digest", "text", "SHA-256 over its card and weights"),
        Column("model", "text", "card of the encoder"),
        Column("model_digest", "text", "SHA-256 over its card and weights"),
        Column("encoding", "text", "SHA-256 over all tokens and organ vectors"),
        Column("device", "text", "where the encoder ran"),
        Column("precision", "text", "and in which precision"),
        Column("threads", "count", "CPU threads; other numbers may change the last bits"),
        Column("tokens", "flag", "whether `tokens/` holds its tokens and labels"),
        Column("recipe", "text", "SHA-256 over input, models, phrases, own words: else stale"),
    ),
    "organs": (
        _SCAN,
        Column("organ", "text", "house name, as `ctvlp segment` prints it"),
        Column("ml", "number", "volume inside the scan, ml"),
        Column("mean_hu", "number", "mean HU; empty for an organ without voxels"),
        Column("complete", "flag", "false where the field of view cuts it"),
    ),
    "findings": (
        _SCAN,
        Column("organ", "text", "house name"),
        Column("finding", "text", "house name"),
        Column("present", "number", "similarity to the finding, as `ctvlp score` prints it"),
        Column("absent", "number", "similarity to its absence"),
        Column("margin", "number", "present - absent"),
        Column("probability", "number", "the model's own, not calibrated; empty where it has none"),
        Column("support", "text", "empty, or why the model cannot judge the row"),
        Column("percentile", "number", "per cent of the store's judged scans with a lower margin"),
        Column("verdict", "text", "`present`, `absent` or `cannot tell`, from the percentile"),
    ),
    "phrases": (
        _SCAN,
        Column("phrase", "text", "as in the file of phrases"),
        Column("verdict", "text", "as `ctvlp ground` prints it"),
        Column("reason", "text", "its sentence"),
        Column("peak", "number", "highest allowed value, in the unit of `kind`"),
        Column("peak_r", "number", "RAS mm of the peak: toward the patient's right"),
        Column("peak_a", "number", "toward anterior"),
        Column("peak_s", "number", "toward superior"),
        Column("margin", "number", "peak less the threshold; negated: the reverse"),
        Column("volume_ml", "number", "ml of allowed cells at or above the threshold"),
        Column("p_value", "number", "how often neutral phrases reach the peak"),
        Column("kind", "text", "`probability`, `cosine` or `split`"),
        Column("organ", "text", "the model's organ whose window was read, or empty"),
        Column("score", "number", "similarity of that organ; empty where the model has none"),
    ),
    "vectors": (
        _SCAN,
        Column("organ", "text", "the model's organ; empty for the mean of all tokens"),
        Column("vector", "vector", "as the encoder pooled it"),
    ),
    "labels": (
        _SCAN,
        Column("name", "text", "column of the manifest"),
        Column("value", "text", "as it stands there"),
    ),
}  # fmt: skip
#: Written by the reader, not by a run.
MARKS = (
    _SCAN,
    Column("mark", "text", "`accept` or `reject`"),
    Column("date", "text", "UTC, ISO 8601"),
)
#: What rows of a table are ordered by.
ORDER = {
    "scans": ("scan",), "organs": ("scan", "organ"), "findings": ("scan", "organ", "finding"),
    "phrases": ("scan", "phrase"), "vectors": ("scan", "organ"), "labels": ("scan", "name"),
}  # fmt: skip
SQL_TYPES = {
    "text": "VARCHAR", "texts": "VARCHAR[]", "flag": "BOOLEAN", "count": "INTEGER",
    "number": "DOUBLE", "numbers": "DOUBLE[]", "vector": "FLOAT[]",
}  # fmt: skip


def arrow_type(kind: str) -> Any:
    """Return the pyarrow type of a column's kind."""
    pa = need("pyarrow")
    return {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "flag": pa.bool_(),
        "count": pa.int32(),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "vector": pa.list_(pa.float32()),
    }[kind]


@cache
def arrow_schema(columns: tuple[Column, ...]) -> Any:
    """Return the pyarrow schema of a table, with the version in its metadata."""
    pa = need("pyarrow")
    fields = [(column.name, arrow_type(column.kind)) for column in columns]
    return pa.schema(fields, metadata={"ctvlp_schema": str(VERSION)})


@cache
def commit_schema() -> Any:
    """Return the pyarrow schema of a commit: one row, each table a list of its rows in it."""
    pa = need("pyarrow")
    kinds = [(name, pa.list_(pa.struct(arrow_schema(TABLES[name])))) for name in TABLES]
    return pa.schema(kinds, metadata={"ctvlp_schema": str(VERSION)})


def need(name: str) -> Any:
    """Import a package of the extra ``cohorts``.

    Raises
    ------
    InputRefused
        ``package-missing`` when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise InputRefused(
            "package-missing",
            "the packages of the extra 'cohorts'.",
            f"{name.partition('.')[0]} is not installed.",
            'Install them: pip install "napari-ctvlp[cohorts]".',
        ) from None
