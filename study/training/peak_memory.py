"""Measure peak memory."""

import re
from pathlib import Path

import torch

GIB = 1024**3
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5): the peak of the resident set starts again from what is resident now


class PeakMemory:
    """The peak since the object was created.

    On a GPU, of the memory that PyTorch's allocator gave out. On a CPU, of the process's resident memory, libraries
    included (Linux, VmHWM).
    """

    def __init__(self, device: torch.device) -> None:
        """Reset the peak."""
        self._device, self._known = device, True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _CLEAR.write_text(_RESET_PEAK)
        except OSError:
            self._known = False  # not Linux, or a container without the permission

    def read(self) -> float | None:
        """Return the peak in GiB; None if the system does not report it."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        if not self._known:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        return None if found is None else int(found[1]) * 1024 / GIB
