"""The loop: schedule, counters, errors, and that a killed run ends where an unbroken one does."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.config import Budget, LossConfig, Optimiser, learning_rate_at
from study.data import Batches, ImageSet, make_pairs
from study.losses.generator_loss import GeneratorLoss
from study.models import MSRResNet, VGGDiscriminator
from study.training import loop
from study.training.checkpoints import load_checkpoint
from study.training.loop import Diverged, Plan, Progress, train
from study.training.state import TrainState, new_state
from study.training.steps import Step, adversarial_step, fidelity_step

Evaluated = list[tuple[int, dict[str, float]]]


class Killed(Exception):
    """Stands for a kill -9: the run stops wherever it is, and nothing after it is executed."""


def plan(folder: Path, *, patch: int = 16, **changes: Any) -> Plan:
    budget = Budget(iterations=12, batch=2, patch=patch)
    optimiser = Optimiser(learning_rate=1e-3, schedule="cosine", minimum=1e-5, warmup=3, ema_decay=0.9)
    usual = Plan("fidelity", "fidelity-1", budget, optimiser, folder / "checkpoint.pt", checkpoint_every=4)
    return with_fields(usual, **changes)


def fidelity_state() -> TrainState:
    torch.manual_seed(5)
    return new_state(MSRResNet(4, 1, 4, init_scale=0.5), Optimiser())


def adversarial_state() -> TrainState:
    torch.manual_seed(5)
    return new_state(
        MSRResNet(4, 1, 4, init_scale=0.5), Optimiser(), discriminators={"adversarial": VGGDiscriminator(32, 2)}
    )


def gan_step() -> Step:
    return adversarial_step(GeneratorLoss(LossConfig(guidance="pixel", perceptual=0, adversarial=0.1)))


@pytest.fixture(scope="module")
def batches(training_images: ImageSet) -> Batches:
    return Batches(make_pairs(training_images, 4), patch=16, batch=2, seed=3)


@pytest.fixture(scope="module")
def large_batches(training_images: ImageSet) -> Batches:
    return Batches(make_pairs(training_images, 4), patch=32, batch=2, seed=3)


def one_pixel_state() -> TrainState:
    """A model whose one weight a fake step can set, where no image needs to be computed."""
    return new_state(nn.Conv2d(1, 1, 1, bias=False), Optimiser(ema_decay=0.0))


def scripted(pixel: Callable[[int], float]) -> Step:
    """A step that writes down what it is told instead of training."""
    steps_done = iter(range(10**6))

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        return {"pixel": torch.tensor(pixel(next(steps_done)))}

    return step


def same_bits(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Name what differs between two nested states."""
    if isinstance(one, Tensor):
        if not torch.equal(one, other):
            yield path
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            yield from same_bits(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from same_bits(*pair, f"{path}[{index}]")
    elif one != other and not path.endswith(("device_seconds", "peak_gib")):
        yield path


@dataclass
class Run:
    """What can be seen of a run from outside."""

    state: TrainState
    evaluated: Evaluated = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    def evaluate(self, state: TrainState, terms: dict[str, float]) -> None:
        self.evaluated.append((state.iteration, terms))

    def go(self, step: Step, batches: Batches, run_plan: Plan) -> "Run":
        train(self.state, step, batches, run_plan, evaluate=self.evaluate, on_progress=self.progress.append)
        return self


def killed_at(step: Step, call: int) -> Step:
    """The same step, but its `call`-th call (from 1) is the last thing the run does."""
    calls = iter(range(1, 10**6))

    def mortal(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if next(calls) == call:
            raise Killed
        return step(state, lq, hr)

    return mortal


@pytest.fixture(scope="module")
def unbroken(large_batches: Batches, tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)  # made before `one_thread` is, and the number of threads decides the last bits
    folder = tmp_path_factory.mktemp("unbroken")
    return Run(adversarial_state()).go(gan_step(), large_batches, plan(folder, patch=32, evaluate_every=6))


@pytest.mark.parametrize("kills", [[2], [8], [12], [5, 3, 6]])
def test_killed_adversarial_run_ends_bit_for_bit_where_an_unbroken_one_does(
    kills: list[int], unbroken: Run, large_batches: Batches, tmp_path: Path
) -> None:
    broken = plan(tmp_path, patch=32, evaluate_every=6)
    evaluated: Evaluated = []
    for call in kills:
        attempt = Run(adversarial_state(), evaluated)
        with pytest.raises(Killed):
            attempt.go(killed_at(gan_step(), call), large_batches, broken)
    last = Run(adversarial_state(), evaluated).go(gan_step(), large_batches, broken)
    assert list(same_bits(last.state.state_dict(), unbroken.state.state_dict())) == []
    assert [iteration for iteration, _ in evaluated] == [6, 12]  # every point once
    assert evaluated == unbroken.evaluated  # and with the same terms, to the last bit


@pytest.mark.parametrize("point", [6, 12])
def test_evaluation_that_was_killed_is_done_again(point: int, batches: Batches, tmp_path: Path) -> None:
    expected = Run(fidelity_state()).go(fidelity_step, batches, plan(tmp_path / "unbroken", evaluate_every=6))
    broken = plan(tmp_path / "broken", evaluate_every=6)

    def die(state: TrainState, _terms: dict[str, float]) -> None:
        if state.iteration == point:
            raise Killed

    with pytest.raises(Killed):
        train(fidelity_state(), fidelity_step, batches, broken, evaluate=die)
    last = Run(fidelity_state()).go(fidelity_step, batches, broken)
    assert list(same_bits(last.state.state_dict(), expected.state.state_dict())) == []
    assert last.evaluated == [found for found in expected.evaluated if found[0] >= point]


def test_finished_run_only_loads_its_last_state(batches: Batches, tmp_path: Path) -> None:
    first = Run(fidelity_state()).go(fidelity_step, batches, plan(tmp_path))
    again = Run(fidelity_state()).go(scripted(lambda _: math.nan), batches, plan(tmp_path))
    assert list(same_bits(again.state.state_dict(), first.state.state_dict())) == []
    assert (again.evaluated, again.progress) == ([], [])


def test_each_step_gets_its_own_batch_and_learning_rate_also_after_a_kill(tmp_path: Path) -> None:
    got: list[int] = []
    rates: list[float] = []

    class Spy:
        def at(self, step: int, *, rank: int, ranks: int) -> tuple[Tensor, Tensor]:
            assert (rank, ranks) == (0, 1)
            return torch.full((1, 3, 2, 2), float(step)), torch.zeros(1, 3, 8, 8)

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        got.append(int(lq[0, 0, 0, 0]))
        if len(got) == 7:
            raise Killed
        rates.append(state.optimiser.param_groups[0]["lr"])
        return {"pixel": torch.tensor(0.5)}

    spied = plan(tmp_path)
    with pytest.raises(Killed):
        train(one_pixel_state(), step, Spy(), spied)  # type: ignore[arg-type]
    train(one_pixel_state(), step, Spy(), spied)  # type: ignore[arg-type]
    assert got == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8, 9, 10, 11]  # back to the checkpoint at 4
    expected = [learning_rate_at(spied.optimiser, at, 12) for at in [*range(6), *range(4, 12)]]
    assert rates == expected


def test_stops_are_at_every_multiple_of_every_interval(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(
        loop, "save_checkpoint", lambda _path, _key, state: saved.append(state["counters"]["iteration"])
    )
    budget = Budget(iterations=64, batch=2, patch=16)
    looked = plan(tmp_path, budget=budget, checkpoint_every=40, evaluate_every=30)
    run = Run(one_pixel_state()).go(scripted(lambda step: step / 100), batches, looked)
    assert [progress.iteration for progress in run.progress] == [25, 30, 40, 50, 60, 64]
    assert [iteration for iteration, _ in run.evaluated] == [30, 60, 64]
    assert saved == [30, 40, 60, 64]


def test_terms_are_means_over_their_windows(batches: Batches, tmp_path: Path) -> None:
    budget = Budget(iterations=40, batch=2, patch=16)
    looked = plan(tmp_path, budget=budget, checkpoint_every=100, evaluate_every=30)
    run = Run(one_pixel_state()).go(scripted(lambda step: step / 100), batches, looked)
    # Steps 0..24, 25..29, 30..39 between looks; 0..29, 30..39 between evaluations.
    assert [progress.terms["pixel"] for progress in run.progress] == pytest.approx([0.12, 0.27, 0.345], rel=1e-6)
    assert [terms["pixel"] for _, terms in run.evaluated] == pytest.approx([0.145, 0.345], rel=1e-6)
    assert {(progress.stage, progress.iterations) for progress in run.progress} == {("fidelity", 40)}


def test_last_iteration_is_evaluated_without_an_eval_schedule(batches: Batches, tmp_path: Path) -> None:
    run = Run(one_pixel_state()).go(scripted(lambda _: 0.5), batches, plan(tmp_path))
    assert run.evaluated == [(12, {"pixel": 0.5})]


def test_counters_count_over_interruptions(batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(fidelity_state(), killed_at(fidelity_step, 7), batches, plan(tmp_path))
    state = fidelity_state()
    train(state, fidelity_step, batches, plan(tmp_path))
    assert (state.iteration, state.pixels_seen) == (12, 12 * 2 * 16 * 16)
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "fidelity-1")
    assert saved is not None
    assert saved["counters"]["device_seconds"] == state.device_seconds > 0


def test_average_moves_once_a_step(batches: Batches, tmp_path: Path) -> None:
    state = one_pixel_state()
    with torch.no_grad():
        state.model.weight.zero_()
        state.ema.weight.zero_()

    def to_one(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            state.model.weight.fill_(1.0)
        return {"pixel": torch.tensor(0.5)}

    train(state, to_one, batches, plan(tmp_path))
    assert float(state.ema.weight.detach()) == pytest.approx(1 - 0.9**12, rel=1e-5)


def test_checkpoint_of_another_key_is_refused(batches: Batches, tmp_path: Path) -> None:
    train(fidelity_state(), fidelity_step, batches, plan(tmp_path))
    state = fidelity_state()
    before = copy.deepcopy(state.state_dict())
    with pytest.raises(ValueError, match=r"checkpoint\.pt is a checkpoint of fidelity-1, but .* is fidelity-2"):
        train(state, fidelity_step, batches, plan(tmp_path, key="fidelity-2"))
    assert list(same_bits(state.state_dict(), before)) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, r"fidelity: the pixel term is nan at iteration 7; lower fidelity\.optimiser\.learning_rate \(0\.0"),
        (math.inf, r"fidelity: the pixel term is inf at iteration 7; .* raise fidelity\.optimiser\.warmup \(3\)"),
        (50.0, r"fidelity: the pixel term is 50 at iteration 7, more than any two images .*; lower fidelity"),
    ],
)
def test_divergence_names_the_term_and_is_neither_saved_nor_evaluated(
    value: float, problem: str, batches: Batches, tmp_path: Path
) -> None:
    run = Run(one_pixel_state())
    with pytest.raises(Diverged, match=problem):
        run.go(scripted(lambda step: value if step == 6 else 0.5), batches, plan(tmp_path, evaluate_every=4))
    assert [iteration for iteration, _ in run.evaluated] == [4]
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "fidelity-1")
    assert saved is not None
    assert saved["counters"]["iteration"] == 4


