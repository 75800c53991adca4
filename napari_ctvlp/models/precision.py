"""Whether this machine's processor is fast at bfloat16: many are not, and then very slow."""

from __future__ import annotations

from functools import cache

#: Crops below this many voxels a side are learnt in single precision on the CPU: the coarsest
#: level of our networks has 2 cells a side there, and oneDNN's gradient of such a level in bfloat16
#: differs from run to run and may be NaN (torch 2.13, AVX-512; from 3 cells on it never did).
LEAST_CROP = 24


@cache
def fast_bfloat16(device: str = "cpu") -> bool:
    """Say whether convolutions in bfloat16 have a kernel of their own on a kind of device.

    Without one (x86 below AVX-512, older ARM) torch falls back to plain loops: the embedded
    tower took 36 times as long as in single precision.
    """
    import torch

    if device != "cpu":
        return True

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch built without oneDNN
        return False


def learns_in_bfloat16(size: int, device: str = "cpu") -> bool:
    """Say whether crops of ``size`` voxels a side are learnt in bfloat16 on a kind of device."""
    return fast_bfloat16(device) and (device != "cpu" or size >= LEAST_CROP)
