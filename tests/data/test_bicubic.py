"""The resize against MATLAB's taps, an explicit transcription, autograd's gradient check and published figures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from study.data import bicubic_downsample, bicubic_upsample, to_float, to_uint8

TAPS = {
    2: [-0.011719, -0.035156, 0.113281, 0.433594, 0.433594, 0.113281, -0.035156, -0.011719],
    3: [-0.012346, -0.024691, 0, 0.111111, 0.259259, 0.333333, 0.259259, 0.111111, 0, -0.024691, -0.012346],
    4: [-0.001709, -0.010986, -0.018311, -0.011963, 0.022705, 0.097412, 0.181885, 0.240967],
}


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def keys(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0.0


def slow_line(line: list[float], factor: float) -> list[float]:
    """Resize one line as MATLAB's imresize, summing every input pixel and its mirror images one at a time."""
    n, s = len(line), min(factor, 1.0)
    result = []
    for i in range(1, math.ceil(round(factor * n, 9)) + 1):
        u = i / factor + 0.5 * (1 - 1 / factor)
        total = weight_sum = 0.0
        for j in range(math.floor(u - 2 / s) - 1, math.ceil(u + 2 / s) + 2):
            k = j
            while not 1 <= k <= n:  # mirror about the outer edges of the first and the last pixel
                k = 1 - k if k < 1 else 2 * n + 1 - k
            weight = s * keys(s * (u - j))
            total += weight * line[k - 1]
            weight_sum += weight
        result.append(total / weight_sum)
    return result


def slow_resize(image: np.ndarray, factor: float) -> np.ndarray:
    rows_done = np.array([slow_line(list(column), factor) for column in image.T]).T
    return np.array([slow_line(list(row), factor) for row in rows_done])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_impulse_taps_are_those_of_matlab(scale: int) -> None:
    taps = TAPS[scale] if scale < 4 else TAPS[4] + TAPS[4][::-1]
    lines = torch.eye(10 * scale, dtype=torch.float64)[:, None, None, :].expand(-1, 1, scale, -1)
    response = bicubic_downsample(lines, scale)[:, 0, 0, 5]  # one interior output pixel, over all impulses
    start = 5 * scale + (scale - len(taps)) // 2
    torch.testing.assert_close(response[start : start + len(taps)], torch.tensor(taps).double(), atol=6e-7, rtol=0)
    assert torch.count_nonzero(response.abs() > 1e-15) == sum(tap != 0 for tap in taps)


@pytest.mark.parametrize("scale", range(1, 9))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (13, 17)])
def test_equals_the_explicit_transcription(scale: int, height: int, width: int) -> None:
    image = random_images(1, 1, height, width, seed=scale)
    down = torch.from_numpy(slow_resize(image[0, 0].numpy(), 1 / scale))
    up = torch.from_numpy(slow_resize(image[0, 0].numpy(), scale))
    torch.testing.assert_close(bicubic_downsample(image, scale)[0, 0], down, atol=1e-13, rtol=0)
    torch.testing.assert_close(bicubic_upsample(image, scale)[0, 0], up, atol=1e-13, rtol=0)


@pytest.mark.parametrize("scale", range(1, 9))
def test_sizes_follow_the_ceiling_and_a_constant_stays(scale: int) -> None:
    for side in (1, 7, 24, 25, 49):
        image = torch.full((2, 3, side, side + 3), 0.7, dtype=torch.float64)
        down, up = bicubic_downsample(image, scale), bicubic_upsample(image, scale)
        assert down.shape == (2, 3, math.ceil(side / scale), math.ceil((side + 3) / scale))
        assert up.shape == (2, 3, side * scale, (side + 3) * scale)
        assert max((down - 0.7).abs().max(), (up - 0.7).abs().max()) < 1e-12


def test_scale_one_changes_nothing() -> None:
    image = random_images(1, 3, 9, 11)
    assert torch.equal(bicubic_downsample(image, 1), image)
    assert torch.equal(bicubic_upsample(image, 1), image)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equals_torch_with_antialiasing_away_from_borders(scale: int) -> None:
    image = random_images(1, 3, 16 * scale, 20 * scale)
    ours = bicubic_downsample(image, scale)
    torchs = torch.nn.functional.interpolate(image, size=(16, 20), mode="bicubic", antialias=True)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inner], torchs[inner], atol=1e-6, rtol=0)
    assert (ours - torchs).abs().max() > 1e-3  # torch does not mirror the border


