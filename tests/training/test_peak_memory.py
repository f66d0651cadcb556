"""The peak of memory, of work of a known size."""

import sys

import pytest
import torch

from study.training.peak_memory import GIB, PeakMemory

MIB_256 = 256 * 1024**2


def peak_of(elements: int, device: torch.device) -> float:
    memory = PeakMemory(device)
    held = torch.ones(elements, dtype=torch.uint8, device=device)
    held.add_(1)
    del held
    gib = memory.read()
    assert gib is not None
    return gib


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted so on Linux alone")
def test_of_a_process_it_starts_again_each_time() -> None:
    cpu = torch.device("cpu")
    peak_of(1, cpu)
    small, large, after = peak_of(1, cpu), peak_of(MIB_256, cpu), peak_of(1, cpu)
    assert large - small == pytest.approx(MIB_256 / GIB, rel=0.05)
    assert after - small < 0.05 * MIB_256 / GIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_of_a_gpu_it_is_what_was_given_out() -> None:
    gpu = torch.device("cuda")
    small, large = peak_of(1, gpu), peak_of(MIB_256, gpu)
    assert large - small == pytest.approx(MIB_256 / GIB, rel=0.01)
