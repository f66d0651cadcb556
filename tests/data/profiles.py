"""ICC profiles of RGB and grey displays, written by the specification (ICC.1:2001-04), and what they mean."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of the primaries, adapted to D50; the gamma is 563/256."""
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def profile(name: str, primaries: tuple[tuple[float, ...], ...] = ADOBE_RGB, space: bytes = b"RGB ") -> bytes:
    """A matrix profile, or for space GRAY one of a tone curve alone."""
    xyz = {b"wtpt": D50, **(dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)) if space == b"RGB " else {})}
    curves = (b"rTRC", b"gTRC", b"bTRC") if space == b"RGB " else (b"kTRC",)
    tags = {tag: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in value)) for tag, value in xyz.items()}
    tags |= {tag: b"curv\0\0\0\0" + struct.pack(">IHH", 1, 563, 0) for tag in curves}
    text = name.encode() + b"\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    table, content, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12x4s", start + len(content), b"none", 0x02400000, b"mntr", space, b"XYZ ", b"acsp"
    )
    header += bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """Convert (H, W, 3) levels by the two matrices and curves."""
    linear = (pixels / 255.0) ** (563 / 256) @ np.array(ADOBE_RGB) @ np.linalg.inv(SRGB).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
