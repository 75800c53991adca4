"""``ctvlp evaluate STORE --calibrate``: the three answers set by a cohort's labelled scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ctvlp.cli.output import Outputs, say, terminal_progress
from napari_ctvlp.errors import InputRefused

if TYPE_CHECKING:
    from napari_ctvlp.evaluation.absence.pairs import Pair


def from_store(folder: Path, device: str, *, calibrate: bool, out: Path | None) -> None:
    """Count the answers to a store's labelled scans, and keep the absence check fitted to them.

    Raises
    ------
    InputRefused
        ``no-labels``, ``too-few``, or for a store that cannot be used.
    """
    from napari_ctvlp.cohort.inputs import IdMap
    from napari_ctvlp.cohort.labelled import labelled
    from napari_ctvlp.cohort.store import Store
    from napari_ctvlp.core.extent import cut_organs
    from napari_ctvlp.evaluation.absence.pairs import Pair

    store = Store(folder)
    ids = IdMap(store).rows
    pairs: list[Pair] = []
    rows: list[dict[str, Any]] = []
    for one in labelled(store, device, terminal_progress()):
        heat, patient = one.heat, ids.get(one.scan, {}).get("id") or one.scan
        cut = cut_organs(heat.phrase, one.anatomy)
        pairs.append(
            Pair(
                patient, one.finding, one.there, heat.peak, 0.5, heat.clues, heat.doubt, cut,
                heat.naive,
            )
        )  # fmt: skip
        rows.append(
            {"scan": one.scan, "finding": one.finding, "there": one.there, "answer": heat.verdict}
        )
    for there, words in ((True, "labelled as there"), (False, "labelled as not there")):
        own = [row["answer"] for row in rows if row["there"] == there]
        told = ", ".join(f"{own.count(v)} {v}" for v in ("present", "absent", "cannot tell"))
        say(f"{len(own)} {words}: {told}.")
    if out:
        with Outputs(folder) as outputs:
            outputs.write_json(out, {"store": store.name, "answers": rows})
    if calibrate:
        _keep(pairs, str(store.info["model"]), store.name)


def _keep(pairs: list[Pair], model: str, name: str) -> None:
    """Fit the absence check to the pairs, named after the store."""
    from napari_ctvlp.engine import calibrations
    from napari_ctvlp.evaluation.absence.fit import fit
    from napari_ctvlp.evaluation.own.measure import LEAST
    from napari_ctvlp.models.store import card

    used = [pair for pair in pairs if pair.clues and not pair.doubt]
    kinds = [sum(pair.there == kind for pair in used) for kind in (True, False)]
    if min(kinds) < LEAST or len({pair.scan for pair in used}) < 2:
        raise InputRefused(
            "too-few",
            f"{LEAST} labelled answers of each kind, and two patients.",
            f"{kinds[0]} there and {kinds[1]} not there can be used.",
            "Label more scans.",
        )
    source = f"own store {name}, {len(used)} labelled answers"
    path = calibrations.own(model)
    calibrations.save(fit(used, model, calibrations.weights_of(card(model)), source), path)
    say(f"From now on {model} answers by {source}; delete {path.name} to go back.")
