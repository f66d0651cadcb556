"""Convert images whose colour profile (ICC) is another than sRGB's."""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@dataclass(frozen=True)
class ColourProfile:
    """A colour profile other than sRGB's.

    Attributes:
        name: its description.
        mode: of the pixels that it describes: RGB, L or CMYK.
        transform: to sRGB, relative colorimetric with black-point compensation; None if it cannot be applied.
    """

    name: str
    mode: str
    transform: ImageCms.ImageCmsTransform | None

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Convert (H, W, 3) uint8 pixels, whose channels are equal for a profile of grey."""
        if self.transform is None or self.mode == "CMYK":  # CMYK pixels are converted before they are RGB
            return rgb
        pixels = Image.fromarray(np.ascontiguousarray(rgb if self.mode == "RGB" else rgb[..., 0]))
        return np.asarray(ImageCms.applyTransform(pixels, self.transform))


def profile_of(image: Image.Image) -> ColourProfile | None:
    """Return an image's colour profile; None if it has none, or one that is named sRGB."""
    content = image.info.get("icc_profile")
    if not content:
        return None
    pixels = "CMYK" if image.mode == "CMYK" else "L" if image.mode.startswith(("1", "L", "I")) else "RGB"
    return _profile(content, pixels)


@lru_cache(maxsize=32)
def _profile(content: bytes, pixels: str) -> ColourProfile | None:
    name = "a profile that cannot be read"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        name = ascii(ImageCms.getProfileDescription(profile).strip())[1:-1]
        if "srgb" in name.lower() and "linear" not in name.lower():
            return None
        mode = _MODES.get(profile.profile.xcolor_space.strip(), "")
        if mode != pixels and (mode, pixels) != ("RGB", "L"):
            return ColourProfile(name, pixels, None)
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        srgb = ImageCms.createProfile("sRGB")
        return ColourProfile(name, mode, ImageCms.buildTransform(profile, srgb, mode, "RGB", intent, flags))
    except (ImageCms.PyCMSError, OSError):
        return ColourProfile(name, pixels, None)
