"""How many jobs fit on one GPU, by their peak memory."""

import math

from study.config import ConfigError

CONTEXT_BYTES = 700 * 2**20
"""GPU memory of a process outside PyTorch's allocator: CUDA's context and the kernels of libraries."""
SAFE_SHARE = 0.9
"""Usable share of a GPU's memory: the allocator's peak varies between steps."""


def share_for(jobs: int) -> float:
    """Return the share of a GPU for each of `jobs` jobs, rounded down to 1e-4, the resolution of Ray."""
    return math.floor(10_000 / jobs) / 10_000


def jobs_on_a_gpu(peak_bytes: int, total_bytes: int) -> int:
    """Return how many jobs of a peak memory fit on one GPU, at least 1.

    Raises:
        ConfigError: the GPU is too small for one job.
    """
    needed = peak_bytes + CONTEXT_BYTES
    jobs = int(SAFE_SHARE * total_bytes / needed)
    if jobs == 0 and needed > total_bytes:
        raise ConfigError(
            f"a job needs {size_text(needed)}, but the GPU has {size_text(total_bytes)}; "
            "reduce budget.batch or budget.patch"
        )
    return max(1, jobs)


def size_text(size: float) -> str:
    """Return a size in bytes as text, in GiB or MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
