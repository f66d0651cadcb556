"""All kinds of image files, written sample by sample where Pillow cannot write them."""

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from study.data import ImageError, read_image
from study.data.image_files import IMAGE_SUFFIXES, list_images
from study.data.images import MAX_PIXELS, read_size
from study.data.layouts import find_layout
from study.data.paired_files import find_items

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # the colour types of the PNG specification
ADAM7 = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]


def random_samples(*shape: int, top: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(np.uint16 if top > 256 else np.uint8)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bytes(samples: np.ndarray, colour_type: int, *, interlaced: bool = False, before_pixels: bytes = b"") -> bytes:
    """A PNG of (H, W, C) samples by the specification, 8 or 16 bit by dtype, without row filters."""
    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for y, dy, x, dx in ADAM7] if interlaced else [samples]
    big_endian = samples.dtype.newbyteorder(">")
    rows = b"".join(b"\0" + row.astype(big_endian).tobytes() for part in passes for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour_type, 0, 0, int(interlaced))
    chunks = png_chunk(b"IHDR", header) + before_pixels + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def nearest_8_bit(samples: np.ndarray) -> np.ndarray:
    return ((samples.astype(np.int64) * 2 + 257) // 514).astype(np.uint8)  # round(v / 257) in integers


def test_rgb_png_is_read_unchanged(tmp_path: Path) -> None:
    samples = random_samples(5, 7, 3)
    Image.fromarray(samples).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, samples)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_formats_agree(tmp_path: Path, suffix: str) -> None:
    samples = random_samples(6, 5, 3)
    Image.fromarray(samples).save(tmp_path / f"a{suffix}", lossless=True)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), samples)


def test_grey_gives_three_equal_channels(tmp_path: Path) -> None:
    samples = random_samples(5, 7)
    Image.fromarray(samples).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.stack([samples] * 3, axis=2))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "channels"), [(GREY, 1), (RGB, 3)])
def test_16_bit_is_rounded_to_the_nearest_level(
    tmp_path: Path, colour_type: int, channels: int, interlaced: bool
) -> None:
    samples = random_samples(17, 19, channels, top=65536)
    samples[0, :6, 0] = [0, 128, 129, 65535, 65407, 65406]
    (tmp_path / "deep.png").write_bytes(png_bytes(samples, colour_type, interlaced=interlaced))
    image = read_image(tmp_path / "deep.png")
    assert np.array_equal(image, np.broadcast_to(nearest_8_bit(samples), image.shape))
    assert image[0, :6, 0].tolist() == [0, 0, 1, 255, 255, 254]
    assert not np.array_equal(image[..., 0], samples[..., 0] >> 8)  # what keeping the first byte would give


def test_16_bit_rgba_is_composited_before_it_is_rounded(tmp_path: Path) -> None:
    samples = random_samples(9, 8, 4, top=65536)
    (tmp_path / "deep.png").write_bytes(png_bytes(samples, RGBA))
    value = samples.astype(np.float64) / 65535
    expected = value[..., :3] * value[..., 3:] + 1 - value[..., 3:]
    assert np.abs(read_image(tmp_path / "deep.png") - 255 * expected).max() < 0.5 + 1e-9


def test_16_bit_tiff_grey(tmp_path: Path) -> None:
    samples = random_samples(4, 6, top=65536)
    Image.fromarray(samples).save(tmp_path / "deep.tif")
    assert np.array_equal(read_image(tmp_path / "deep.tif")[..., 1], nearest_8_bit(samples))


@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_grey_with_alpha_is_composited_before_it_is_rounded(tmp_path: Path, interlaced: bool) -> None:
    samples = random_samples(9, 8, 2, top=65536)
    (tmp_path / "deep.png").write_bytes(png_bytes(samples, GREY_ALPHA, interlaced=interlaced))
    value = samples.astype(np.float64) / 65535
    expected = 255 * (value[..., :1] * value[..., 1:] + 1 - value[..., 1:])
    image = read_image(tmp_path / "deep.png")
    assert image.shape == (9, 8, 3)
    assert np.abs(image - expected).max() < 0.5 + 1e-9


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff_rgb(tmp_path: Path, order: str, compression: str | None) -> None:
    samples = random_samples(9, 8, 3, top=65536)
    tifffile.imwrite(tmp_path / "deep.tif", samples, photometric="rgb", compression=compression, byteorder=order)
    assert np.array_equal(read_image(tmp_path / "deep.tif"), nearest_8_bit(samples))


