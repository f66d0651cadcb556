"""Named images, in memory or mapped from a store, whose sizes and digests are available without reading pixels."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from study.data.images import pixel_digest, planar

CROP_MULTIPLE = 12
"""Images to evaluate on are cropped to multiples of this, so that scales 2, 3 and 4 use the same pixels."""


class Images(Sequence[np.ndarray]):
    """A sequence of (H, W, 3) uint8 RGB images; subclasses override properties that need no pixels."""

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each, in pixels."""
        return tuple((image.shape[0], image.shape[1]) for image in self)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """`pixel_digest` of each."""
        return tuple(pixel_digest(image) for image in self)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """The same of each one's top-left crop to multiples of CROP_MULTIPLE."""
        return tuple(pixel_digest(crop_to_multiple(image, CROP_MULTIPLE)) for image in self)

    @abstractmethod
    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        """Return an image, or a view of one."""


class LoadedImages(Images):
    """Images in memory, stored as planes."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        """Hold (H, W, 3) uint8 images; copy those that are not stored as planes."""
        self._images = [planar(image) for image in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return self._images[index]


class CroppedImages(Images):
    """The top-left crops of other images, as views."""

    def __init__(self, images: Images, multiple: int) -> None:
        """Crop to the largest multiples of `multiple` px."""
        self._images, self._multiple = images, multiple
        self.shapes = tuple(
            (height // multiple * multiple, width // multiple * multiple) for height, width in images.shapes
        )

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """See `Images`; crops to CROP_MULTIPLE out of a store read no pixels."""
        return self._images.crop_digests if self._multiple == CROP_MULTIPLE else super().digests

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """See `Images`."""
        return self._images.crop_digests if CROP_MULTIPLE % self._multiple == 0 else super().crop_digests

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return crop_to_multiple(self._images[index], self._multiple)


class SelectedImages(Images):
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
    """The low-quality versions of a set's images, stored with them.

    Attributes:
        scale: HR pixels per low-quality pixel.
        images: one per HR image; their sides are HR's divided by the scale, rounded down or up.
        exact: they equal `bicubic_downsample` of the HR images, and so add no information.
        made_by: the degradation that made them, as plain types; empty if they were given.
    """

    scale: int
    images: Images
    exact: bool
    made_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Photographs with unique names.

    Attributes:
        name: of the set.
        names, images: of each photograph.
        lq: low-quality versions stored with them, if any.
        notes: what a reader of results must know: images that were left out, low-quality ones that were given.
    """

    name: str
    names: tuple[str, ...]
    images: Images
    lq: LowQuality | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def loaded(name: str, names: Sequence[str], images: Sequence[np.ndarray]) -> "ImageSet":
        """Return a set of (H, W, 3) uint8 images in memory."""
        return ImageSet(name, tuple(names), LoadedImages(images))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) over names, sizes and pixels, in order; the same for a folder and its store.

        Low-quality versions are included unless they are exact.
        """
        rows: list[object] = [list(row) for row in zip(self.names, self.images.digests, strict=True)]
        if self.lq is not None and not self.lq.exact:
            rows += [self.lq.scale, list(self.lq.images.digests)]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def subset(self, indices: Sequence[int], part: str = "") -> "ImageSet":
        """Return the photographs at some indices as a set that is named after a part, if one is given."""
        lq = self.lq and replace(self.lq, images=SelectedImages(self.lq.images, indices))
        names = tuple(self.names[index] for index in indices)
        name = f"{self.name}-{part}" if part else self.name
        return replace(self, name=name, names=names, images=SelectedImages(self.images, indices), lq=lq)

    def cropped(self, multiple: int) -> "ImageSet":
        """Crop each photograph, from the top-left, to multiples of `multiple` px.

        If anything is cut off, exact low-quality versions are dropped: the benchmarks shrink the cropped image.
        """
        if all(side % multiple == 0 for shape in self.images.shapes for side in shape):
            return self
        lq = None if self.lq is None or self.lq.exact else self.lq
        return replace(self, images=CroppedImages(self.images, multiple), lq=lq)


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Return a view of an (H, W, C) image's top-left part whose sides are the largest multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height // multiple * multiple, : width // multiple * multiple]
