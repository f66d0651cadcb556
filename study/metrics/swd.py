"""Sliced Wasserstein distance of Laplacian-pyramid patches: a perceptual distance that needs no weights.

Karras et al., "Progressive Growing of GANs", ICLR 2018, section 5. There it compares two sets of images; here
each SR image is compared with its reference, so the descriptors of a pair are the patches of that pair.

Notation: P patches of K = 3 x 7 x 7 values, D directions.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from study.metrics.quantise import check_pair, to_levels

SMALLEST_SIDE = 16  # of the coarsest level
PATCH = 7
MOST_PATCHES = 4096  # a level
DIRECTIONS = 512  # the paper's 4 repeats of 128: their average is the average over all

# A channel with a smaller deviation, in 8-bit levels, is flat: it varies by the rounding of the filters.
_FLAT = 1e-3


@torch.no_grad()
def swd(sr: Tensor, hr: Tensor, *, seed: int = 0) -> Tensor:
    """Compute the distance between the distributions of local structures of two images, on all scales; x 1000.

    Lower is better; identical images give 0. It compares textures and hardly depends on their position. Each level's
    patches are normalised by their mean and deviation per colour channel, as in the paper, so it does not depend on
    contrast or colour balance.

    The patches of both images have the same positions, the same for every pair of one size, so the value depends on the
    pair and on the seed, not on the batch.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W), sides of at least 16; quantised to 8 bits here.
        seed: of the patches' positions and of the directions.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
    """
    check_pair(sr, hr, smallest_side=SMALLEST_SIDE)
    return compare_projections(sr, projections(hr, seed=seed), seed=seed)


def projections(images: Tensor, *, seed: int = 0) -> list[Tensor]:
    """Compute the sorted projections of each level's patches of images (N, 3, H, W): shape (N, D, P), float32."""
    generator = np.random.Generator(np.random.Philox(seed))
    return [_level_projections(level, generator) for level in _laplacian_pyramid(to_levels(images))]


def compare_projections(sr: Tensor, of_hr: list[Tensor], *, seed: int = 0) -> Tensor:
    """Compute the distance of images (N, 3, H, W) from prepared ones of the same seed: (N,), float64, x 1000."""
    generator = np.random.Generator(np.random.Philox(seed))
    levels = zip(_laplacian_pyramid(to_levels(sr)), of_hr, strict=True)
    distances = [
        (_level_projections(level, generator) - expected).abs().mean(dim=2).double().mean(dim=1)
        for level, expected in levels
    ]
    return 1e3 * torch.stack(distances).mean(dim=0)


def _level_projections(level: Tensor, generator: np.random.Generator) -> Tensor:
    """Compute the sorted projections of one level's images (N, 3, h, w): shape (N, D, P)."""
    positions = _draw_positions(level.shape[-2:], generator).to(level.device)
    directions = _draw_directions(generator).to(level)
    return torch.stack([_sorted(directions @ _descriptors(image, positions)) for image in level])


def _draw_positions(size: torch.Size, generator: np.random.Generator) -> Tensor:
    """Draw flat indices of the patches' top-left corners, shape (P,): all positions, or a random choice."""
    count = (size[0] - PATCH + 1) * (size[1] - PATCH + 1)
    if count <= MOST_PATCHES:
        return torch.arange(count)
    return torch.from_numpy(np.sort(generator.choice(count, MOST_PATCHES, replace=False)))


def _draw_directions(generator: np.random.Generator) -> Tensor:
    """Draw uniformly distributed unit vectors as rows, shape (D, K), float64."""
    directions = generator.standard_normal((DIRECTIONS, 3 * PATCH * PATCH))
    return torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _descriptors(image: Tensor, positions: Tensor) -> Tensor:
    """Return patches of an image (3, h, w) at the positions, each channel normalised over all of them: (K, P)."""
    width = image.shape[2]
    rows, columns = positions // (width - PATCH + 1), positions % (width - PATCH + 1)
    corners = rows * width + columns
    steps = torch.arange(PATCH, device=image.device)
    inside = (steps[:, None] * width + steps).flatten()  # from a patch's corner to each of its pixels, (49,)
    pixels = (inside[:, None] + corners).flatten()
    patches = image.flatten(start_dim=1).index_select(1, pixels).view(3, PATCH**2, -1)
    mean = patches.mean(dim=(1, 2), keepdim=True)
    deviation = patches.std(dim=(1, 2), correction=0, keepdim=True).clamp(min=_FLAT)
    return ((patches - mean) / deviation).flatten(end_dim=1)


def _sorted(rows: Tensor) -> Tensor:
    """Sort each row; in place on the CPU."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    # NumPy's vectorised sort was measured 14 times as fast as torch's on one core.
    rows.numpy().sort(axis=1)
    return rows


def _laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Return band-pass images from fine to coarse, the last one a low-pass; halved while both sides stay >= 16."""
    levels = []
    while min(images.shape[-2:]) > 2 * SMALLEST_SIDE - 2:  # half of it, rounded up, is at least 16
        smaller = _halve(images)
        levels.append(images - _double(smaller, images.shape[-2:]))
        images = smaller
    return [*levels, images]


def _halve(images: Tensor) -> Tensor:
    """Blur and keep every second row and column: sides are halved and rounded up."""
    return _blur(images, step=2)


def _double(images: Tensor, size: torch.Size) -> Tensor:
    """Enlarge to `size`: insert zeros between pixels, blur, multiply by 4 to compensate the zeros."""
    spread = images.new_zeros(*images.shape[:2], *size)
    spread[..., ::2, ::2] = images
    return 4 * _blur(spread, step=1)


def _blur(images: Tensor, *, step: int) -> Tensor:
    """Apply the binomial 5x5 filter at every `step`-th row and column."""
    rows_blurred = _blur_rows(images, step=step)
    return _blur_rows(rows_blurred.transpose(2, 3), step=step).transpose(2, 3)


def _blur_rows(images: Tensor, *, step: int) -> Tensor:
    """Weigh each row and its neighbours 1 4 6 4 1, mirrored at the border without repeating the edge."""
    # Sums of slices: on the CPU, a convolution of one channel takes several times as long (measured).
    padded = F.pad(images, (0, 0, 2, 2), mode="reflect")
    a, b, c, d, e = (padded[:, :, first : first + images.shape[2] : step] for first in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16
