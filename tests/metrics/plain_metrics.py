"""Plain transcriptions of docs/methods/metrics.md in NumPy and PyTorch loops, independent of `study.metrics`."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn


def levels_of(image: Tensor, crop: int) -> np.ndarray:
    """Quantise and crop one image (3, H, W): whole levels, float64."""
    levels = np.clip(np.rint(image.numpy().astype(np.float32) * np.float32(255)), 0, 255).astype(np.float64)
    return levels[:, crop : levels.shape[1] - crop, crop : levels.shape[2] - crop]


def luma_of(levels: np.ndarray) -> np.ndarray:
    red, green, blue = levels / 255
    return np.asarray(65.481 * red + 128.553 * green + 24.966 * blue + 16)


def psnr_of(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(1 / (np.mean((x / 255 - y / 255) ** 2) + 1e-8)))


def gaussian_valid(image: np.ndarray) -> np.ndarray:
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    blurred = ndimage.correlate1d(ndimage.correlate1d(image, taps, axis=0), taps, axis=1)
    return np.asarray(blurred[5:-5, 5:-5])


def ssim_parts(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Compute mean SSIM and the mean of its contrast-structure part of two luma images in 8-bit units."""
    c1, c2 = 6.5025, 58.5225
    mx, my = gaussian_valid(x), gaussian_valid(y)
    vx, vy = gaussian_valid(x * x) - mx**2, gaussian_valid(y * y) - my**2
    cov = gaussian_valid(x * y) - mx * my
    structure = (2 * cov + c2) / (vx + vy + c2)
    return float(np.mean((2 * mx * my + c1) / (mx**2 + my**2 + c1) * structure)), float(np.mean(structure))


def ms_ssim_of(x: np.ndarray, y: np.ndarray) -> float:
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    result = 1.0
    for number, weight in enumerate(weights):
        whole, structure = ssim_parts(x, y)
        result *= max(whole if number == 4 else structure, 0) ** weight
        x, y = (halved(image) for image in (x, y))
    return result


def halved(image: np.ndarray) -> np.ndarray:
    """Compute 2 x 2 means; an odd side is padded with zeros in front, as in pytorch-msssim."""
    padded = np.pad(image, [(side % 2, side % 2) for side in image.shape])
    height, width = (side // 2 * 2 for side in padded.shape)
    cut = padded[:height, :width]
    return np.asarray((cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2]) / 4)


def keys_cubic(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0.0


def shrink_row(row: np.ndarray, scale: int) -> np.ndarray:
    """Apply MATLAB's bicubic along one row, pixel by pixel."""
    length = len(row)
    result = []
    for i in range(1, length // scale + 1):
        centre = i * scale + 0.5 * (1 - scale)
        left = int(np.floor(centre - 2 * scale))
        taken, weighed = 0.0, 0.0
        for j in range(left, left + 4 * scale + 2):
            weight = keys_cubic((centre - j) / scale) / scale
            mirrored = (j - 1) % (2 * length)
            index = mirrored if mirrored < length else 2 * length - 1 - mirrored
            taken, weighed = taken + weight, weighed + weight * row[index]
        result.append(weighed / taken)
    return np.array(result)


def shrink(levels: np.ndarray, scale: int, *, rounded: bool) -> np.ndarray:
    """Shrink rows first, then columns, of (C, H, W) levels; optionally round to whole levels after each."""
    limit = (lambda image: np.rint(np.clip(image, 0, 255))) if rounded else (lambda image: image)
    once = limit(np.apply_along_axis(shrink_row, 1, levels, scale))
    return np.asarray(limit(np.apply_along_axis(shrink_row, 2, once, scale)))


def lpips_of(sr: Tensor, hr: Tensor, slices: list[nn.Module], heads: list[Tensor]) -> float:
    """Compute LPIPS of one pair (3, H, W) in float64, from the backbone's slices and the heads' weights."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)
    x, y = ((2 * torch.from_numpy(levels_of(image, 0)[None] / 255) - 1 - shift) / scale for image in (sr, hr))
    total = 0.0
    for part, head in zip(slices, heads, strict=True):
        x, y = part(x), part(y)
        a, b = (features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10) for features in (x, y))
        total += float(((a - b).square() * head.view(1, -1, 1, 1)).sum(1).mean())
    return total


def dists_of(sr: Tensor, hr: Tensor, layers: nn.Sequential, alpha: Tensor, beta: Tensor) -> float:
    """Compute DISTS of one pair (3, H, W) in float64, from VGG-16's layers and the channel weights."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    window = torch.from_numpy(np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1]))
    window = (window / window.sum()).view(1, 1, 3, 3)
    x, y = (torch.from_numpy(levels_of(image, 0)[None] / 255) for image in (sr, hr))
    pairs = [(x, y)]
    x, y = (x - mean) / std, (y - mean) / std
    for index, layer in enumerate(list(layers)[:30]):
        if isinstance(layer, nn.MaxPool2d):
            pairs.append((x, y))
            x, y = (
                torch.cat([F.conv2d(plane[None, None] ** 2, window, stride=2, padding=1) for plane in image[0]], dim=1)
                .add(1e-12)
                .sqrt()
                for image in (x, y)
            )
        else:
            x, y = layer(x), layer(y)
        assert index < 30
    pairs.append((x, y))
    similarity, first = 0.0, 0
    for x, y in pairs:
        for channel in range(x.shape[1]):
            a, b = x[0, channel], y[0, channel]
            texture = (2 * a.mean() * b.mean() + 1e-6) / (a.mean() ** 2 + b.mean() ** 2 + 1e-6)
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            structure = (2 * covariance + 1e-6) / (a.var(correction=0) + b.var(correction=0) + 1e-6)
            place = first + channel
            similarity += float(alpha[place] * texture + beta[place] * structure)
        first += x.shape[1]
    return 1 - similarity
