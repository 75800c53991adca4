"""Labelled scans of a store asked for their findings, from kept tokens: what calibrates answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from napari_ctvlp.cohort.find import check_weights
from napari_ctvlp.cohort.store import Store, check_usable
from napari_ctvlp.cohort.thresholds import NO, YES
from napari_ctvlp.cohort.tokens import kept_tokens
from napari_ctvlp.core.anatomy import AnatomyMap
from napari_ctvlp.core.heatmap import Heatmap
from napari_ctvlp.core.parser import parse
from napari_ctvlp.core.vocabulary import findings
from napari_ctvlp.engine import compute, judging, verbs
from napari_ctvlp.engine.loaded import encoder
from napari_ctvlp.errors import InputRefused
from napari_ctvlp.io.result import Progress, silent
from napari_ctvlp.models import store as models


@dataclass(frozen=True)
class Labelled:
    """One labelled finding of one scan, and what the model says of it.

    Attributes
    ----------
    scan, finding : str
    there : bool
    heat : Heatmap
    anatomy : AnatomyMap
    """

    scan: str
    finding: str
    there: bool
    heat: Heatmap
    anatomy: AnatomyMap


def labelled(store: Store, device: str = "auto", progress: Progress = silent) -> Iterator[Labelled]:
    """Ask each scan with kept tokens for the findings it is labelled for.

    Parameters
    ----------
    store : Store
        Its labels are columns of the manifest named like a finding (``nodule``), with yes or no.
    device : str
    progress : callable

    Raises
    ------
    InputRefused
        ``no-labels`` when no scan has such a label and tokens; for a store that cannot be used.
    """
    check_usable(store, ("scans", "labels"))
    check_weights(store)
    rows = _labels(store)
    if not rows:
        raise InputRefused(
            "no-labels",
            "a store with tokens (ctvlp batch --tokens) and a label named like a finding.",
            f"{store.name} has none.",
            "Add a column such as 'nodule' with 1 and 0 to the manifest, and run ctvlp batch.",
        )
    model = str(store.info["model"])
    chosen = compute.choose(device, models.card(model))
    loaded, neutral = encoder(model, chosen), verbs.neutral(model, chosen)
    rivals, count = judging.rivals(loaded), len({row[0] for row in rows})
    for number, (scan, own) in enumerate(groupby(rows, lambda row: row[0])):
        progress(number / count, f"scan {scan}")
        kept = kept_tokens(store, scan)
        if kept is None:
            continue
        anatomy, encoding = kept
        for _, finding, there in own:
            phrase = parse(findings()[finding].title)
            heat = judging.answer(loaded, encoding, phrase, anatomy, neutral=neutral, rivals=rivals)
            yield Labelled(scan, finding, there, heat, anatomy)


def _labels(store: Store) -> list[tuple[str, str, bool]]:
    """Return scan, finding and truth of every label that names a finding."""
    connection = store.connect()
    query = (
        "SELECT scan, lower(replace(name, ' ', '_')), lower(value) FROM labels "
        "JOIN scans USING (scan) WHERE tokens ORDER BY ALL"
    )
    rows = connection.execute(query).fetchall()
    connection.close()
    known = findings()
    return [
        (s, name, value in YES) for s, name, value in rows if name in known and value in YES | NO
    ]
