"""The papers' equations written out plainly, as an independent reference of every recipe's step.

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
    """ESRGAN's relativistic term of G, without its weight."""
    return (entropy(real - fake.mean(), 0) + entropy(fake - real.mean(), 1)) / 2


def artifact(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """LDL's map with every 7 x 7 window written out."""
    residual, ema_residual = (hr - sr).abs().sum(1, keepdim=True), (hr - ema_sr).abs().sum(1, keepdim=True)
    windows = F.unfold(F.pad(residual, (3, 3, 3, 3), mode="reflect"), 7)  # (N, 49, H * W)
    local = windows.var(dim=1, unbiased=True).view_as(residual)
    overall = (residual.flatten(1).var(dim=1, unbiased=True) + 1e-12) ** 0.2
    weight = overall.view(-1, 1, 1, 1) * local * (residual >= ema_residual)
    return mean_l1(weight * sr, weight * hr)


def gradients(images: Tensor, padding: int) -> Tensor:
    """SPSR: M, by convolutions with both kernels for each colour."""
    down = torch.tensor([[0, -1, 0], [0, 0, 0], [0, 1, 0]], dtype=images.dtype)
    maps = []
    for colour in range(images.shape[1]):
        plane = images[:, colour : colour + 1]
        vertical = F.conv2d(plane, down[None, None], padding=padding)
        horizontal = F.conv2d(plane, down.T[None, None], padding=padding)
        maps.append((vertical**2 + horizontal**2 + 1e-6) ** 0.5)
    return torch.cat(maps, dim=1)


def torch_bicubic_quarter(images: Tensor) -> Tensor:
    """AESOP's ablation LR L1: four taps an axis on each block of 4 x 4 pixels."""
    taps = torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375], dtype=images.dtype)
    count, colours, height, width = images.shape
    blocks = images.reshape(count, colours, height // 4, 4, width // 4, 4)
    return torch.einsum("nciajb,a,b->ncij", blocks, taps, taps)


def sharpened(images: Tensor) -> Tensor:
    """Real-ESRGAN's unsharp masking with a 51-pixel Gaussian, soft-thresholded at 10 of 255; borders reflected."""
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
    """The divergence of two Laplace distributions, as released or exactly."""
    (p_mean, p_raw), (q_mean, q_raw) = p, q
    p_scale, q_scale = 2 * torch.maximum(p_raw, torch.tensor(1e-6)), 2 * torch.maximum(q_raw, torch.tensor(1e-6))
    distance = (p_mean - q_mean).abs()
    kept = torch.exp(-distance / p_scale) if exact else 1
    return (torch.log(q_scale / p_scale) + (p_scale * kept + distance) / q_scale - 1).mean()


def shrunk_to_a_quarter(images: Tensor) -> Tensor:
    """MATLAB's bicubic at x4: the published taps, mirrored, on the image with its edge pixels repeated."""
    half = [-0.001708984375, -0.010986328125, -0.018310546875, -0.011962890625]
    half += [0.022705078125, 0.097412109375, 0.181884765625, 0.240966796875]
    taps = torch.tensor(half + half[::-1], dtype=images.dtype)
    for axis in (2, 3):
        side = images.shape[axis]
        index = torch.arange(-6, side + 6)
        index = torch.where(index < 0, -1 - index, torch.where(index >= side, 2 * side - 1 - index, index))
        windows = images.index_select(axis, index).unfold(axis, 16, 4)
        images = (windows * taps).sum(dim=-1)
    return images


def consistency(sr: Tensor, lq: Tensor) -> Tensor:
    """The consistency loss by L1, without the LR pixels whose HR pixels lie outside the patch."""
    return mean_l1(shrunk_to_a_quarter(sr)[..., 2:-2, 2:-2], lq[..., 2:-2, 2:-2])


def mdf(state: dict[str, Tensor], a: Tensor, b: Tensor, levels: int) -> Tensor:
    """MDF's loss, one value an image: the critics by their state, batch norm by its running statistics."""

    def block(name: str, x: Tensor) -> Tensor:
        x = torch.conv2d(x, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"])
        column = lambda part: state[f"{name}.norm.{part}"][:, None, None]  # noqa: E731
        x = (x - column("running_mean")) / (column("running_var") + 1e-5).sqrt() * column("weight") + column("bias")
        return torch.where(x > 0, x, 0.2 * x)

    total = torch.zeros(len(a), dtype=a.dtype)
    for level in range(levels):
        kept = []
        for x in (a, b):
            first = last = block(f"levels.{level}.head", x)
            for number in (1, 2, 3):
                last = block(f"levels.{level}.body.block{number}", last)
            scores = torch.conv2d(last, state[f"levels.{level}.tail.weight"], state[f"levels.{level}.tail.bias"])
            kept.append((first, last, scores))
        for of_a, of_b in zip(*kept, strict=True):
            total = total + (of_a - of_b).square().flatten(1).mean(1)
    return total
