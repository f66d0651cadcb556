"""How much memory a piece of work takes at most."""

import re
from pathlib import Path

import torch

GIB = 1024**3
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5): the peak of the resident set starts again from what is resident now


class PeakMemory:
    """The peak from the moment on when it is made.

    On a GPU, of what PyTorch's allocator gave out on the device. On a CPU, of the process's resident memory, libraries
    included, as Linux counts it.
    """

    def __init__(self, device: torch.device) -> None:
        """Start."""
        self._device, self._known = device, True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _CLEAR.write_text(_RESET_PEAK)
        except OSError:
            self._known = False  # another system, or a container that forbids it

    def read(self) -> float | None:
        """In GiB; None where nobody can tell."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        if not self._known:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        return None if found is None else int(found[1]) * 1024 / GIB
