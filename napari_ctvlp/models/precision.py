"""Whether this machine's processor is fast at bfloat16: many are not, and then very slow."""

from __future__ import annotations

from functools import cache


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
