"""The pixel loss against values computed by hand."""

import pytest
import torch

from study.losses import pixel_loss


def test_l1_and_l2_of_known_differences() -> None:
    hr = torch.zeros(2, 3, 4, 5)
    sr = torch.stack([torch.full((3, 4, 5), 0.5), torch.full((3, 4, 5), -2.0)])

    assert pixel_loss(sr, hr).tolist() == [0.5, 2.0]
    assert pixel_loss(sr, hr, criterion="l2").tolist() == [0.25, 4.0]


def test_half_precision_is_summed_in_float32() -> None:
    # 3 x 128 x 128 halves of 1e-3 lose digits when summed in float16.
    sr = torch.full((1, 3, 128, 128), 1e-3, dtype=torch.float16)

    value = pixel_loss(sr, torch.zeros_like(sr))

    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(sr[0, 0, 0, 0].item(), rel=1e-5)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same shape.*\(2, 3, 8, 8\).*\(1, 3, 8, 8\)"):
        pixel_loss(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_unknown_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'l1' or 'l2'.*'huber'"):
        pixel_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), criterion="huber")  # type: ignore[arg-type]
