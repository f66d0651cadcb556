"""Prefetched and resident batches are those of `Batches.at`."""

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from study.data import Batches, ImageSet, feed, make_pairs
from study.data.feed import ResidentBatches, fits_on_device
from study.data.second_order import SecondOrder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batches() -> Batches:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((40, 60), (33, 90), (101, 32))]
    return Batches(make_pairs(ImageSet.loaded("random", ("a", "b", "c"), images), 4), patch=24, batch=8, seed=3)


def same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(one.cpu(), other.cpu()) for one, other in zip(first, second, strict=True))


def test_batches_come_in_order_and_end(batches: Batches) -> None:
    with feed(batches, range(5, 12), CPU) as incoming:
        got = list(incoming)
    assert len(got) == 7
    assert all(same(batch, batches.at(step)) for batch, step in zip(got, range(5, 12), strict=True))


def test_ranks_share_a_batch(batches: Batches) -> None:
    with feed(batches, range(2), CPU, rank=1, ranks=4) as incoming:
        assert all(same(batch, batches.at(step, rank=1, ranks=4)) for step, batch in enumerate(incoming))


def test_no_batch_is_made_beyond_the_end_or_far_ahead(batches: Batches) -> None:
    requested: list[int] = []

    class Spy:
        def at(self, step: int, *, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
            requested.append(step)
            return batches.at(step, rank=rank, ranks=ranks)

    with feed(Spy(), range(100), CPU) as incoming:  # type: ignore[arg-type]
        next(incoming)
        next(incoming)
    assert requested == sorted(requested)
    assert max(requested) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_an_error_in_the_thread_is_raised_at_its_step(batches: Batches) -> None:
    class Damaged:
        def at(self, step: int, *, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
            if step == 3:
                raise ValueError("image 'x' is damaged")
            return batches.at(step, rank=rank, ranks=ranks)

    got = []
    with pytest.raises(ValueError, match="'x' is damaged"), feed(Damaged(), range(9), CPU) as incoming:  # type: ignore[arg-type]
        got.extend(incoming)
    assert len(got) <= 3


def test_resident_batches_are_the_same_bit_for_bit(batches: Batches) -> None:
    resident = ResidentBatches(batches, CPU)
    for step in range(20):  # 160 patches: all symmetries of all images
        assert same(resident.at(step), batches.at(step))
    assert same(resident.at(3, rank=2, ranks=4), batches.at(3, rank=2, ranks=4))
    assert {cut.symmetry for step in range(20) for cut in batches.cuts(step)} == set(range(8))


def test_a_set_fits_into_four_times_its_size(batches: Batches) -> None:
    pairs = batches.pairs
    size = sum(image.size for side in (pairs.hr, pairs.lq) for image in side)
    assert fits_on_device(batches, 4 * size)
    assert not fits_on_device(batches, 4 * size - 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("resident", [True, False])
def test_on_a_gpu(batches: Batches, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.data.feed.RESIDENT_SHARE", 0.25 if resident else 0.0)
    gpu = torch.device("cuda", 0)
    fresh = Batches(make_pairs(ImageSet("again", batches.pairs.names, batches.pairs.hr), 4), patch=24, batch=8, seed=3)
    with feed(fresh, range(6), gpu) as incoming:
        for step, batch in enumerate(incoming):
            assert batch[0].device == gpu
            assert same(batch, fresh.at(step))


def test_degraded_batches_equal_those_of_batches_at() -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (96, 80, 3), np.uint8) for seed in range(2)]
    pairs = make_pairs(ImageSet.loaded("random", ("a", "b"), images), 4)
    degraded = Batches(pairs, patch=64, batch=2, seed=3, degradation=SecondOrder())
    with feed(degraded, range(2), CPU) as incoming:
        assert all(same(batch, degraded.at(step)) for step, batch in enumerate(incoming))
    resident = ResidentBatches(degraded, CPU)
    assert same(resident.at(1), degraded.at(1))
