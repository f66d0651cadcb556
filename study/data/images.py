"""Read image files of any common kind as 8-bit RGB, whole and exact; report each file that cannot be read."""

import hashlib
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from study.data.colour_profiles import ColourProfile, profile_of
from study.data.errors import ImageError
from study.data.image_files import open_image, pack_command, read_bytes
from study.data.lmdb_files import check_listed_size, is_lmdb

MAX_PIXELS = 2**26
"""A larger image (67 megapixels) is refused; packing cuts it."""

LARGEST_PACKED = 2**29
"""A larger image (537 megapixels) is refused as a decompression bomb by packing too."""

Image.MAX_IMAGE_PIXELS = LARGEST_PACKED  # Pillow's own bound, for all images of a process: `check_size` is stricter

_STRIP_PIXELS = 2**20
"""Images are converted to RGB in strips of this size, so that intermediate values of large ones need little memory."""


_EXIF_ORIENTATION = 0x0112

# The same samples with their two bytes exchanged; N is the machine's own order.
_EXCHANGED = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_EMPTY = "the file is empty (0 bytes); fetch it again or remove it"
_NO_IMAGE = "this is not an image, or its first bytes are damaged; remove or replace the file"


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as an array of shape (H, W, 3), uint8 RGB, C-contiguous.

    Grey images give three equal channels. 16-bit PNGs, grey and RGB TIFFs, PPMs and PGMs are reduced by
    rounding value/257, so 65535 becomes 255. Palettes are expanded. Transparency (an alpha channel or a
    transparent colour) is dropped where everything is opaque, otherwise composited on white. Colours of another
    profile than sRGB are converted (`colour_profiles`); CMYK without a profile as Pillow does. The EXIF orientation is
    applied. Of an animation, the first frame is read.

    Raises ImageError for a file that is missing, empty, truncated, corrupt, not an image, larger than MAX_PIXELS,
    or of a sample type that has no exact 8-bit counterpart. A PNG's checksums are verified; damage inside a JPEG
    that leaves its structure intact is not detected, because the format has no checksum.
    """
    path = Path(path)
    return decode_image(path, read_bytes(path))


def decode_image(path: Path, content: bytes, *, large: bool = False) -> np.ndarray:
    """Decode the content of an image file as `read_image` does; a large one has up to LARGEST_PACKED pixels.

    `path` is for the error messages. The peak of memory is `content` and 7 bytes a pixel: Pillow's 4 and the
    result's 3; for 16-bit colour 4 more, for a rotated image 3 more.
    """
    try:
        return _decode(path, content, large)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(path, _NO_IMAGE) from error
    except Exception as error:  # decoders raise errors of many types on damaged files
        problem = f"the image is truncated or corrupt ({error}); fetch it again or remove it"
        raise ImageError(path, problem) from error


def read_size(path: Path, *, large: bool = False) -> tuple[int, int]:
    """Return the height and width in px from an image file's header, with its EXIF orientation applied.

    Raises ImageError as `decode_image` does, for problems that show without decoding.
    """
    try:
        with open_image(path) as file:
            if not file.read(1):
                raise ImageError(path, _EMPTY)
            file.seek(0)
            size = _header_size(path, Image.open(file), large)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(path, _NO_IMAGE) from error
    except Exception as error:  # decoders raise errors of many types on damaged files
        read_bytes(path)  # raises the more specific error if the file cannot be read at all
        raise ImageError(path, f"the image's header is corrupt ({error}); fetch it again or remove it") from error
    if is_lmdb(path.parent):
        check_listed_size(path, size)
    return size


def _header_size(path: Path, image: Image.Image, large: bool) -> tuple[int, int]:
    check_size(path, image, large)
    # Pillow would decode a PNG whose orientation comes after its pixels; it has rotated a TIFF's size already.
    looked_up = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
    rotated = looked_up and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    width, height = image.size
    return (width, height) if rotated else (height, width)


def planar(image: np.ndarray) -> np.ndarray:
    """Return an (H, W, 3) image with the same pixels and shape, stored as contiguous red, green and blue planes.

    Flips and transposes of (3, h, w) patches cost a third of what they cost from interleaved pixels (measured). An
    image that is stored this way already is not copied.
    """
    return np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)


def pixel_digest(image: np.ndarray) -> str:
    """Return the sha256 (hex) over the size and the planes R, G, B of an (H, W, 3) uint8 image."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}\n".encode())
    digest.update(np.ascontiguousarray(image.transpose(2, 0, 1)).data)
    return digest.hexdigest()


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress an (H, W, 3) uint8 image by libjpeg and decode it; quality 1..100, chroma halved (Pillow's default)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def check_size(path: Path, image: Image.Image, large: bool) -> None:
    """Raise ImageError for an image of more than MAX_PIXELS, or of more than LARGEST_PACKED if it may be large."""
    most = LARGEST_PACKED if large else MAX_PIXELS
    width, height = image.size
    if width * height > most:
        packable = width * height <= LARGEST_PACKED
        remedy = f"pack it, which cuts it: {pack_command(path.parent)}" if packable else "cut it into smaller images"
        raise ImageError(path, f"the image is {width} x {height} px, more than the allowed {most} pixels; {remedy}")


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """Decode an image; yield it in strips of full rows, from the top."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _decode(path: Path, content: bytes, large: bool) -> np.ndarray:
    if not content:
        raise ImageError(path, _EMPTY)
    image = Image.open(io.BytesIO(content))
    check_size(path, image, large)
    if image.format == "PNG":
        # Loading alone would accept a file cut between two chunks; this checks all checksums and the end.
        Image.open(io.BytesIO(content)).verify()
    profile = profile_of(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    top = 0
    for levels in _levels(path, content, image, profile):
        part = _as_rgb(levels)
        rgb[top : top + len(part)] = part if profile is None else profile.apply(part)
        top += len(part)
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)  # after loading: a PNG may have it after its pixels
    return np.ascontiguousarray(_upright(rgb, orientation))


def _levels(path: Path, content: bytes, image: Image.Image, profile: ColourProfile | None) -> Iterator[np.ndarray]:
    """Decode to strips (h, W, C) in 0..255: uint8 from 8-bit files, float64 with fractions from 16-bit ones.

    C is 1 (grey), 3 (RGB) or 4 (RGB and alpha).
    """
    raw_mode = _raw_mode(image)
    if image.format == "PPM" and image.mode == "I":  # Pillow scales any PGM of more than 8 bits to 0..65535
        return (np.asarray(strip)[..., None] / 257 for strip in strips(image))
    if image.mode in ("I", "F"):
        raise ImageError(path, f"32-bit samples (mode {image.mode}) have no 8-bit meaning; save it as 8 or 16 bit")
    if ";16" in raw_mode or image.mode.startswith("I;16"):
        return (samples / 257 for samples in _sixteen_bit(path, content, image, raw_mode))
    if image.mode == "CMYK" and profile is not None and profile.transform is not None:
        transform = profile.transform
        return (np.asarray(ImageCms.applyTransform(strip, transform)) for strip in strips(image))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return (np.asarray(strip.convert(mode)) for strip in strips(image))


def _sixteen_bit(path: Path, content: bytes, image: Image.Image, raw_mode: str) -> Iterator[np.ndarray]:
    """Decode 16-bit samples as strips (h, W, C) in 0..65535.

    Pillow has no 16-bit colour: it keeps the high byte of each sample and drops the low one. Read in the other byte
    order, it keeps the low one; the two together give the whole value.
    """
    transparent_colour = "transparency" in image.info
    if image.mode.startswith("I;16") and not transparent_colour:
        return (np.asarray(strip).astype(np.float64)[..., None] for strip in strips(image))
    if image.format == "PNG" and raw_mode == "LA;16B":
        return _sixteen_bit_grey_alpha(content)
    colours, _, order = raw_mode.partition(";")
    readable = {"PNG": ("RGB", "RGBA"), "TIFF": ("RGB",)}.get(image.format or "", ())
    if colours not in readable or order not in _EXCHANGED or transparent_colour:
        kind = f"{image.format} {raw_mode or image.mode}" + (" with a transparent colour" * transparent_colour)
        problem = f"this kind of 16-bit image ({kind}) cannot be read exactly; save it as an RGB PNG"
        raise ImageError(path, problem)
    second = Image.open(io.BytesIO(content))
    second.tile = [tile._replace(args=_exchanged(tile.args, raw_mode)) for tile in second.tile]
    pairs = zip(strips(image), strips(second), strict=True)
    return (np.asarray(high).astype(np.float64) * 256 + np.asarray(low) for high, low in pairs)


def _exchanged(arguments: Any, raw_mode: str) -> Any:
    """Return a decoder's arguments, its raw mode alone or first of several, for the other byte order."""
    colours, _, order = raw_mode.partition(";")
    other = f"{colours};{_EXCHANGED[order]}"
    return (other, *arguments[1:]) if isinstance(arguments, tuple) else other


def _sixteen_bit_grey_alpha(content: bytes) -> Iterator[np.ndarray]:
    """Decode a 16-bit PNG of grey and alpha, which Pillow reads in one byte order alone, as (h, W, 4) in 0..65535.

    Its pixels have the four bytes of 8-bit RGBA, and the row filters and interlacing are those of four bytes too: with
    the header of an RGBA file, Pillow returns each sample's high and low byte as two channels.
    """
    header = b"IHDR" + content[16:24] + bytes([8, 6]) + content[26:29]
    as_rgba = content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]
    for strip in strips(Image.open(io.BytesIO(as_rgba))):
        parts = np.asarray(strip).astype(np.float64)
        grey, alpha = parts[..., 0] * 256 + parts[..., 1], parts[..., 2] * 256 + parts[..., 3]
        yield np.stack([grey, grey, grey, alpha], axis=-1)


