"""METHODS' equations written out plainly, as an independent second opinion of every recipe's step.

Nothing here is shared with the package: no loss function, no operator. Networks are given as callables, all in float64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_l1(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().sum() / one.numel()


def entropy(logits: Tensor, label: int) -> Tensor:
    """Binary cross-entropy with logits, averaged: -ln of the probability given to the label."""
    probability = 1 / (1 + torch.exp(-logits))
    return -torch.log(probability if label else 1 - probability).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """METHODS 3.3, G step 3, without its weight."""
    return (entropy(real - fake.mean(), 0) + entropy(fake - real.mean(), 1)) / 2


def artifact(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """METHODS 4.3 with every 7 x 7 window written out."""
    residual, ema_residual = (hr - sr).abs().sum(1, keepdim=True), (hr - ema_sr).abs().sum(1, keepdim=True)
    windows = F.unfold(F.pad(residual, (3, 3, 3, 3), mode="reflect"), 7)  # (N, 49, H * W)
    local = windows.var(dim=1, unbiased=True).view_as(residual)
    overall = (residual.flatten(1).var(dim=1, unbiased=True) + 1e-12) ** 0.2
    weight = overall.view(-1, 1, 1, 1) * local * (residual >= ema_residual)
    return mean_l1(weight * sr, weight * hr)


def gradients(images: Tensor, padding: int) -> Tensor:
    """METHODS 4.2: M, by convolutions with both kernels for each colour."""
    down = torch.tensor([[0, -1, 0], [0, 0, 0], [0, 1, 0]], dtype=images.dtype)
    maps = []
    for colour in range(images.shape[1]):
        plane = images[:, colour : colour + 1]
        vertical = F.conv2d(plane, down[None, None], padding=padding)
        horizontal = F.conv2d(plane, down.T[None, None], padding=padding)
        maps.append((vertical**2 + horizontal**2 + 1e-6) ** 0.5)
    return torch.cat(maps, dim=1)


def torch_bicubic_quarter(images: Tensor) -> Tensor:
    """METHODS 1.6, LR L1: four taps an axis on each block of 4 x 4 pixels."""
    taps = torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375], dtype=images.dtype)
    count, colours, height, width = images.shape
    blocks = images.reshape(count, colours, height // 4, 4, width // 4, 4)
    return torch.einsum("nciajb,a,b->ncij", blocks, taps, taps)


def sharpened(images: Tensor) -> Tensor:
    """METHODS 1.7: unsharp masking with a 51-pixel Gaussian, soft-thresholded at 10 of 255; borders reflected."""
    sigma = 0.3 * (51 - 1) * 0.5 + 0.8 - 0.3
    offsets = torch.arange(-25, 26, dtype=images.dtype)
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = torch.outer(line, line) / line.sum() ** 2

    def blur(planes: Tensor) -> Tensor:
        padded = F.pad(planes, (25, 25, 25, 25), mode="reflect")
        return F.conv2d(padded, kernel.expand(3, 1, 51, 51), groups=3)

    detail = images - blur(images)
    mask = blur((detail.abs() * 255 > 10).to(images.dtype))
    return mask * (images + 0.5 * detail).clamp(0, 1) + (1 - mask) * images


def laplace(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor], *, exact: bool) -> Tensor:
    """METHODS 1.6: the divergence of two Laplace distributions, as released or exactly."""
    (p_mean, p_raw), (q_mean, q_raw) = p, q
    p_scale, q_scale = 2 * torch.maximum(p_raw, torch.tensor(1e-6)), 2 * torch.maximum(q_raw, torch.tensor(1e-6))
    distance = (p_mean - q_mean).abs()
    kept = torch.exp(-distance / p_scale) if exact else 1
    return (torch.log(q_scale / p_scale) + (p_scale * kept + distance) / q_scale - 1).mean()
