"""The batch is a pure function of (seed, step); crops are aligned and uniformly distributed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from study.data import Batches, ImageSet, Pairs, make_pairs
from study.data.image_set import LoadedImages
from study.data.second_order import SecondOrder, second_order

SCALE = 4


def coordinate_pairs(*lq_shapes: tuple[int, int]) -> Pairs:
    """Pairs whose pixel values are their place: (row, column, image) on the low-quality grid, on both sides."""
    lq = []
    for number, (height, width) in enumerate(lq_shapes):
        rows, columns = np.mgrid[:height, :width]
        lq.append(np.stack([rows, columns, np.full_like(rows, number)], axis=2).astype(np.uint8))
    hr = [image.repeat(SCALE, axis=0).repeat(SCALE, axis=1) for image in lq]
    return Pairs(tuple(f"image{number}" for number in range(len(lq))), LoadedImages(hr), LoadedImages(lq), SCALE)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((40, 60), (33, 90), (100, 32)))
    return make_pairs(ImageSet.loaded("random", ("a", "b", "c"), images), SCALE)


def same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def levels(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] to (N, H, W, 3) integers."""
    return (images * 255).round().permute(0, 2, 3, 1).numpy().astype(int)


def test_shapes_and_ranges(pairs: Pairs) -> None:
    lq, hr = Batches(pairs, patch=16, batch=6, seed=0).at(3)
    assert (lq.shape, hr.shape) == ((6, 3, 4, 4), (6, 3, 16, 16))
    for images in (lq, hr):
        assert images.dtype == torch.float32
        assert images.is_contiguous()
        assert torch.equal(images, (images * 255).round() / 255)
        assert images.min() >= 0
        assert images.max() <= 1
    assert hr.max() > 0.9


def test_a_batch_does_not_depend_on_earlier_calls(pairs: Pairs) -> None:
    forward = Batches(pairs, patch=16, batch=5, seed=11)
    expected = [forward.at(step) for step in range(8)]
    backward = Batches(pairs, patch=16, batch=5, seed=11)
    np.random.seed(1)  # the global states must not matter either
    torch.manual_seed(1)
    for step in [7, 0, 3, 3, 6, 1, 5, 2, 4, 0]:
        assert same(backward.at(step), expected[step])


def test_seeds_and_steps_give_different_batches(pairs: Pairs) -> None:
    far = 2**40
    batches = [
        Batches(pairs, patch=16, batch=4, seed=seed).at(step)[1] for seed in (0, 1, 2**63) for step in (0, 1, far)
    ]
    distinct = {batch.numpy().tobytes() for batch in batches}
    assert len(distinct) == 9


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_the_union_over_ranks_is_the_batch(pairs: Pairs, ranks: int) -> None:
    batches = Batches(pairs, patch=16, batch=6, seed=5)
    whole = batches.at(9)
    for rank in range(ranks):
        part = batches.at(9, rank=rank, ranks=ranks)
        assert same(part, (whole[0][rank::ranks], whole[1][rank::ranks]))


def test_a_smaller_batch_is_the_beginning_of_a_larger_one(pairs: Pairs) -> None:
    small, large = (Batches(pairs, patch=16, batch=batch, seed=5).at(2) for batch in (4, 7))
    assert same(small, (large[0][:4], large[1][:4]))


def test_both_patches_have_the_same_place_and_symmetry() -> None:
    batches = Batches(coordinate_pairs((20, 30), (25, 9)), patch=32, batch=16, seed=0)
    for step in range(20):
        lq, hr = batches.at(step)
        assert torch.equal(hr, lq.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3))


def test_every_crop_and_symmetry_appears_as_often_as_it_should() -> None:
    shapes = (10, 12), (9, 20)
    batches = Batches(coordinate_pairs(*shapes), patch=32, batch=100, seed=3)
    patches = np.concatenate([levels(batches.at(step)[0]) for step in range(100)])  # (10000, 8, 8, 3)
    image = patches[:, 0, 0, 2]
    share = 10 * 12 / (10 * 12 + 9 * 20)  # by pixels
    assert abs((image == 0).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(image))

    top, left = patches[..., 0].min(axis=(1, 2)), patches[..., 1].min(axis=(1, 2))
    for number, (height, width) in enumerate(shapes):
        places = top[image == number] * width + left[image == number]
        crops, counts = np.unique(places, return_counts=True)
        assert len(crops) == (height - 7) * (width - 7)
        expected = len(places) / len(crops)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)

    corner, right = patches[:, 0, 0, :2], patches[:, 0, 1, :2]
    turned = np.stack([corner[:, 0] > top, corner[:, 1] > left, right[:, 0] != corner[:, 0]], axis=1)
    _, counts = np.unique(turned, axis=0, return_counts=True)
    assert len(counts) == 8
    assert np.abs(counts - 1250).max() < 5 * np.sqrt(1250)


