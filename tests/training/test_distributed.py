"""Two processes that train together against one that trains alone (gloo, on the CPU)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from study.config import Budget, Optimiser, RunConfig, replace, to_dict
from study.files import StorageError
from study.training.active_clock import ActiveClock
from study.training.distributed import SINGLE_PROCESS, DistributedContext
from study.training.loop import Plan, _run_until, train
from study.training.state import new_state

ROOT = Path(__file__).resolve().parents[2]

VARIANTS: dict[str, dict[str, Any]] = {
    "relativistic": {"loss.gan": "relativistic"},
    "joint": {"loss.gan": "relativistic-joint"},
    "vanilla": {"loss.gan": "vanilla"},
    "loss-map": {"loss.guidance": "loss-map", "loss.fidelity": 10.0},  # so that its share of the sum shows
}


@pytest.fixture(scope="module")
def folder(small_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came of all methods, alone and together."""
    place = tmp_path_factory.mktemp("distributed")
    common = {
        "discriminator.name": "unet",  # no batch norm
        "budget.iterations": 20,
        "budget.batch": 4,
        "fidelity.budget": {"iterations": 20, "batch": 4},
        "autoencoder.budget": {"iterations": 20, "batch": 4},
        "loss.ldl": 1.0,
        "loss.adversarial": 1.0,  # so that what the logits' means are taken over shows
        "eval_schedule": {"evaluate_every": 10, "evaluate_share": 1e9, "checkpoint_every": 1},  # progress each step
    }
    configs = [to_dict(replace(small_run, common | changes)) for changes in VARIANTS.values()]
    command = [sys.executable, "-m", "tests.training.train_together", json.dumps(configs), str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "[0, 0, 0]", done.stderr
    return place


@pytest.mark.parametrize("number", range(len(VARIANTS)), ids=VARIANTS)
def test_two_processes_train_as_one_does(folder: Path, number: int) -> None:
    alone = json.loads((folder / f"{number}-1" / "rank0.json").read_text())
    first, second = (json.loads((folder / f"{number}-2" / f"rank{rank}.json").read_text()) for rank in (0, 1))

    assert len(alone["terms"]) == 20 + 20 + 20
    assert [(stage, iteration) for stage, iteration, _ in alone["terms"]][-1] == ("adversarial", 20)
    for (stage, iteration, terms), (_, _, expected), (_, _, others) in zip(
        first["terms"], alone["terms"], second["terms"], strict=True
    ):
        assert terms == pytest.approx(expected, abs=1e-5), (stage, iteration)
        assert terms == others
    assert first["points"] == alone["points"] == [10, 20]
    assert second["points"] == []


@pytest.mark.parametrize("number", range(len(VARIANTS)), ids=VARIANTS)
def test_their_weights_are_those_of_one(folder: Path, number: int) -> None:
    alone, together = (
        sorted((folder / f"{number}-{size}").rglob("*.safetensors"), key=lambda path: path.name) for size in (1, 2)
    )

    assert [path.name for path in alone] == [path.name for path in together]
    assert len(alone) == 4
    for ours, theirs in zip(alone, together, strict=True):
        for name, expected in load_file(ours).items():
            torch.testing.assert_close(load_file(theirs)[name], expected, rtol=0, atol=1e-4)


def test_means_of_logits_are_over_all_processes_with_gradients(folder: Path) -> None:
    alone = json.loads((folder / "0-1" / "rank0.json").read_text())["relativistic"]
    ranks = [json.loads((folder / "0-2" / f"rank{rank}.json").read_text())["relativistic"] for rank in (0, 1)]

    for rank in (0, 1):
        for found, expected in zip(ranks[rank], alone, strict=True):
            for values, whole in zip(found, expected, strict=True):
                torch.testing.assert_close(torch.tensor(values), torch.tensor(whole)[rank::2], rtol=1e-6, atol=1e-8)


def test_alone_there_is_nothing_to_exchange() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 3.0])

    SINGLE_PROCESS.average_gradients([parameter])

    assert parameter.grad.tolist() == [1, 3]
    assert SINGLE_PROCESS.mean(torch.tensor([1.0, 3.0])).item() == 2
    assert SINGLE_PROCESS.average({"pixel": 0.5}, torch.device("cpu")) == {"pixel": 0.5}
    assert SINGLE_PROCESS.broadcast(False) is False
    assert SINGLE_PROCESS.is_main


class Pair(DistributedContext):
    """A context of two processes in which the other does the same as this one."""

    def average(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        return values


def test_the_time_of_all_processes_is_what_a_run_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 13.0])
    monkeypatch.setattr(ActiveClock, "seconds", lambda _: next(times))
    state = new_state(torch.nn.Conv2d(3, 3, 1), Optimiser(), distributed=Pair(0, 2))
    budget = Budget(iterations=1, batch=2, patch=8)
    plan = Plan("fidelity", "key", budget, Optimiser(), tmp_path / "checkpoint.pt", checkpoint_every=1, seed=0)
    share = (torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 8, 8))

    _run_until(1, state, lambda state, lq, hr: {"pixel": hr.mean()}, iter([share]), plan, ActiveClock())

    assert state.device_seconds == 2 * 3.0
    assert state.pixels_seen == 2 * 8 * 8


def test_processes_that_read_different_checkpoints_do_not_train(tmp_path: Path) -> None:
    class Stale(Pair):
        def broadcast(self, value: Any) -> Any:
            return value + 40  # the main process is further on

    state = new_state(torch.nn.Conv2d(3, 3, 1), Optimiser(), distributed=Stale(1, 2))
    budget = Budget(iterations=80, batch=2, patch=8)
    plan = Plan("fidelity", "key", budget, Optimiser(), tmp_path / "checkpoint.pt", checkpoint_every=1, seed=0)
    with pytest.raises(StorageError, match=r"reads another checkpoint than the main one.*checkpoint\.pt"):
        train(state, lambda *_: {}, None, plan)  # type: ignore[arg-type]  # no batch is read
