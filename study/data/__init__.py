"""Image sources and stores, degradations, and batches as a function of (seed, step)."""

from study.data.batches import Batches
from study.data.bicubic import bicubic_downsample, bicubic_upsample, to_float, to_uint8
from study.data.errors import ImageError
from study.data.feed import feed
from study.data.image_set import ImageSet
from study.data.images import read_image
from study.data.pairs import Pairs, make_pairs
from study.data.sources import SourceError, load_source, photographs

__all__ = [
    "Batches",
    "ImageError",
    "ImageSet",
    "Pairs",
    "SourceError",
    "bicubic_downsample",
    "bicubic_upsample",
    "feed",
    "load_source",
    "make_pairs",
    "photographs",
    "read_image",
    "to_float",
    "to_uint8",
]
