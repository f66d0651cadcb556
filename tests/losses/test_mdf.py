"""MDF's distance: 8 x 3 terms of full-size images, written out; zero for equal images; never in train mode."""

import pytest
import torch
from torch import Tensor, nn

from study.losses import mdf_loss
from study.models import Critics
from tests.training import plain_methods as plain


@pytest.fixture
def critics() -> Critics:
    torch.manual_seed(0)
    critics = Critics(levels=9, features=4, largest=16).double()
    for name, buffer in critics.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return critics


def pair() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(2, 3, 14, 17, generator=draw, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("shown_range", ["unit", "signed"])
@pytest.mark.parametrize("used", [1, 8, 9])
def test_equals_a_plain_transcription_with_its_gradient(critics: Critics, used: int, shown_range: str) -> None:
    sr, hr = pair()
    sr.requires_grad_()
    found = mdf_loss(critics, sr, hr, used=used, shown_range=shown_range)  # type: ignore[arg-type]
    a, b = (2 * sr - 1, 2 * hr - 1) if shown_range == "signed" else (sr, hr)
    expected = plain.mdf(critics.state_dict(), a, b, used)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    gradients = [torch.autograd.grad(value.sum(), sr, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-14)


def test_uses_three_features_of_eight_critics_at_full_size(critics: Critics) -> None:
    sr, _ = pair()
    features = critics.features(sr, 8)
    assert len(features) == 24
    assert {feature.shape[-2:] for feature in features} == {(12, 15), (6, 9), (4, 7)}


def test_is_zero_for_equal_images(critics: Critics) -> None:
    sr, _ = pair()
    assert torch.equal(mdf_loss(critics, sr, sr.clone()), torch.zeros(2, dtype=torch.float64))


def test_train_on_a_parent_changes_nothing(critics: Critics) -> None:
    sr, hr = pair()
    before, state = mdf_loss(critics, sr, hr), {name: value.clone() for name, value in critics.state_dict().items()}
    nn.ModuleList([critics]).train()
    assert torch.equal(mdf_loss(critics, sr, hr), before)
    assert not any(module.training for module in critics.modules())
    assert all(torch.equal(value, state[name]) for name, value in critics.state_dict().items())


def test_critics_get_no_gradient(critics: Critics) -> None:
    sr, hr = pair()
    mdf_loss(critics, sr.requires_grad_(), hr.requires_grad_()).sum().backward()
    assert sr.grad is not None
    assert hr.grad is None
    assert all(parameter.grad is None for parameter in critics.parameters())


def test_bad_input_is_named(critics: Critics) -> None:
    small = torch.rand(1, 3, 10, 20)
    with pytest.raises(ValueError, match="sides of at least 11 px"):
        mdf_loss(critics, small, small)
    sr, hr = pair()
    with pytest.raises(ValueError, match="used must be 1 to 9"):
        mdf_loss(critics, sr, hr, used=10)
    with pytest.raises(ValueError, match="same shape"):
        mdf_loss(critics, sr, hr[:1])
