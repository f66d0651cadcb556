"""How many jobs share a GPU, by the memory that one needs."""

import math

from study.config import ConfigError

CONTEXT_BYTES = 700 * 2**20
"""GPU memory of a process beside PyTorch's: CUDA's context and libraries' kernels."""
SAFE_SHARE = 0.9
"""Share of a GPU's memory that is given out: the allocator's needs vary a little from step to step."""


def share_for(jobs: int) -> float:
    """Return the part of a GPU for each of some jobs, in the ten-thousandths that Ray counts in (it refuses finer ones)."""
    return math.floor(10_000 / jobs) / 10_000


def jobs_on_a_gpu(peak_bytes: int, total_bytes: int) -> int:
    """Return how many jobs of a memory need fit one GPU, safely.

    Raises:
        ConfigError: not even one.
    """
    needed = peak_bytes + CONTEXT_BYTES
    jobs = int(SAFE_SHARE * total_bytes / needed)
    if jobs == 0 and needed > total_bytes:
        raise ConfigError(
            f"a job needs {size_text(needed)}, but the GPU has {size_text(total_bytes)}; "
            "take a smaller budget.batch or budget.patch"
        )
    return max(1, jobs)


def size_text(size: float) -> str:
    """Return bytes as people read them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
