"""Pairs are aligned, exact and cheap to derive at several factors from the same images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from study.data import ImageSet, bicubic_downsample, make_pairs, to_float, to_uint8
from study.data.image_set import LoadedImages, LowQuality
from study.data.second_order import SecondOrder


def image_set(*shapes: tuple[int, int]) -> ImageSet:
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes)
    return ImageSet.loaded("random", tuple(f"image{index}" for index in range(len(shapes))), images)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_pairs_are_the_whole_image_shrunk_and_rounded(scale: int) -> None:
    images = image_set((50, 47), (24, 36))
    pairs = make_pairs(images, scale)
    assert (pairs.names, pairs.scale, len(pairs)) == (images.names, scale, 2)
    for image, hr, lq in zip(images.images, pairs.hr, pairs.lq, strict=True):
        height, width = image.shape[0] // scale, image.shape[1] // scale
        assert np.array_equal(hr, image[: height * scale, : width * scale])
        assert lq.shape == (height, width, 3)
        expected = bicubic_downsample(torch.from_numpy(hr.copy()).permute(2, 0, 1)[None].double(), scale)
        rounding = torch.from_numpy(lq).permute(2, 0, 1)[None] - expected.clamp(0, 255)
        assert rounding.abs().max() <= 0.5 + 1e-9


def test_a_shrunk_patch_equals_its_pair_away_from_borders() -> None:
    pairs = make_pairs(image_set((80, 96)), 4)
    patch = torch.from_numpy(pairs.hr[0][16:64, 8:72].copy()).permute(2, 0, 1)[None]
    shrunk = to_uint8(bicubic_downsample(to_float(patch).double(), 4))[0].permute(1, 2, 0).numpy()
    difference = np.abs(pairs.lq[0][4:16, 2:18].astype(int) - shrunk)
    assert difference[2:-2, 2:-2].max() <= 1  # a tie may fall either way in [0, 1]
    assert (difference[2:-2, 2:-2] > 0).mean() < 0.01
    assert difference.max() > 1  # at the patch's border, the whole image has more pixels


def test_tensors_are_a_batch_of_one() -> None:
    pairs = make_pairs(image_set((50, 47), (24, 36)), 4)
    lq, hr = pairs.tensors(1)
    assert (lq.shape, hr.shape) == ((1, 3, 6, 9), (1, 3, 24, 36))
    assert hr.is_contiguous()
    assert np.array_equal(to_uint8(hr)[0].permute(1, 2, 0).numpy(), pairs.hr[1])
    assert np.array_equal(to_uint8(lq)[0].permute(1, 2, 0).numpy(), pairs.lq[1])


def given(images: ImageSet, lq: list[np.ndarray], scale: int) -> ImageSet:
    return ImageSet(images.name, images.names, images.images, LowQuality(scale, LoadedImages(lq), exact=False))


def test_stored_low_quality_images_are_used_unchanged() -> None:
    images = image_set((50, 47), (24, 36))
    rng = np.random.default_rng(1)
    lq = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((13, 12), (6, 9))]  # 50/4, 47/4 rounded up
    pairs = make_pairs(given(images, lq, 4), 4)
    assert [image.shape for image in pairs.hr] == [(48, 44, 3), (24, 36, 3)]
    assert pairs.lq.shapes == ((12, 11), (6, 9))
    assert np.array_equal(pairs.lq[0], lq[0][:12, :11])
    assert np.array_equal(pairs.lq[1], lq[1])
    # Of another scale they cannot serve: that one is made.
    halved = make_pairs(given(images, lq, 4), 2)
    assert all(np.array_equal(one, other) for one, other in zip(halved.lq, make_pairs(images, 2).lq, strict=True))


def test_too_small_an_image_is_named() -> None:
    with pytest.raises(ValueError, match="image1' is 40 x 3 px"):
        make_pairs(image_set((8, 8), (3, 40)), 4)
    with pytest.raises(ValueError, match="scale must be an integer from 1 to 8"):
        make_pairs(image_set((8, 8)), 0)


def test_degraded_pairs_depend_on_the_pixels_alone() -> None:
    images = [np.random.default_rng(seed).integers(0, 256, (64, 80, 3), np.uint8) for seed in (1, 2, 1)]
    first = make_pairs(ImageSet.loaded("set", ("a", "b", "c"), images), 4, SecondOrder())
    again = make_pairs(ImageSet.loaded("other", ("b",), images[1:2]), 4, SecondOrder())
    assert first.lq.shapes == ((16, 20),) * 3
    assert np.array_equal(first.lq[1], again.lq[0])
    assert np.array_equal(first.lq[0], first.lq[2])
    assert not np.array_equal(first.lq[0], make_pairs(ImageSet.loaded("set", ("a",), images[:1]), 4).lq[0])


def test_given_low_quality_images_are_kept_and_exact_ones_replaced() -> None:
    images = image_set((64, 80))
    lq = [np.random.default_rng(1).integers(0, 256, (16, 20, 3), np.uint8)]
    camera, bicubic = (replace(given(images, lq, 4), lq=LowQuality(4, LoadedImages(lq), exact)) for exact in (0, 1))
    assert np.array_equal(make_pairs(camera, 4, SecondOrder()).lq[0], lq[0])
    assert np.array_equal(make_pairs(bicubic, 4, SecondOrder()).lq[0], make_pairs(images, 4, SecondOrder()).lq[0])


def test_an_image_too_small_to_degrade_is_named() -> None:
    image = np.zeros((48, 80, 3), np.uint8)
    with pytest.raises(ValueError, match=r"image 'a': .* at least 55 px a side, but got 80 x 48 px; remove it"):
        make_pairs(ImageSet.loaded("set", ("a",), [image]), 4, SecondOrder())
