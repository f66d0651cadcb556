"""In which numbers networks compute while they train.

`fp32` is float32 throughout. With `bf16`, PyTorch's autocast runs convolutions and matrix products in bfloat16, which
has float32's range and 8 bits of its digits. Weights, their averages, optimisers, images and losses stay float32
(METHODS 4.3 and 9.3 tell what becomes of losses otherwise), and so does every evaluation.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from study.config import Precision

# What Linux calls instructions that multiply bfloat16. Without them a CPU takes 2 to 13 times as long as for float32.
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_CPU_INFO = Path("/proc/cpuinfo")
# NVIDIA's from before Ampere, by Ray's names.
_ACCELERATOR = "accelerator_type:"
_WITHOUT_BFLOAT16 = ("V100", "P100", "T4", "P4", "K80")


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Where networks compute in a precision; losses belong outside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def fastest_precision(device: torch.device) -> Precision:
    """`bf16` where the device multiplies bfloat16 itself, else `fp32`."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _CPU_FLAGS & _cpu_flags() else "fp32"


def slow_note(precision: Precision, device: torch.device) -> list[str]:
    """What a person has to know who chose a precision that the device can only imitate, as zero or one sentence."""
    if precision == fastest_precision(device) or precision == "fp32":
        return []
    return [
        "This device has no instructions for bfloat16 and imitates them: --precision bf16 takes 2 to 13 times as long "
        "as fp32 here."
    ]


def fastest_of_cluster(resources: Mapping[str, float], *, on_gpu: bool) -> Precision:
    """The same for workers on a cluster's nodes, by the accelerators that Ray names among its resources."""
    old = any(f"{_ACCELERATOR}{name}" in resources for name in _WITHOUT_BFLOAT16)
    return "bf16" if on_gpu and not old else "fp32"


def _cpu_flags() -> set[str]:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # another system
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
