"""The downsampled-space loss against the matrix of bicubic shrinking and its null space."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.data import ImageSet, bicubic_downsample, make_pairs
from study.data.bicubic import downsampling_matrix
from study.losses import consistency_loss
from study.losses.consistency import BORDER


def images(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shrunk_by_matrices(sr: Tensor, scale: int) -> Tensor:
    rows, columns = (torch.from_numpy(downsampling_matrix(side, scale)) for side in sr.shape[-2:])
    return rows @ sr @ columns.T


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_value_and_gradient_are_those_of_the_formula(scale: int, criterion: str, power: int) -> None:
    lq = images(0, 2, 3, 9, 7)
    sr = images(1, 2, 3, 9 * scale, 7 * scale).requires_grad_()
    found = consistency_loss(sr, lq, scale, criterion=criterion)  # type: ignore[arg-type]
    inside = (shrunk_by_matrices(sr, scale) - lq)[..., BORDER:-BORDER, BORDER:-BORDER]
    expected = inside.abs().pow(power).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    gradients = [torch.autograd.grad(value.sum(), sr, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_null_space_has_no_gradient(scale: int) -> None:
    """The gradient has no part in the null space of shrinking, so the loss never corrects it."""
    lq, sr = images(0, 1, 3, 10, 10), images(1, 1, 3, 10 * scale, 10 * scale).requires_grad_()
    matrix = downsampling_matrix(10 * scale, scale)
    seen = torch.from_numpy(np.linalg.pinv(matrix) @ matrix)
    noise = images(2, *sr.shape)
    unseen = noise - seen @ noise @ seen.T
    assert unseen.square().mean() > 0.5 * noise.var()
    value, moved = (consistency_loss(shown, lq, scale) for shown in (sr, sr + unseen))
    torch.testing.assert_close(value, moved, rtol=1e-10, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), sr)
    assert (gradient - seen @ gradient @ seen.T).abs().max() < 1e-12 * gradient.abs().max() + 1e-16


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_hr_patch_gives_its_lr_patch_up_to_rounding(scale: int) -> None:
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (96, 96, 3), np.uint8)
    pairs = make_pairs(ImageSet.loaded("set", ("a",), [photograph]), scale)
    lq, hr = (tensor.double() for tensor in pairs.tensors(0))
    top, side = 24 // scale, 48 // scale
    inner_low = lq[..., top : top + side, top : top + side]
    value = consistency_loss(hr[..., 24:72, 24:72], inner_low, scale)
    assert value.item() == pytest.approx(1 / (12 * 255**2), rel=0.15)  # 58.9 dB


@pytest.mark.parametrize("antialias", [False, True])
def test_the_ablations_are_torchs_own_resizes(antialias: bool) -> None:
    lq, sr = images(0, 1, 3, 8, 8), images(1, 1, 3, 32, 32)
    found = consistency_loss(sr, lq, 4, downsampling="torch-antialias" if antialias else "torch")
    shrunk = F.interpolate(sr, size=(8, 8), mode="bicubic", antialias=antialias)
    torch.testing.assert_close(found, (shrunk - lq)[..., 2:-2, 2:-2].square().mean(dim=(1, 2, 3)))
    assert not torch.allclose(shrunk, bicubic_downsample(sr, 4), atol=1e-3)


@pytest.mark.parametrize("shapes", [((1, 3, 16, 16), (1, 3, 4, 4)), ((1, 3, 32, 32), (1, 3, 16, 16))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"lq must have sides above 4 px|of the same shape"):
        consistency_loss(torch.rand(shapes[0]), torch.rand(shapes[1]), 4)
