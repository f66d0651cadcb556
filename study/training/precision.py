"""The number format of networks in training.

`fp32` is float32 throughout. With `bf16`, PyTorch's autocast runs convolutions and matrix products in bfloat16, which
has float32's range and 8 significant bits. Weights, their averages, optimisers, images and losses stay float32, because
losses of small differences lose their digits otherwise, and so does every evaluation.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from study.config import Precision

# Linux's names of CPU instructions for bfloat16. Without them bfloat16 takes 2 to 13 times as long as float32.
_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_CPU_INFO = Path("/proc/cpuinfo")
# NVIDIA's GPUs before Ampere, by Ray's names.
_ACCELERATOR = "accelerator_type:"
_WITHOUT_BFLOAT16 = ("V100", "P100", "T4", "P4", "K80")


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the autocast context of a precision; losses belong outside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def fastest_precision(device: torch.device) -> Precision:
    """Return `bf16` if the device has instructions for bfloat16, else `fp32`."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _CPU_FLAGS & _cpu_flags() else "fp32"


def slow_note(precision: Precision, device: torch.device) -> list[str]:
    """Return a sentence if the device only emulates the precision, else nothing."""
    if precision == fastest_precision(device) or precision == "fp32":
        return []
    return [
        "This device has no instructions for bfloat16 and emulates them: --precision bf16 takes 2 to 13 times as long "
        "as fp32 here."
    ]


def fastest_of_cluster(resources: Mapping[str, float], *, on_gpu: bool) -> Precision:
    """Return the same for the nodes of a cluster, from the accelerators among Ray's resources."""
    old = any(f"{_ACCELERATOR}{name}" in resources for name in _WITHOUT_BFLOAT16)
    return "bf16" if on_gpu and not old else "fp32"


def _cpu_flags() -> set[str]:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # not Linux
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