def test_a_term_other_than_the_pixels_is_named_too(batches: Batches, tmp_path: Path) -> None:
    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        return {"adversarial": torch.tensor(math.nan), "pixel": torch.tensor(0.1)}

    with pytest.raises(Diverged, match="adversarial: the adversarial term is nan"):
        train(one_pixel_state(), step, batches, plan(tmp_path, stage="adversarial"))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_divergence_names_the_first_iteration_and_what_was_wrong_there(batches: Batches, tmp_path: Path) -> None:
    """The discriminator's loss is first, although another term comes before it in each later step."""
    done = iter(range(1, 100))

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        at = next(done)
        wrong = [torch.tensor(math.nan if at > first else 1.0) for first in (9, 8, 9)]
        return dict(zip(("fidelity", "discriminator", "pixel"), wrong, strict=True))

    state = one_pixel_state()
    state.precision = "bf16"
    with pytest.raises(Diverged) as caught:
        train(state, step, batches, plan(tmp_path, stage="adversarial"))
    said = str(caught.value)
    assert said.startswith("adversarial: the discriminator term is nan at iteration 9; lower optimiser.learning_rate (")
    assert said.endswith("), lower loss.adversarial, set precision to fp32, or raise optimiser.warmup (3)")


def test_images_that_are_merely_bad_do_not_count_as_divergence(batches: Batches, tmp_path: Path) -> None:
    run = Run(one_pixel_state()).go(scripted(lambda _: 0.99), batches, plan(tmp_path))
    assert run.state.iteration == 12


