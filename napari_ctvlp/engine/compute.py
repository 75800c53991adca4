"""Where a model runs, how precisely, on how many threads, and whether it would fit.

Decided here for every model, never in an encoder.
"""

from __future__ import annotations

import os
from pathlib import Path

from napari_ctvlp.errors import OutOfResources
from napari_ctvlp.models.precision import fast_bfloat16
from napari_ctvlp.models.protocol import Compute, ModelCard

DEVICES = ("auto", "cuda", "mps", "cpu")
_CGROUP = Path("/sys/fs/cgroup")
_DEFAULT_BASE_MB = 500
_DEFAULT_BYTES_PER_VOXEL = 12


def choose(device: str, model: ModelCard) -> Compute:
    """Decide device, precision and threads of a run.

    Parameters
    ----------
    device : {"auto", "cuda", "mps", "cpu"}
        ``"auto"`` takes the fastest that is present; a model without weights runs on the CPU.
    model : ModelCard
        Its ``settings.precision`` maps devices to ``"float32"`` or ``"bfloat16"``, the latter
        where the processor is fast at it.

    Raises
    ------
    OutOfResources
        If a device is asked for that this machine lacks.
    """
    heavy = bool(model.weights or {"bundle", "package"} & set(model.settings))
    name = _present(device) if heavy and device != "cpu" else "cpu"
    precision = str(model.settings.get("precision", {}).get(name, "float32"))
    if precision == "bfloat16" and not fast_bfloat16(name):
        precision = "float32"
    return Compute(name, precision, cpu_threads())


def cpu_threads() -> int:
    """Return the CPU threads of a run: one core is left to the window.

    ``OMP_NUM_THREADS`` overrules it, as everywhere.
    """
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    return max(1, usable_cores() - 1)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(compute: Compute) -> None:
    """Tell torch how many threads it may use."""
    import torch

    if torch.get_num_threads() != compute.threads:
        torch.set_num_threads(compute.threads)


def estimate_bytes(voxels: int, model: ModelCard, ml: float = 0.0) -> int:
    """Estimate the memory in bytes that a run needs, from its card's ``settings.memory``.

    Parameters
    ----------
    voxels : int
        Of the scan.
    model : ModelCard
    ml : float
        Volume of the scan, for models with a grid of their own (``kb_per_ml``).
    """
    memory = model.settings.get("memory", {})
    base = int(memory.get("base_mb", _DEFAULT_BASE_MB)) * 2**20
    own = int(ml * float(memory.get("kb_per_ml", 0.0)) * 2**10)
    return base + own + voxels * int(memory.get("bytes_per_voxel", _DEFAULT_BYTES_PER_VOXEL))


def check_fits(voxels: int, model: ModelCard, compute: Compute, ml: float = 0.0) -> None:
    """Refuse a run that would not fit, before it starts.

    Raises
    ------
    OutOfResources
        If the estimate exceeds the memory that is free on the device.
    """
    needed, free = estimate_bytes(voxels, model, ml), free_bytes(compute.device)
    if needed > free:
        raise OutOfResources(
            "memory",
            f"{needed / 2**30:.1f} GB of free memory on {compute.device} for {model.id}.",
            f"{free / 2**30:.1f} GB are free.",
            "Close other programs, choose another device, or open a smaller part of the scan.",
        )


def free_bytes(device: str = "cpu") -> int:
    """Return the free memory of a device in bytes; a container's limit counts."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil  # type: ignore[import-untyped]

    return min(int(psutil.virtual_memory().available), _container_free())


def _present(device: str) -> str:
    """Return the device to use; torch is asked what there is."""
    import torch

    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present.insert(0, "cuda")
    if device == "auto":
        return present[0]
    if device not in present:
        raise OutOfResources(
            "no-device",
            f"one of these devices: auto, {', '.join(present)}.",
            f"This machine has no {device!r}.",
            "Choose another device.",
        )
    return device


def _container_free() -> int:
    """Return the bytes left under a Linux control group's limit, very many where none is set.

    File pages that the kernel can drop count as free.
    """
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        lines = (_CGROUP / "memory.stat").read_text().split("\n")
    except (OSError, ValueError):
        return 2**62
    stat = dict(line.split() for line in lines if line)
    return limit - used + int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