@pytest.mark.parametrize(("magic", "channels", "suffix"), [("P6", 3, ".ppm"), ("P5", 1, ".pgm")])
@pytest.mark.parametrize("top", [255, 65535])
def test_portable_maps(tmp_path: Path, magic: str, channels: int, suffix: str, top: int) -> None:
    samples = random_samples(6, 5, channels, top=top + 1)
    header = f"{magic}\n5 6\n{top}\n".encode()
    (tmp_path / f"a{suffix}").write_bytes(header + samples.astype(samples.dtype.newbyteorder(">")).tobytes())
    expected = samples if top == 255 else nearest_8_bit(samples)
    assert np.array_equal(read_image(list_images(tmp_path)[0]), np.broadcast_to(expected, (6, 5, 3)))


@pytest.mark.parametrize(("suffix", "kind"), [(".avif", "AVIF"), (".jfif", "JPEG")])
def test_further_names_of_photographs(tmp_path: Path, suffix: str, kind: str) -> None:
    Image.new("RGB", (16, 24), (200, 100, 50)).save(tmp_path / f"a{suffix}", format=kind, quality=95)
    image = read_image(list_images(tmp_path)[0])
    assert image.shape == (24, 16, 3)
    assert np.abs(image.astype(int) - [200, 100, 50]).max() <= 4


def test_16_bit_kinds_without_an_exact_reading_are_refused(tmp_path: Path) -> None:
    keyed = png_chunk(b"tRNS", struct.pack(">H", 7))
    (tmp_path / "key.png").write_bytes(png_bytes(random_samples(4, 6, 1, top=65536), GREY, before_pixels=keyed))
    Image.fromarray(np.ones((4, 6), np.float32)).save(tmp_path / "float.tif")
    for name, problem in {
        "key.png": "transparent colour",
        "float.tif": "32-bit",
    }.items():
        with pytest.raises(ImageError, match=rf"{name}.*{problem}.*save it as"):
            read_image(tmp_path / name)


def test_palette_is_expanded(tmp_path: Path) -> None:
    palette, index = random_samples(256, 3), random_samples(6, 8)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as written:
        assert written.mode == "P"
    assert np.array_equal(read_image(tmp_path / "palette.png"), palette[index])


def test_palette_transparency_shows_white(tmp_path: Path) -> None:
    palette, index = random_samples(256, 3), np.arange(48, dtype=np.uint8).reshape(6, 8)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "palette.png", transparency=5)
    expected = palette[index]
    expected[index == 5] = 255
    assert np.array_equal(read_image(tmp_path / "palette.png"), expected)


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    samples = random_samples(5, 7, 4)
    samples[..., 3] = 255
    Image.fromarray(samples).save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png"), samples[..., :3])


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    samples = random_samples(16, 16, 4)
    samples[0, :3, 3] = [0, 128, 255]
    Image.fromarray(samples).save(tmp_path / "alpha.png")
    colour, alpha = samples[..., :3].astype(np.int64), samples[..., 3:].astype(np.int64)
    exact = colour * alpha + 255 * (255 - alpha)  # in units of 1/255 level, in integers
    image = read_image(tmp_path / "alpha.png")
    assert np.abs(image.astype(np.int64) * 255 - exact).max() <= 127
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 2].tolist() == samples[0, 2, :3].tolist()


def test_grey_alpha(tmp_path: Path) -> None:
    (tmp_path / "la.png").write_bytes(png_bytes(np.array([[[10, 255], [10, 0]]], np.uint8), GREY_ALPHA))
    assert read_image(tmp_path / "la.png").tolist() == [[[10, 10, 10], [255, 255, 255]]]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # cyan alone takes away the red
    Image.frombytes("CMYK", (16, 16), ink.tobytes()).save(tmp_path / "cmyk.jpg", quality=100)
    image = read_image(tmp_path / "cmyk.jpg").astype(int)
    assert np.abs(image - [0, 255, 255]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """TIFF 6.0 says where the file's row 0 and column 0 belong; the eight files show the same picture."""
    picture = random_samples(6, 4, 3)
    stored_rows_and_columns = {
        1: picture,  # top, left
        2: np.fliplr(picture),  # top, right
        3: np.rot90(picture, 2),  # bottom, right
        4: np.flipud(picture),  # bottom, left
        5: np.transpose(picture, (1, 0, 2)),  # left, top
        6: np.rot90(picture, 1),  # right, top: to be turned clockwise
        7: np.transpose(np.rot90(picture, 2), (1, 0, 2)),  # right, bottom
        8: np.rot90(picture, -1),  # left, bottom: to be turned anticlockwise
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored_rows_and_columns[orientation])).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), picture)
    with Image.open(tmp_path / "turned.png") as stored:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(stored)), picture)