def test_the_rule_as_documented() -> None:
    """One item rebuilt from numpy's raw Philox words, so that the rule cannot change unnoticed."""
    pairs = coordinate_pairs((20, 30), (25, 9))
    lq, _ = Batches(pairs, patch=32, batch=3, seed=42).at(7)
    stream = np.random.Philox(key=42, counter=[0, 0, 0, 7])
    for item in range(3):
        which, where_y, where_x, symmetry = (int(word) for word in stream.random_raw(4))
        number = 0 if which * (20 * 30 + 25 * 9) // 2**64 < 20 * 30 else 1
        height, width = ((20, 30), (25, 9))[number]
        y, x = where_y * (height - 7) // 2**64, where_x * (width - 7) // 2**64
        expected = pairs.lq[number][y : y + 8, x : x + 8]
        expected = np.fliplr(expected) if symmetry % 2 else expected
        expected = np.flipud(expected) if symmetry // 2 % 2 else expected
        expected = np.swapaxes(expected, 0, 1) if symmetry // 4 % 2 else expected
        assert np.array_equal(levels(lq)[item], expected)


def test_the_source_images_are_not_modified(pairs: Pairs) -> None:
    batches = Batches(pairs, patch=32, batch=8, seed=0)
    before = batches.at(0)
    for images in (*batches.at(0), *batches.levels(0)):
        images.zero_()
    assert same(batches.at(0), before)


def test_levels_are_the_batch_in_8_bit(pairs: Pairs) -> None:
    batches = Batches(pairs, patch=16, batch=6, seed=0)
    lq, hr = batches.levels(5, rank=1, ranks=2)
    assert (lq.dtype, hr.dtype) == (torch.uint8, torch.uint8)
    assert same((lq.float() / 255, hr.float() / 255), batches.at(5, rank=1, ranks=2))


def test_the_layout_in_memory_does_not_matter(pairs: Pairs) -> None:
    interleaved = [[np.ascontiguousarray(image) for image in side] for side in (pairs.lq, pairs.hr)]
    assert not interleaved[0][0].transpose(2, 0, 1).flags.c_contiguous
    assert all(image.transpose(2, 0, 1).flags.c_contiguous for image in LoadedImages(interleaved[0]))
    again = Pairs(pairs.names, LoadedImages(interleaved[1]), LoadedImages(interleaved[0]), SCALE)
    assert same(Batches(again, patch=16, batch=8, seed=1).at(2), Batches(pairs, patch=16, batch=8, seed=1).at(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 18}, "multiple of the scale 4, but got 18"),
        ({"patch": 0}, "positive multiple"),
        ({"patch": 36}, "image 'b' is 88 x 32 px, smaller than the patch of 36: choose a smaller patch"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"seed": -1}, "seed must be in"),
        ({"seed": 2**64}, "seed must be in"),
    ],
)
def test_refuses_patches_batches_and_seeds_out_of_range(pairs: Pairs, options: dict[str, int], message: str) -> None:
    arguments = {"patch": 16, "batch": 4, "seed": 0} | options
    with pytest.raises(ValueError, match=message):
        Batches(pairs, patch=arguments["patch"], batch=arguments["batch"], seed=arguments["seed"])


def test_refuses_an_empty_set() -> None:
    with pytest.raises(ValueError, match="no images"):
        Batches(Pairs((), LoadedImages([]), LoadedImages([]), 4), patch=16, batch=4, seed=0)


def test_refuses_ranks_that_do_not_fit(pairs: Pairs) -> None:
    batches = Batches(pairs, patch=16, batch=6, seed=0)
    with pytest.raises(ValueError, match="must divide the batch of 6, but got ranks=4"):
        batches.at(0, ranks=4)
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.1, but got 2"):
        batches.at(0, rank=2, ranks=2)
    with pytest.raises(ValueError, match="step must be in"):
        batches.at(-1)


def test_degraded_patches_are_made_from_hr_by_own_seeds(pairs: Pairs) -> None:
    degradation = SecondOrder.stock()
    large = Pairs(pairs.names, *_enlarged(pairs), pairs.scale)
    options = {"patch": 96, "batch": 4, "seed": 5}
    clean, degraded = Batches(large, **options), Batches(large, **options, degradation=degradation)
    seeds = degraded.seeds(3)
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**61 for seed in seeds)
    lq, hr = degraded.at(3)
    assert torch.equal(hr, clean.at(3)[1])  # the same patches
    assert torch.equal(lq, second_order(hr, degradation, large.scale, seeds=seeds))
    assert torch.equal(lq, degraded.at(3)[0])
    assert not torch.equal(lq, clean.at(3)[0])
    assert set(degraded.seeds(4)).isdisjoint(seeds)


def test_ranks_share_the_seeds_as_they_share_the_patches(pairs: Pairs) -> None:
    batches = Batches(pairs, patch=16, batch=6, seed=1)
    shares = [batches.seeds(9, rank=rank, ranks=3) for rank in range(3)]
    assert [seed for item in zip(*shares, strict=True) for seed in item] == batches.seeds(9)


def _enlarged(pairs: Pairs) -> tuple[LoadedImages, LoadedImages]:
    """The same pictures four times as large, so that the degradation's kernels fit."""
    hr, lq = (
        [np.ascontiguousarray(np.kron(image, np.ones((4, 4, 1), np.uint8))) for image in images]
        for images in (pairs.hr, pairs.lq)
    )
    return LoadedImages(hr), LoadedImages(lq)