@pytest.mark.parametrize("network", ["model", "adversarial"])
@pytest.mark.parametrize("last_step", [4, 12], ids=["before a checkpoint", "before the end"])
def test_weights_that_the_last_step_spoiled_are_divergence_although_the_terms_are_finite(
    network: str, last_step: int, batches: Batches, tmp_path: Path
) -> None:
    state = one_pixel_state()
    state.discriminators["adversarial"] = nn.Conv2d(1, 1, 1, bias=False)
    state.discriminator_optimisers["adversarial"] = torch.optim.Adam(state.discriminators["adversarial"].parameters())

    def spoil(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        # A step's terms are those from before its update: an infinite gradient shows only one step later.
        done = next(steps_done)
        if done == last_step:
            with torch.no_grad():
                {"model": state.model, **state.discriminators}[network].weight.fill_(math.nan)
        return {"pixel": torch.tensor(0.5)}

    steps_done = iter(range(1, 100))
    run = Run(state)
    with pytest.raises(Diverged, match=rf"fidelity: .*{network}.* not finite"):
        run.go(spoil, batches, plan(tmp_path, evaluate_every=4))
    assert all(iteration < last_step for iteration, _ in run.evaluated)
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "fidelity-1")
    assert saved is None or saved["counters"]["iteration"] < last_step