def test_exif_rotated_jpeg(tmp_path: Path) -> None:
    stored = np.zeros((16, 48, 3), np.uint8)
    stored[:, :16] = 255  # bright on the left; turned clockwise, bright on top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "turned.jpg", exif=exif)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == (48, 16, 3)
    assert image[:12].min() > 240
    assert image[20:].max() < 15


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (40, 200)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert (read_image(tmp_path / "moving.webp") == 40).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_never_read_in_part(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(random_samples(64, 64, 3)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=f"cut{suffix}"):
        read_image(path)


def test_a_png_cut_between_its_chunks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(png_bytes(random_samples(8, 8, 3), RGB)[:-12])  # all pixels there, the end mark missing
    with pytest.raises(ImageError, match="truncated or corrupt"):
        read_image(path)


def test_any_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "bit.png"
    Image.fromarray(random_samples(16, 16, 3)).save(path)
    content = path.read_bytes()
    for position in range(0, len(content) - 12, 13):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"bit\.png"):
            read_image(path)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image\n")
    (tmp_path / "folder.png").mkdir()
    for name, problem in {
        "empty.png": r"empty \(0 bytes\); fetch it again",
        "text.png": "not an image",
        "folder.png": "this is a folder",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(ImageError, match=rf"{name}: .*{problem}"):
            read_image(tmp_path / name)


def test_a_decompression_bomb_is_refused_unread(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", MAX_PIXELS, 2, 8, GREY, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ImageError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png")
    wide = np.zeros((1, MAX_PIXELS + 1), bool)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    with pytest.raises(ImageError, match=r"pack it, which cuts it: python study/prepare\.py pack .*"):
        read_image(tmp_path / "wide.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_the_header_size_is_that_of_the_image(tmp_path: Path, suffix: str, orientation: int | None) -> None:
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(random_samples(6, 9, 3))
    exif = image.getexif()
    if orientation is not None and suffix != ".bmp":
        exif[0x0112] = orientation
        image.save(path, exif=exif)
    else:
        image.save(path)
    assert read_size(path) == read_image(path).shape[:2]


def test_a_header_is_read_without_the_pixels_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(png_bytes(random_samples(60, 80, 3), RGB)[:200])
    assert read_size(path) == (60, 80)
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


def test_unusable_headers_are_refused(tmp_path: Path) -> None:
    for name, content, problem in (
        ("empty.png", b"", r"the file is empty \(0 bytes\)"),
        ("text.png", b"hello", "this is not an image"),
        (
            "bomb.png",
            png_bytes(np.zeros((1, 1, 3), np.uint8), RGB).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\x7f\xff" * 2),
            "",
        ),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: {problem}"):
            read_size(tmp_path / name)
    with pytest.raises(ImageError, match="there is no such file"):
        read_size(tmp_path / "nowhere.png")


def test_the_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Path("a.png"), "the file is empty")))
    assert isinstance(error, ImageError)
    assert str(error) == "a.png: the file is empty"


def test_list_images_sorts_and_ignores_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG"]


def test_a_name_that_cannot_be_recorded_is_a_problem(tmp_path: Path) -> None:
    for name in ("caf\u00e9?.png", "\U0001f600.png", os.fsdecode(b"caf\xe9.png")):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    items, problems = find_items(find_layout([tmp_path], scale=4), scale=4, multiple=1, least=1)
    assert [item.key for item in items] == ["caf\u00e9?", "\U0001f600"]
    assert [r"caf\udce9.png': the name is not UTF-8, so that it cannot be recorded; rename it" in problems[0]] == [True]


def test_list_images_names_the_content_of_other_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=rf"no image.*looked for {IMAGE_SUFFIXES[0]}, .*it is empty"):
        list_images(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match=r"it has notes\.txt"):
        list_images(tmp_path)
    (tmp_path / "HR").mkdir()
    (tmp_path / "LR").mkdir()
    with pytest.raises(ImageError, match=r"sub-folders HR/, LR/: name one of these"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match=r"notes\.txt: this is a file, but a folder"):
        list_images(tmp_path / "notes.txt")
    with pytest.raises(ImageError, match="no such folder"):
        list_images(tmp_path / "absent")
