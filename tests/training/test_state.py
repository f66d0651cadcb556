"""The learning rate as a table, the moving average in closed form, and a state that comes back bit for bit."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.config import Optimiser, learning_rate_at
from study.models import MSRResNet, VGGDiscriminator
from study.training.checkpoints import load_checkpoint, save_checkpoint
from study.training.state import TrainState, new_state, set_learning_rate, update_ema

COSINE = Optimiser(learning_rate=1e-3, schedule="cosine", minimum=1e-4)


def same(one: Any, other: Any) -> bool:
    """Bit equality of nested states, tensors and plain values alike."""
    if isinstance(one, Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def gan_state(seed: int) -> TrainState:
    torch.manual_seed(seed)
    return new_state(MSRResNet(4, 1, 4), Optimiser(), discriminators={"adversarial": VGGDiscriminator(32, 2)})


def descend_once(state: TrainState, seed: int) -> None:
    """A step in all networks, with batch statistics moving as well."""
    lq = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    state.discriminators["adversarial"](state.model(lq)).square().sum().backward()
    for optimiser in (state.optimiser, state.discriminator_optimisers["adversarial"]):
        optimiser.step()
        optimiser.zero_grad()
    update_ema(state, 0.9)
    state.iteration += 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Optimiser(learning_rate=1e-4), [1e-4] * 8),
        # 1e-4 + 9e-4 (1 + cos(pi s / 8)) / 2
        (COSINE, [1e-3, 9.6574579e-4, 8.6819805e-4, 7.2220755e-4, 5.5e-4, 3.7779245e-4, 2.3180195e-4, 1.3425421e-4]),
        (COSINE.model_copy(update={"restarts": 2}), [1e-3, 8.6819805e-4, 5.5e-4, 2.3180195e-4] * 2),
        # Three periods of 8/3 steps: steps 3 and 6 are 1/8 and 1/4 into the second and the third.
        (
            COSINE.model_copy(update={"restarts": 3}),
            [1e-3, 7.2220755e-4, 2.3180195e-4, 9.6574579e-4, 5.5e-4, 1.3425421e-4, 8.6819805e-4, 3.7779245e-4],
        ),
        (Optimiser(learning_rate=1e-4, warmup=4), [2.5e-5, 5e-5, 7.5e-5, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4]),
        (
            COSINE.model_copy(update={"restarts": 2, "warmup": 2}),
            [5e-4, 8.6819805e-4, 5.5e-4, 2.3180195e-4, 1e-3, 8.6819805e-4, 5.5e-4, 2.3180195e-4],
        ),
    ],
    ids=["constant", "cosine", "two periods", "three periods", "warm-up", "cosine with warm-up"],
)
def test_learning_rate_follows_the_table(config: Optimiser, expected: list[float]) -> None:
    assert [learning_rate_at(config, step, 8) for step in range(8)] == pytest.approx(expected, rel=1e-7)


def test_cosine_equals_torchs_scheduler() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=25, eta_min=1e-7)
    config = Optimiser(learning_rate=2e-4, schedule="cosine", restarts=4, minimum=1e-7)
    for step in range(100):
        assert learning_rate_at(config, step, 100) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        scheduler.step()


def test_every_optimiser_gets_the_learning_rate() -> None:
    state = gan_state(0)
    set_learning_rate(state, 0.125)
    groups = state.optimiser.param_groups + state.discriminator_optimisers["adversarial"].param_groups
    assert [group["lr"] for group in groups] == [0.125, 0.125]


def test_optimisers_have_the_configured_settings() -> None:
    config = Optimiser(learning_rate=3e-4, betas=(0.8, 0.95), weight_decay=0.01)
    state = new_state(MSRResNet(4, 1, 4), config, discriminators={"adversarial": VGGDiscriminator(32, 2)})
    for optimiser in (state.optimiser, state.discriminator_optimisers["adversarial"]):
        (group,) = optimiser.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.8, 0.95), 0.01)


def test_average_has_its_closed_form_and_buffers_are_copied() -> None:
    torch.manual_seed(0)
    state = new_state(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double(), Optimiser())
    history = [copy.deepcopy(list(state.model.parameters()))]
    for step in range(5):
        with torch.no_grad():
            for parameter in state.model.parameters():
                parameter += torch.randn_like(parameter)
        state.model(torch.randn(6, 3, dtype=torch.float64) + step)  # moves the batch statistics
        history.append(copy.deepcopy(list(state.model.parameters())))
        update_ema(state, 0.7)
    shares = [0.7**5] + [0.3 * 0.7 ** (5 - step) for step in range(1, 6)]
    for index, averaged in enumerate(state.ema.parameters()):
        closed_form = sum(share * weights[index] for share, weights in zip(shares, history, strict=True))
        torch.testing.assert_close(averaged, closed_form.detach(), rtol=1e-13, atol=1e-13)
    buffers = dict(state.model.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 5
    assert same(dict(state.ema.named_buffers()), buffers)


def test_average_starts_as_a_frozen_copy_in_eval_mode() -> None:
    state = gan_state(0)
    assert same(state.ema.state_dict(), state.model.state_dict())
    assert not state.ema.training
    assert state.model.training
    assert not any(parameter.requires_grad for parameter in state.ema.parameters())
    averaged = {id(parameter) for parameter in state.ema.parameters()}
    assert averaged.isdisjoint(id(weight) for group in state.optimiser.param_groups for weight in group["params"])


def test_state_comes_back_bit_for_bit_and_goes_on_alike(tmp_path: Path) -> None:
    state = gan_state(0)
    for seed in range(3):
        descend_once(state, seed)
    state.add_terms({"pixel": 0.1 + 0.2, "ldl": 1e-9}, 3)
    state.pixels_seen, state.device_seconds = 2**40 + 1, 0.1
    save_checkpoint(tmp_path / "checkpoint.pt", "key", state.state_dict())
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "key")
    other = gan_state(1)
    assert saved is not None
    assert not same(other.state_dict()["model"], state.state_dict()["model"])
    other.load_state_dict(saved)
    assert same(other.state_dict(), state.state_dict())
    moments = other.state_dict()["optimiser"]["state"]
    assert len(moments) == len(list(other.model.parameters()))
    assert all(float(moment["exp_avg_sq"].abs().sum()) > 0 for moment in moments.values())
    for each in (state, other):
        descend_once(each, seed=3)
    assert same(other.state_dict(), state.state_dict())


def test_terms_are_means_since_they_were_last_read() -> None:
    state = gan_state(0)
    state.add_terms({"pixel": 3.0}, 2)
    state.add_terms({"pixel": 1.0}, 2)
    assert state.read_terms() == {"pixel": 1.0}
    state.add_terms({"pixel": 5.0}, 1)
    assert state.read_terms() == {"pixel": 5.0}
    assert state.read_terms() == {}


def test_steps_fall_at_shares_of_the_budget() -> None:
    """ESRGAN (train_ESRGAN_x4.yml) halves at 50, 100, 200 and 300 of 400 thousand iterations."""
    config = Optimiser(learning_rate=1e-4, schedule="steps", milestones=(0.125, 0.25, 0.5, 0.75), gamma=0.5)
    expected = {0: 1e-4, 49_999: 1e-4, 50_000: 5e-5, 99_999: 5e-5, 100_000: 2.5e-5, 200_000: 1.25e-5, 399_999: 6.25e-6}
    assert {at: learning_rate_at(config, at, 400_000) for at in expected} == pytest.approx(expected)
    assert [learning_rate_at(config, at, 8) for at in range(8)] == pytest.approx(
        [1e-4, 5e-5, 2.5e-5, 2.5e-5, 1.25e-5, 1.25e-5, 6.25e-6, 6.25e-6]
    )


def test_steps_agree_with_torchs_scheduler() -> None:
    config = Optimiser(learning_rate=0.1, schedule="steps", milestones=(0.3, 0.55), gamma=0.25)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimiser, [6, 11], gamma=0.25)
    for iteration in range(20):
        assert learning_rate_at(config, iteration, 20) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()


def test_without_a_decay_the_average_is_the_model() -> None:
    state = new_state(MSRResNet(4, 1, 4), Optimiser(ema_decay=0))
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter += torch.randn_like(parameter)
    update_ema(state, 0.0)
    pairs = zip(state.ema.parameters(), state.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