@pytest.mark.parametrize("resize", [bicubic_downsample, bicubic_upsample])
@pytest.mark.parametrize("scale", [2, 3])
def test_gradient_is_the_transpose(resize, scale: int) -> None:
    image = random_images(1, 2, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize(x, scale), (image,))
    output = resize(image, scale)
    cotangent = random_images(*output.shape, seed=1)
    (gradient,) = torch.autograd.grad(output, image, cotangent)
    torch.testing.assert_close((gradient * image).sum(), (output * cotangent).sum())  # <A'c, x> = <c, Ax>


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_dtypes_are_rounded_once(dtype: torch.dtype) -> None:
    image = random_images(1, 3, 12, 12).to(dtype)
    result = bicubic_downsample(image, 4)
    assert result.dtype == dtype
    assert torch.equal(result, bicubic_downsample(image.double(), 4).to(dtype))


def test_autocast_and_inference_mode_leave_no_trace() -> None:
    image = random_images(1, 3, 22, 26).float()  # a size of its own: its weights are not cached yet
    with torch.inference_mode():
        expected = bicubic_downsample(image, 2).clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = bicubic_downsample(image.clone().requires_grad_(), 2)
    result.sum().backward()
    assert torch.equal(result.detach(), expected)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_eight_bit_levels_are_resized_without_any_rounding_error(scale: int) -> None:
    levels = (random_images(1, 1, 40, 48) * 255).round()
    result = bicubic_downsample(levels, scale) * 2.0**32
    assert torch.equal(result, result.round())
    transposed = bicubic_downsample(levels.mT, scale).mT * 2.0**32  # the other order of summation
    assert torch.equal(result, transposed)


@pytest.mark.parametrize("scale", [0, 9, -2, 2.0, True])
def test_refuses_other_scales(scale) -> None:
    with pytest.raises(ValueError, match="scale must be an integer from 1 to 8"):
        bicubic_downsample(torch.zeros(1, 3, 8, 8), scale)


def test_refuses_other_images() -> None:
    with pytest.raises(ValueError, match=r"floating point, but got torch\.uint8"):
        bicubic_downsample(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), but got \(3, 8, 8\)"):
        bicubic_upsample(torch.zeros(3, 8, 8), 2)
    with pytest.raises(ValueError, match="at least one pixel"):
        bicubic_upsample(torch.zeros(1, 3, 0, 8), 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eight_bit_round_trip_is_exact(dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels).to(dtype)), levels)
    assert to_float(levels).dtype == torch.float32
    assert to_float(levels)[[0, 255]].tolist() == [0.0, 1.0]


def test_to_uint8_clips_and_rounds_halves_up() -> None:
    halves = torch.tensor([-0.2, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.49 / 255, 1.3], dtype=torch.float64)
    assert to_uint8(halves).tolist() == [0, 1, 2, 3, 0, 255]


def test_conversions_refuse_the_wrong_kind() -> None:
    with pytest.raises(ValueError, match=r"floating-point images in \[0, 1\]"):
        to_uint8(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.5, math.nan]))
    with pytest.raises(ValueError, match="uint8 images"):
        to_float(torch.zeros(3))


def luma(images: Tensor) -> Tensor:
    red, green, blue = (images[:, :, 4:-4, 4:-4].double() / 255).unbind(1)
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def bicubic_psnr(path: Path) -> float:
    """Compute PSNR-Y of x4 bicubic, both sides in 8 bit (docs/methods/metrics.md)."""
    image = np.array(Image.open(path).convert("RGB"))
    height, width = (side // 12 * 12 for side in image.shape[:2])
    hr = torch.from_numpy(image[:height, :width].transpose(2, 0, 1)[None].copy())
    lq = to_uint8(bicubic_downsample(to_float(hr).double(), 4))
    sr = to_uint8(bicubic_upsample(to_float(lq).double(), 4))
    return 10 * math.log10(1 / (float((luma(sr) - luma(hr)).square().mean()) + 1e-8))


@pytest.mark.parametrize(("name", "expected", "count"), [("Set5", 28.397, 5), ("Set14", 26.088, 14)])
def test_reproduces_the_known_bicubic_figures(shared_data: Path, name: str, expected: float, count: int) -> None:
    values = [bicubic_psnr(path) for path in sorted((shared_data / name / "HR").iterdir())]
    assert len(values) == count
    assert round(sum(values) / count, 3) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu() -> None:
    image = random_images(2, 3, 50, 62).float()
    for resize in (bicubic_downsample, bicubic_upsample):
        with torch.autocast("cuda", dtype=torch.float16):
            on_device = resize(image.cuda(), 4)
        torch.testing.assert_close(on_device.cpu(), resize(image, 4), atol=1e-7, rtol=0)
