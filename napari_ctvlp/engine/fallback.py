"""What a run is expected to cost, and what is done when its memory runs out after all."""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from napari_ctvlp.core.scan import Scan
from napari_ctvlp.engine import cache, compute, loaded
from napari_ctvlp.errors import OutOfResources
from napari_ctvlp.models.protocol import Compute, ModelCard, Progress

Noun = TypeVar("Noun")
_LOG = logging.getLogger(__name__)
#: What is left of a model's usual tiles after its memory ran out once.
SMALLER = 0.25


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need.

    Attributes
    ----------
    memory_bytes : int
        From the model's card, beside the scan itself.
    seconds : float
        From the last run of this model on this device, by volume; NaN before the first.
    """

    memory_bytes: int
    seconds: float

    def __str__(self) -> str:
        """Return it in words."""
        memory = f"about {self.memory_bytes / 2**30:.1f} GB"
        if math.isnan(self.seconds):
            return f"{memory}; the time is known after the first run"
        time_words = (
            f"{self.seconds / 60:.0f} min" if self.seconds >= 90 else f"{self.seconds:.0f} s"
        )
        return f"{memory} and {time_words}"


def estimate(scan: Scan, model: ModelCard, device: str) -> Estimate:
    """Estimate memory and time of a run before it starts.

    Parameters
    ----------
    scan : Scan
    model : ModelCard
    device : str
        A torch device name, or ``"auto"`` for whichever the model ran on last.
    """
    litres = scan.hu.size * scan.voxel_ml / 1000
    rates = _rates().get(model.id, {})
    rate = list(rates.values())[-1] if device == "auto" and rates else rates.get(device, math.nan)
    needed = compute.estimate_bytes(scan.hu.size, model, litres * 1000)
    return Estimate(needed, rate * litres)


def steps(chosen: Compute, model: ModelCard) -> list[Compute]:
    """Return where a run is tried, one after the other.

    As it was chosen; in smaller tiles, for a model that has any (its card's
    ``settings.memory.tiles``); on the CPU, the same two again.
    """
    tiled = bool(model.settings.get("memory", {}).get("tiles", False))
    devices = [chosen]
    if chosen.device != "cpu":
        devices.append(compute.choose("cpu", model))
    return [
        step
        for device in devices
        for step in ([device, replace(device, tiles=SMALLER)] if tiled else [device])
    ]


def run_somewhere(
    scan: Scan,
    model: ModelCard,
    chosen: Compute,
    run: Callable[[Compute, Progress], Noun],
    progress: Progress,
) -> Noun:
    """Run on the chosen device; when its memory runs out, in smaller tiles, then on the CPU.

    Earlier results are kept. The user is told with every report of progress and in the log.

    Parameters
    ----------
    scan, model, chosen
    run : callable
        Given where to run and where to report.
    progress : callable

    Raises
    ------
    OutOfResources
        If it does not fit anywhere.
    """
    plan, notice = steps(chosen, model), ""
    for number, step in enumerate(plan):
        try:
            return _timed(scan, model, step, run, _noticed(progress, notice))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if number + 1 == len(plan):
                raise _nowhere(model, plan, error) from error
            following = plan[number + 1]
            where = "in smaller tiles" if following.tiles < step.tiles else f"on {following.device}"
            notice = f"memory of {step.device} ran out, now {where}"
            _LOG.warning("%s: %s", model.id, notice)
        _free()
    raise AssertionError("a plan has a last step")


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for every way in which memory runs out, and for a run refused beforehand."""
    if isinstance(error, OutOfResources):
        return error.code == "memory"
    words = str(error).lower()
    known = ("out of memory", "not enough memory", "failed to allocate")
    return isinstance(error, MemoryError) or any(word in words for word in known)


def _timed(
    scan: Scan,
    model: ModelCard,
    step: Compute,
    run: Callable[[Compute, Progress], Noun],
    progress: Progress,
) -> Noun:
    """Check that a run fits, tell what it will cost, run it and remember how long it took."""
    litres = scan.hu.size * scan.voxel_ml / 1000
    compute.check_fits(scan.hu.size, model, step, litres * 1000)
    progress(0.0, f"{estimate(scan, model, step.device)} on {step.device}")
    start = time.monotonic()
    result = run(step, progress)
    rates = _rates()
    own = {name: rate for name, rate in rates.get(model.id, {}).items() if name != step.device}
    rates[model.id] = {**own, step.device: (time.monotonic() - start) / litres}
    _keep(rates)
    return result


def _noticed(progress: Progress, notice: str) -> Progress:
    if not notice:
        return progress
    return lambda share, stage: progress(share, f"{stage} ({notice})")


def _free() -> None:
    """Let go of models and of what their device still holds."""
    loaded.forget_models()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _rates() -> dict[str, dict[str, float]]:
    """Seconds per litre of scan, by model and device; of the last runs here."""
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(rates: dict[str, dict[str, float]]) -> None:
    half = _path().with_suffix(f".{os.getpid()}.part")
    try:
        half.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half.write_text(json.dumps(rates), encoding="utf-8")
        half.replace(_path())
    except OSError:
        _LOG.debug("run times could not be kept")


def _path() -> Path:
    return cache.cache_folder() / "seconds-per-litre.json"


def _nowhere(model: ModelCard, plan: list[Compute], error: Exception) -> OutOfResources:
    if isinstance(error, OutOfResources):
        return error
    tried = ", ".join(
        step.device + (" in smaller tiles" if step.tiles < 1 else "") for step in plan
    )
    return OutOfResources(
        "memory",
        f"enough memory for {model.id}.",
        f"The memory ran out (tried: {tried}).",
        "Close other programs, choose another model, or open a smaller part of the scan. "
        "Earlier results are kept.",
    )
