"""Named images, held in memory or mapped from a store: what they are is known before their pixels are read."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from study.data.images import pixel_digest, planar

TEST_MULTIPLE = 12
"""Test images are cropped to multiples of this (METHODS 8), so that scales 2, 3 and 4 see the same pixels."""


class Images(Protocol):
    """A sequence of (H, W, 3) uint8 RGB images whose sizes and digests are at hand without decoding.

    Attributes:
        shapes: height and width of each, in pixels.
        digests: `pixel_digest` of each.
        crop_digests: the same of each one's top-left crop to multiples of TEST_MULTIPLE, as test images are cropped.
    """

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def digests(self) -> tuple[str, ...]: ...
    @property
    def crop_digests(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...
    def __iter__(self) -> Iterator[np.ndarray]: ...


class LoadedImages(Sequence[np.ndarray]):
    """Images in memory, laid out in planes."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        """Take (H, W, 3) uint8 images; those that are not in planes are copied."""
        self._images = [planar(image) for image in images]

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each."""
        return tuple((image.shape[0], image.shape[1]) for image in self._images)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return tuple(pixel_digest(image) for image in self._images)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return _digests_of_crops(self)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return self._images[index]


class CroppedImages(Sequence[np.ndarray]):
    """The top-left crops of other images, as views."""

    def __init__(self, images: Images, multiple: int) -> None:
        """Crop to the largest multiples of `multiple` px."""
        self._images, self._multiple = images, multiple
        self.shapes = tuple(
            (height // multiple * multiple, width // multiple * multiple) for height, width in images.shapes
        )

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """See `Images`; nothing is read for test images out of a store."""
        if self._multiple == TEST_MULTIPLE:
            return self._images.crop_digests
        return tuple(pixel_digest(image) for image in self)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return self._images.crop_digests if TEST_MULTIPLE % self._multiple == 0 else _digests_of_crops(self)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return crop_to_multiple(self._images[index], self._multiple)


class SelectedImages(Sequence[np.ndarray]):
    """Some of other images, in a given order."""

    def __init__(self, images: Images, indices: Sequence[int]) -> None:
        """Keep the images at `indices`."""
        self._images, self._indices = images, list(indices)
        self.shapes = tuple(images.shapes[index] for index in indices)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return tuple(self._images.digests[index] for index in self._indices)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return tuple(self._images.crop_digests[index] for index in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return self._images[self._indices[index]]


@dataclass(frozen=True, eq=False)
class LowQuality:
    """The low-quality versions that came with a set's images.

    Attributes:
        scale: HR pixels a low-quality pixel.
        images: one for each HR image; their sides are HR's divided by the scale, rounded down or up.
        exact: they are what our bicubic makes of the HR images, and so say nothing new.
        made_by: the degradation that made them, as plain types; empty where they were given.
    """

    scale: int
    images: Images
    exact: bool
    made_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Photographs with unique names.

    Attributes:
        name: of the set, for people.
        names, images: of each photograph.
        lq: low-quality versions that came with them, if any did.
    """

    name: str
    names: tuple[str, ...]
    images: Images
    lq: LowQuality | None = None

    @staticmethod
    def loaded(name: str, names: Sequence[str], images: Sequence[np.ndarray]) -> "ImageSet":
        """Make a set of (H, W, 3) uint8 images in memory."""
        return ImageSet(name, tuple(names), LoadedImages(images))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) over what one trains on: names, sizes and pixels, in their order.

        The same for a folder and for the store that it was packed into. Low-quality versions count where they are
        not what our bicubic makes.
        """
        rows: list[object] = [list(row) for row in zip(self.names, self.images.digests, strict=True)]
        if self.lq is not None and not self.lq.exact:
            rows += [self.lq.scale, list(self.lq.images.digests)]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def subset(self, part: str, indices: Sequence[int]) -> "ImageSet":
        """The photographs at some indices, named after the part that they are."""
        lq = self.lq and LowQuality(self.lq.scale, SelectedImages(self.lq.images, indices), self.lq.exact)
        names = tuple(self.names[index] for index in indices)
        return ImageSet(f"{self.name}-{part}", names, SelectedImages(self.images, indices), lq)

    def cropped(self, multiple: int) -> "ImageSet":
        """Crop each photograph, from the top-left, to multiples of `multiple` px, as test images are.

        Versions that our bicubic made are left behind if anything is cut off: the benchmarks shrink the cropped image.
        """
        if all(side % multiple == 0 for shape in self.images.shapes for side in shape):
            return self
        lq = None if self.lq is None or self.lq.exact else self.lq
        return ImageSet(self.name, self.names, CroppedImages(self.images, multiple), lq)


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """View the top-left part of an (H, W, C) image whose sides are the largest multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height // multiple * multiple, : width // multiple * multiple]


def _digests_of_crops(images: Images) -> tuple[str, ...]:
    return tuple(pixel_digest(crop_to_multiple(image, TEST_MULTIPLE)) for image in images)
