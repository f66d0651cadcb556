"""JPEG artefacts, by the library that makes most of the world's: libjpeg, through Pillow."""

import io

import numpy as np
from PIL import Image


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress an (H, W, 3) uint8 image as JPEG and decode it; quality 1..100, chroma halved (Pillow's default)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
