"""Sets of images: sizes and digests without reading pixels equal those of the pixels."""

import hashlib

import numpy as np
import pytest

from study.data.image_set import CroppedImages, ImageSet, LoadedImages, LowQuality, SelectedImages
from study.data.images import pixel_digest, planar

RNG = np.random.default_rng(0)
ARRAYS = [RNG.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((25, 37), (24, 48), (13, 12))]


def lq_of(arrays: list[np.ndarray], *, exact: bool) -> LowQuality:
    return LowQuality(4, LoadedImages([array[::4, ::4] for array in arrays]), exact)


def test_a_digest_is_the_sha256_of_size_and_planes() -> None:
    image = ARRAYS[2]
    expected = hashlib.sha256(b"13x12\n" + b"".join(image[..., channel].tobytes() for channel in range(3))).hexdigest()
    assert pixel_digest(image) == expected
    assert pixel_digest(planar(image)) == expected
    assert pixel_digest(image.transpose(1, 0, 2)) != expected
    assert pixel_digest(image.reshape(12, 13, 3)) != expected


def test_planar_images_are_the_same_and_copied_once() -> None:
    image = ARRAYS[0]
    once = planar(image)
    assert np.array_equal(once, image)
    assert once.transpose(2, 0, 1).flags.c_contiguous
    assert np.shares_memory(planar(once), once)
    assert not np.shares_memory(once, image)


@pytest.mark.parametrize("multiple", [1, 4, 5, 12])
def test_crops_equal_cropped_images(multiple: int) -> None:
    crops = CroppedImages(LoadedImages(ARRAYS), multiple)
    by_hand = [
        array[: array.shape[0] // multiple * multiple, : array.shape[1] // multiple * multiple] for array in ARRAYS
    ]
    assert all(np.array_equal(crop, array) for crop, array in zip(crops, by_hand, strict=True))
    reference = LoadedImages(by_hand)
    assert crops.shapes == reference.shapes
    assert crops.digests == reference.digests
    assert crops.crop_digests == reference.crop_digests


def test_a_selection_is_in_the_given_order() -> None:
    chosen = SelectedImages(LoadedImages(ARRAYS), [2, 0])
    reference = LoadedImages([ARRAYS[2], ARRAYS[0]])
    assert len(chosen) == 2
    assert all(np.array_equal(one, other) for one, other in zip(chosen, reference, strict=True))
    assert (chosen.shapes, chosen.digests, chosen.crop_digests) == (
        reference.shapes,
        reference.digests,
        reference.crop_digests,
    )


def test_the_fingerprint_includes_low_quality_images_unless_exact() -> None:
    plain = ImageSet.loaded("set", "abc", ARRAYS)
    ours = ImageSet("set", plain.names, plain.images, lq_of(ARRAYS, exact=True))
    given = ImageSet("set", plain.names, plain.images, lq_of(ARRAYS, exact=False))
    other = ImageSet("set", plain.names, plain.images, lq_of(ARRAYS[::-1], exact=False))
    assert ours.fingerprint == plain.fingerprint
    assert len({plain.fingerprint, given.fingerprint, other.fingerprint}) == 3


def test_a_subset_keeps_its_low_quality_images() -> None:
    whole = ImageSet("set", ("a", "b", "c"), LoadedImages(ARRAYS), lq_of(ARRAYS, exact=False))
    part = whole.subset([2, 1], "training")
    assert (part.name, part.names) == ("set-training", ("c", "b"))
    assert np.array_equal(part.images[0], ARRAYS[2])
    assert part.lq is not None
    assert np.array_equal(part.lq.images[1], ARRAYS[1][::4, ::4])


def test_cropping_drops_exact_low_quality_images_and_keeps_given_ones() -> None:
    for exact in (True, False):
        cropped = ImageSet("set", ("a",), LoadedImages(ARRAYS[:1]), lq_of(ARRAYS[:1], exact=exact)).cropped(12)
        assert cropped.images.shapes == ((24, 36),)
        assert (cropped.lq is None) is exact
    fitting = ImageSet("set", ("b",), LoadedImages(ARRAYS[1:2]), lq_of(ARRAYS[1:2], exact=True))
    assert fitting.cropped(12) is fitting
