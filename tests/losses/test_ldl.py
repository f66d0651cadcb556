"""LDL's loss against loops written from its formulas, and at its singular points."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from study.losses import ldl_loss, ldl_map


def images(count: int, *, seed: int = 0, size: tuple[int, int] = (9, 11)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(2, 3, *size, generator=generator, dtype=torch.float64) for _ in range(count)]


def mirrored(index: int, length: int) -> int:
    """Reflect an index at the borders without repeating the edge."""
    return abs(index) if index < length else 2 * (length - 1) - index


def unbiased_variance(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def looped_map(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """Compute the map of one image (3, H, W) pixel by pixel: (1, H, W)."""
    height, width = hr.shape[1:]
    residual = [[float((hr - sr)[:, i, j].abs().sum()) for j in range(width)] for i in range(height)]
    average = [[float((hr - ema_sr)[:, i, j].abs().sum()) for j in range(width)] for i in range(height)]
    overall = unbiased_variance(list(itertools.chain(*residual))) ** 0.2
    weights = torch.zeros(1, height, width, dtype=torch.float64)
    for i, j in itertools.product(range(height), range(width)):
        window = [
            residual[mirrored(i + di, height)][mirrored(j + dj, width)]
            for di, dj in itertools.product(range(-3, 4), repeat=2)
        ]
        if residual[i][j] >= average[i][j]:
            weights[0, i, j] = overall * unbiased_variance(window)
    return weights


def test_map_and_loss_equal_the_loops() -> None:
    sr, hr, ema_sr = images(3)
    expected = torch.stack([looped_map(*triple) for triple in zip(sr, hr, ema_sr, strict=True)])

    assert torch.allclose(ldl_map(sr, hr, ema_sr), expected, rtol=1e-9, atol=1e-12)
    loops = (expected * sr - expected * hr).abs().flatten(1).mean(1)
    assert torch.allclose(ldl_loss(sr, hr, ema_sr), loops, rtol=1e-9, atol=1e-12)


def test_float32_agrees_with_float64_where_residuals_are_tiny() -> None:
    # The variance of 1 + 1e-3 noise: E[x^2] - E[x]^2 in float32 would keep hardly a digit.
    noise, hr, _ = images(3, seed=2)
    sr = hr + 1 / 3 + 1e-3 * noise

    exact = ldl_map(sr, hr, sr)
    single = ldl_map(sr.float(), hr.float(), sr.float())

    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, rtol=2e-3)


def test_zero_exactly_where_the_image_beats_the_average() -> None:
    sr, hr, ema_sr = images(3, seed=3)
    beats = (hr - sr).abs().sum(1, keepdim=True) < (hr - ema_sr).abs().sum(1, keepdim=True)

    found = ldl_map(sr, hr, ema_sr)

    assert 0 < int(beats.sum()) < beats.numel()
    assert (found[beats] == 0).all()
    assert (found[~beats] > 0).all()


def test_nothing_is_masked_while_image_and_average_are_equal() -> None:
    sr, hr = images(2, seed=4)

    assert (ldl_map(sr, hr, sr) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 0.25])
@pytest.mark.parametrize("flat", [True, False])
def test_value_and_gradient_finite_where_the_residual_is_flat(dtype: torch.dtype, offset: float, flat: bool) -> None:
    """sr == hr, sr a constant off hr, and both on a flat image: all variances are 0."""
    hr = torch.full((1, 3, 12, 12), 0.5) if flat else images(1, seed=5, size=(12, 12))[0].float()
    hr = hr.to(dtype)
    sr = (hr + offset).requires_grad_()

    loss = ldl_loss(sr, hr, sr.detach())
    loss.sum().backward()

    assert loss.isfinite().all()
    assert sr.grad is not None
    assert sr.grad.isfinite().all()
    assert loss.max() < 1e-2


def test_gradient_flows_through_the_map_unless_detached() -> None:
    sr, hr, ema_sr = images(3, seed=6)
    sr.requires_grad_()
    weight = ldl_map(sr, hr, ema_sr).detach()
    (constant_map,) = torch.autograd.grad((weight * (sr - hr)).abs().sum() / sr[0].numel(), sr)

    (attached,) = torch.autograd.grad(ldl_loss(sr, hr, ema_sr).sum(), sr)
    (detached,) = torch.autograd.grad(ldl_loss(sr, hr, ema_sr, detach_map=True).sum(), sr)

    assert torch.allclose(detached, constant_map)
    assert not torch.allclose(attached, detached, rtol=0.1)


def test_gradient_equals_finite_differences() -> None:
    sr, hr, ema_sr = (image[:1] for image in images(3, seed=7, size=(7, 7)))

    assert torch.autograd.gradcheck(lambda x: ldl_loss(x, hr, ema_sr), sr.requires_grad_(), atol=1e-6)


def test_images_smaller_than_the_window_are_refused() -> None:
    tiny = torch.rand(1, 3, 3, 20)

    with pytest.raises(ValueError, match="at least 4 pixels"):
        ldl_map(tiny, tiny, tiny)


def test_an_average_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        ldl_loss(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.rand(1, 3, 8, 8))