def _raw_mode(image: Image.Image) -> str:
    """Return the layout of the samples in the file, e.g. "RGB;16B"; only available before loading."""
    tiles = getattr(image, "tile", [])  # images that were not read from a file have none
    if not tiles:
        return ""
    arguments = tiles[0].args
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _as_rgb(levels: np.ndarray) -> np.ndarray:
    """Turn (H, W, 1, 3 or 4) levels in 0..255 into (H, W, 3) uint8, on white where not opaque."""
    channels = levels.shape[2]
    if channels == 1:
        levels = np.repeat(levels, 3, axis=2)
    elif channels == 4:
        colour, alpha = levels[..., :3], levels[..., 3:]
        levels = colour if (alpha == 255).all() else 255 + (colour - 255.0) * (alpha / 255.0)
    return levels if levels.dtype == np.uint8 else np.floor(levels + 0.5).astype(np.uint8)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the camera's rotation: EXIF 2.3 orientations 1..8; any other value counts as 1."""
    match orientation:
        case 2:
            return image[:, ::-1]
        case 3:
            return image[::-1, ::-1]
        case 4:
            return image[::-1]
        case 5:
            return image.swapaxes(0, 1)
        case 6:
            return image.swapaxes(0, 1)[:, ::-1]
        case 7:
            return image.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return image.swapaxes(0, 1)[::-1]
        case _:
            return image
