"""The stages on small images: each artifact trained once, every run resumable, nothing built that is not used."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from study.config import DataConfig, PerceptualLayers, RunConfig, replace, to_dict
from study.models import load_weights
from study.models.build import build_generator
from study.record.events import ArtifactEnded, PointEvaluated, ReferenceEvaluated
from study.record.paths import RunDirectory, TrialDirectory
from study.training import loop
from study.training.checkpoints import load_checkpoint
from study.training.context import RunContext
from study.training.evaluation import evaluate_autoencoder, evaluate_baseline, evaluate_generator
from study.training.loop import Diverged, Progress, Stopped
from study.training.stages import adversarial, artifacts, autoencoder
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact, evaluate_artifact, make_artifact
from study.training.stages.autoencoder import load_autoencoder
from study.training.stages.fidelity import load_generator
from study.training.stages.graph import STAGES, artifact_key

OpenContext = Callable[[Path], RunContext]
TRIAL = "trials/0000"
POINTS = f"{TRIAL}/points"
LEFT = ["checkpoint.previous.pt", "checkpoint.pt", "config.json", "done.json", "points"]


class Killed(Exception):
    """Stands for a kill -9."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages whose training was entered, in order."""
    entered: list[str] = []
    train = artifacts.train

    def spy(state: Any, step: Any, batches: Any, plan: Any, **options: Any) -> None:
        entered.append(plan.stage)
        train(state, step, batches, plan, **options)

    for module in (artifacts, adversarial):
        monkeypatch.setattr(module, "train", spy)
    return entered


@pytest.fixture(scope="session")
def finished_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the first test to need it fills, for all."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def context(open_context: OpenContext, small_run: RunConfig, finished_artifacts: Path) -> RunContext:
    """A context in which everything upstream of an adversarial run is finished."""
    opened = open_context(finished_artifacts)
    ensure_artifact(small_run, "autoencoder", opened)
    return opened


def killed_at(iteration: int, stage: str) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.iteration) == (stage, iteration):
            raise Killed

    return on_progress


def equal_states(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def without_cost(point: PointEvaluated) -> PointEvaluated:
    """A point without what a clock and the memory's meter said."""
    return dataclasses.replace(point, spent=dataclasses.replace(point.spent, device_seconds=0, peak_gib=None))


def test_what_each_stage_starts_from(small_run: RunConfig) -> None:
    assert STAGES["fidelity"].upstream(small_run) == []
    assert [stage for _, stage in STAGES["adversarial"].upstream(small_run)] == ["fidelity", "autoencoder"]
    ((decoder, stage),) = STAGES["autoencoder"].upstream(replace(small_run, {"autoencoder.features": 8}))
    assert (stage, decoder.generator.features) == ("fidelity", 8)
    plain = replace(small_run, {"loss.guidance": "pixel"})
    assert [stage for _, stage in STAGES["adversarial"].upstream(plain)] == ["fidelity"]


def test_artifact_is_trained_once_with_what_it_starts_from(
    open_context: OpenContext, small_run: RunConfig, trained: list[str], tmp_path: Path
) -> None:
    first = ensure_artifact(small_run, "autoencoder", open_context(tmp_path))
    assert trained == ["fidelity", "autoencoder"]
    assert not first.reused
    other_loss = replace(small_run, {"loss.adversarial": 0.5, "budget.iterations": 9, "seed": 3})
    again = ensure_artifact(other_loss, "autoencoder", open_context(tmp_path))
    generator = ensure_artifact(other_loss, "fidelity", open_context(tmp_path))
    assert trained == ["fidelity", "autoencoder"]  # another study finds both
    assert (again.key, again.spent, again.reused, generator.reused) == (first.key, first.spent, True, True)
    # pixels_seen: 4 steps of 2 patches of 32 x 32
    assert {name: getattr(first.spent, name) for name in ("iterations", "pixels_seen")} == {
        "iterations": 4,
        "pixels_seen": 8192,
    }
    assert first.spent.device_seconds > 0


def test_finished_artifact_is_whole_and_named_by_its_key(context: RunContext, small_run: RunConfig) -> None:
    for stage in ("fidelity", "autoencoder"):
        key = artifact_key(small_run, stage, context.train)
        folder = context.artifacts.folder / key
        content = sorted(path.name for path in folder.iterdir())
        assert content == ["budget.json", "complete.json", "config.json", "weights.safetensors"]
        described = json.loads((folder / "config.json").read_text())
        assert (described["key"], described["data"]) == (key, context.train.fingerprint)
    assert list((context.artifacts.folder / ".partial").iterdir()) == []


def test_another_bottleneck_trains_another_autoencoder_from_the_same_generator(
    open_context: OpenContext, small_run: RunConfig, trained: list[str], tmp_path: Path
) -> None:
    wider = replace(small_run, {"autoencoder.bottleneck_channels": 5})
    keys = {ensure_artifact(run, "autoencoder", open_context(tmp_path)).key for run in (small_run, wider)}
    assert trained == ["fidelity", "autoencoder", "autoencoder"]
    assert len(keys) == 2


@pytest.mark.parametrize("stage", ["fidelity", "autoencoder"])
def test_interrupted_artifact_goes_on_to_the_same_weights(
    stage: str,
    open_context: OpenContext,
    small_run: RunConfig,
    context: RunContext,
    trained: list[str],
    tmp_path: Path,
) -> None:
    trained.clear()
    with pytest.raises(Killed):
        ensure_artifact(small_run, "autoencoder", open_context(tmp_path), killed_at(4, stage))
    reached: list[tuple[str, int]] = []
    resumed = open_context(tmp_path)
    found = ensure_artifact(
        small_run, "autoencoder", resumed, lambda done: reached.append((done.stage, done.iteration))
    )
    assert reached[0] == (stage, 4)  # from the checkpoint at 2: the first half is not done again
    assert trained == (["fidelity", "fidelity", "autoencoder"] if stage == "fidelity" else ["fidelity", *[stage] * 2])
    unbroken = context.artifacts.folder / found.key / "weights.safetensors"
    assert found.weights.read_bytes() == unbroken.read_bytes()
    assert equal_states(load_generator(small_run, resumed), load_generator(small_run, context))


CONCURRENT = """
import json, os, sys, time
from pathlib import Path
import numpy as np
import torch
from study.config import from_dict
from study.data import ImageSet
from study.metrics.evaluator import study_evaluator
from study.training.artifact_store import ArtifactFolder
from study.training.stages.artifacts import ensure_artifact
from study.training.context import RunContext

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # the first one of a process imports half of torch: do it before forking
config = from_dict(json.loads(sys.argv[1]))
noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
images = ImageSet.loaded("noise", ("noise",), (noise,))
device = torch.device("cpu")

def job(folder, name, on_progress):
    reached = []
    def report(progress):
        reached.append(progress.iteration)
        on_progress(progress.iteration)
    context = RunContext(images, images, ArtifactFolder(folder), study_evaluator(None, device), {}, device)
    artifact = ensure_artifact(config, "fidelity", context, report)
    (folder / (name + ".json")).write_text(json.dumps({"reused": artifact.reused, "reached": reached}))

def fork(folder, name, on_progress):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job(folder, name, on_progress)
            code = 0
        finally:
            os._exit(code)
    return child

for scenario in ("both live", "holder dies"):
    folder = Path(sys.argv[2]) / scenario
    folder.mkdir()
    reader, writer = os.pipe()
    def first(iteration):
        os.write(writer, b".")
        if iteration == 4:
            time.sleep(0.5)  # the second is waiting by now
            if scenario == "holder dies":
                os._exit(9)
    holder = fork(folder, "first", first)
    os.read(reader, 1)  # it holds the lock
    waiter = fork(folder, "second", lambda iteration: None)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (holder, waiter)]
    print(json.dumps(codes))
"""


def test_two_processes_that_ask_at_once_train_once(small_run: RunConfig, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONCURRENT, json.dumps(to_dict(small_run)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[0, 0], [9, 0]], done.stderr

    def found(scenario: str, name: str) -> dict[str, Any]:
        return json.loads((tmp_path / scenario / f"{name}.json").read_text())

    assert found("both live", "first") == {"reused": False, "reached": [2, 4]}
    assert found("both live", "second") == {"reused": True, "reached": []}
    assert not (tmp_path / "holder dies" / "first.json").exists()
    assert found("holder dies", "second") == {"reused": False, "reached": [4]}  # the dead one's checkpoint at 2 is used


def test_autoencoder_starts_from_the_fidelity_weights(context: RunContext, small_run: RunConfig) -> None:
    started = autoencoder._initial_network(small_run, context)
    assert equal_states(started.decoder, load_generator(small_run, context))
    assert not equal_states(started.decoder, load_autoencoder(small_run, context).decoder)  # and is trained then


def test_loaded_autoencoder_is_frozen(context: RunContext, small_run: RunConfig) -> None:
    autoencoder = load_autoencoder(small_run, context)
    assert not autoencoder.training
    assert not any(parameter.requires_grad for parameter in autoencoder.parameters())


def test_adversarial_networks_start_from_fidelity_weights_and_seed(context: RunContext, small_run: RunConfig) -> None:
    states = [adversarial._initial_state(replace(small_run, {"seed": seed}), context) for seed in (1, 1, 2)]
    fidelity = load_generator(small_run, context)
    assert all(equal_states(network, fidelity) for state in states for network in (state.model, state.ema))
    one, same, other = (state.discriminators["adversarial"] for state in states)
    assert equal_states(one, same)
    assert not equal_states(one, other)


def test_points_are_on_disk_and_reported_again(
    context: RunContext, small_run: RunConfig, trained: list[str], tmp_path: Path
) -> None:
    reported: list[PointEvaluated] = []
    on_disk: list[bool] = []

    def report(point: PointEvaluated) -> None:
        reported.append(point)
        on_disk.append(TrialDirectory(tmp_path, 0).numbers(point.point.iteration).exists())

    train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), report)
    assert [point.point.iteration for point in reported] == [3, 6]
    assert on_disk == [True, True]
    assert sorted(path.name for path in (tmp_path / TRIAL).iterdir()) == LEFT
    described = json.loads((tmp_path / TRIAL / "config.json").read_text())
    assert described.get("config", described) == to_dict(small_run)
    assert json.loads((tmp_path / TRIAL / "done.json").read_text()) == {
        "key": artifact_key(small_run, "adversarial", context.train)
    }
    trained.clear()
    again: list[PointEvaluated] = []
    train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), again.append)
    assert trained == []
    assert again == reported


def test_point_holds_what_its_weights_are_worth(context: RunContext, small_run: RunConfig, tmp_path: Path) -> None:
    reported: list[PointEvaluated] = []
    train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), reported.append)
    for point in reported:
        generator = build_generator(small_run.generator, 4)
        load_weights(generator, TrialDirectory(tmp_path, 0).weights(point.point.iteration))
        expected = evaluate_generator(generator, context.val_pairs(DataConfig()), context.evaluator)
        assert (point.metrics, point.images) == (expected.metrics, expected.images)
        assert point.metrics.keys() == {"psnr_y", "ssim_y", "swd", "lr_psnr", "null_energy"}
        assert point.terms.keys() == {"fidelity", "ldl", "adversarial", "discriminator", "pixel"}
        assert (point.spent.iterations, point.spent.pixels_seen) == (
            point.point.iteration,
            point.point.iteration * 2048,
        )
        for name in context.val.names:
            sample = tmp_path / point.samples / f"{name}.png"
            assert Image.open(sample).size == (48, 48)
    assert not equal_states(generator, load_generator(small_run, context))  # it was trained


@pytest.mark.parametrize(
    ("where", "reports"),
    [
        ("progress 2", [3, 6]),
        ("progress 4", [3, 3, 6]),
        ("report 3", [3, 3, 3, 6]),
        ("report 6", [3, 6, 3, 6, 6]),
        ("weights 6", [3, 3, 6]),
        ("done", [3, 6, 3, 6]),
    ],
)
def test_killed_adversarial_run_ends_where_an_unbroken_one_does(
    where: str,
    reports: list[int],
    context: RunContext,
    small_run: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected: list[PointEvaluated] = []
    train_adversarial(small_run, context, TrialDirectory(tmp_path / "unbroken", 0), expected.append)
    seen: list[PointEvaluated] = []
    kind, _, at = where.partition(" ")

    def report(point: PointEvaluated) -> None:
        seen.append(point)
        if kind == "report" and point.point.iteration == int(at):
            raise Killed

    def killed_before(write: Any, name: str) -> Any:
        def replaced(path: Path, content: Any) -> None:
            if path.name == name:
                raise Killed
            write(path, content)

        return replaced

    writers = {"weights": ("write_point", f"{at.zfill(7)}.json"), "done": ("write_json", "done.json")}
    on_progress = killed_at(int(at), "adversarial") if kind == "progress" else None
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        for name, file in (writers[kind],) if kind in writers else ():
            patch.setattr(adversarial, name, killed_before(getattr(adversarial, name), file))
        with pytest.raises(Killed):
            train_adversarial(small_run, context, TrialDirectory(broken, 0), report, on_progress)
    assert not (broken / TRIAL / "done.json").exists()
    train_adversarial(small_run, context, TrialDirectory(broken, 0), seen.append)
    assert [point.point.iteration for point in seen] == reports
    last = {point.point: without_cost(point) for point in seen}
    assert last == {point.point: without_cost(point) for point in expected}
    for name in ("0000003.safetensors", "0000006.safetensors", "0000006/test0.png"):
        assert (broken / TRIAL / "points" / name).read_bytes() == (
            tmp_path / "unbroken" / TRIAL / "points" / name
        ).read_bytes()
    assert sorted(path.name for path in (broken / TRIAL).iterdir()) == LEFT


@pytest.mark.parametrize("damage", ["digit", "half", "none left"])
def test_a_run_with_a_damaged_point_is_trained_again(
    damage: str, context: RunContext, small_run: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected: list[PointEvaluated] = []
    train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), expected.append)
    numbers = TrialDirectory(tmp_path, 0).numbers(6)
    text = numbers.read_text()
    match damage:
        case "digit":
            psnr = str(expected[1].metrics["psnr_y"])
            numbers.write_text(text.replace(psnr, f"9{psnr}"))
        case "half":
            numbers.write_text(text[: len(text) // 2])
        case "none left":
            numbers.unlink()
    again: list[PointEvaluated] = []
    train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), again.append)
    assert "trial 0 is trained again" in caplog.text
    assert [without_cost(point) for point in again[-2:]] == [without_cost(point) for point in expected]


def test_run_that_is_asked_to_stop_saves_where_it_is_and_goes_on_from_there(
    context: RunContext, small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SYNC_INTERVAL", 1)
    run = replace(small_run, {"eval_schedule.checkpoint_every": 100})
    train_adversarial(run, context, TrialDirectory(tmp_path / "unbroken", 0), lambda _: None)
    reached: list[int] = []
    directory = TrialDirectory(tmp_path / "run", 0)
    stopping = dataclasses.replace(context, stopping=lambda: reached[-1] == 2)
    with pytest.raises(Stopped, match="adversarial was asked to stop after iteration 2"):
        train_adversarial(
            run,
            stopping,
            directory,
            lambda _: None,
            lambda done: reached.append(done.iteration),
        )
    train_adversarial(run, context, directory, lambda _: None, lambda done: reached.append(done.iteration))
    assert reached == [1, 2, 3, 4, 5, 6]  # no step is done twice
    for name in ("0000003.safetensors", "0000006.safetensors"):
        assert (tmp_path / "run" / POINTS / name).read_bytes() == (tmp_path / "unbroken" / POINTS / name).read_bytes()


def test_run_that_is_through_when_asked_to_stop_is_through(
    context: RunContext, small_run: RunConfig, tmp_path: Path
) -> None:
    at_end: list[int] = []
    stopping = dataclasses.replace(context, stopping=lambda: bool(at_end))
    on_progress = lambda progress: at_end.append(6) if progress.iteration == 6 else None  # noqa: E731
    train_adversarial(small_run, stopping, TrialDirectory(tmp_path, 0), lambda _: None, on_progress)
    assert (tmp_path / TRIAL / "done.json").exists()


LENGTHS = {  # of runs that continue each other: their schedules have the same learning rates
    "constant": {6: {}, 12: {}},
    "steps": {6: {"schedule": "steps", "milestones": [0.5]}, 12: {"schedule": "steps", "milestones": [0.25, 0.75]}},
    "cosine": {6: {"schedule": "cosine"}, 12: {"schedule": "cosine", "restarts": 2}},
}


@pytest.mark.parametrize(
    ("schedule", "killed", "first"),
    [
        ("constant", (), 8),
        ("steps", (4,), 4),
        ("cosine", (None, 8), 8),
    ],
)
def test_a_longer_budget_ends_bit_for_bit_like_a_run_of_that_length(
    schedule: str,
    killed: tuple[int | None, ...],
    first: int,
    context: RunContext,
    small_run: RunConfig,
    tmp_path: Path,
) -> None:
    short, long = (
        replace(small_run, {"budget.iterations": iterations, "optimiser": {"schedule": "constant", **optimiser}})
        for iterations, optimiser in LENGTHS[schedule].items()
    )
    straight, extended = TrialDirectory(tmp_path / "straight", 0), TrialDirectory(tmp_path / "extended", 0)
    expected: list[PointEvaluated] = []
    train_adversarial(long, context, straight, expected.append)
    for config, at in zip((short, long), killed or (None,), strict=False):
        with nullcontext() if at is None else pytest.raises(Killed):
            on_progress = None if at is None else killed_at(at, "adversarial")
            train_adversarial(config, context, extended, lambda _: None, on_progress)
    reached: list[int] = []
    points: list[PointEvaluated] = []
    train_adversarial(long, context, extended, points.append, lambda done: reached.append(done.iteration))
    assert reached[0] == first  # no iteration of a checkpoint is trained again
    assert [without_cost(point) for point in points] == [without_cost(point) for point in expected]
    for path in straight.points.glob("*.safetensors"):
        assert (extended.points / path.name).read_bytes() == path.read_bytes(), path.name
    torch.testing.assert_close(end_of(extended, long, context), end_of(straight, long, context), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"budget\.iterations 6 is below the 12"):
        train_adversarial(short, context, extended, lambda _: None)


def end_of(directory: TrialDirectory, config: RunConfig, context: RunContext) -> dict[str, Any]:
    """The whole last state of a run but what a clock and the memory's meter said."""
    state = load_checkpoint(directory.checkpoint, artifact_key(config, "adversarial", context.train))
    assert state is not None
    del state["counters"]["device_seconds"], state["counters"]["peak_gib"]
    return state


def test_a_run_of_another_schedule_is_not_continued(context: RunContext, small_run: RunConfig, tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path, 0)
    train_adversarial(small_run, context, directory, lambda _: None)
    before = {path: path.read_bytes() for path in (tmp_path / TRIAL).rglob("*") if path.is_file()}
    longer = replace(small_run, {"budget.iterations": 12, "optimiser.learning_rate": 1e-3})
    with pytest.raises(ValueError, match=r"iteration 1 had the learning rate .* give --set optimiser.learning_rate="):
        train_adversarial(longer, context, directory, lambda _: None)
    other_loss = replace(small_run, {"budget.iterations": 12, "loss.adversarial": 0.5})
    with pytest.raises(ValueError, match="belongs to adversarial-"):
        train_adversarial(other_loss, context, directory, lambda _: None)
    assert {path: path.read_bytes() for path in (tmp_path / TRIAL).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("finished", [False, True])
def test_directory_of_another_configuration_is_refused(
    finished: bool, context: RunContext, small_run: RunConfig, tmp_path: Path
) -> None:
    directory = TrialDirectory(tmp_path, 0)
    if finished:
        train_adversarial(small_run, context, directory, lambda _: None)
    else:
        with pytest.raises(Killed):
            train_adversarial(
                small_run, context, TrialDirectory(tmp_path, 0), lambda _: None, killed_at(4, "adversarial")
            )
    described = (tmp_path / TRIAL / "config.json").read_text()
    reported: list[PointEvaluated] = []
    other = replace(small_run, {"loss.adversarial": 0.5})
    with pytest.raises(ValueError, match="adversarial-"):
        train_adversarial(other, context, TrialDirectory(tmp_path, 0), reported.append)
    assert reported == []  # another configuration's points are not this one's
    assert (tmp_path / TRIAL / "config.json").read_text() == described


def test_divergence_keeps_the_points_that_were_reached(
    context: RunContext, small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_step = adversarial._step

    def spoiled(config: RunConfig, context: RunContext) -> Any:
        step = make_step(config, context)

        def spoil(state: Any, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
            terms = step(state, lq, hr)
            return {**terms, "ldl": terms["ldl"] * float("nan")} if state.iteration >= 4 else terms

        return spoil

    monkeypatch.setattr(adversarial, "_step", spoiled)
    reported: list[PointEvaluated] = []
    with pytest.raises(Diverged, match="adversarial: the ldl term is nan"):
        train_adversarial(small_run, context, TrialDirectory(tmp_path, 0), reported.append)
    assert [point.point.iteration for point in reported] == [3]
    assert sorted(path.name for path in (tmp_path / TRIAL / "points").glob("*.json")) == ["0000003.json"]
    assert not (tmp_path / TRIAL / "done.json").exists()


def test_pixel_guidance_needs_no_autoencoder(
    open_context: OpenContext, small_run: RunConfig, trained: list[str], tmp_path: Path
) -> None:
    opened = open_context(tmp_path / "artifacts")
    run = replace(small_run, {"loss.guidance": "pixel", "loss.fidelity": 0.01, "budget.iterations": 2})
    for config, stage in STAGES["adversarial"].upstream(run):
        ensure_artifact(config, stage, opened)
    reported: list[PointEvaluated] = []
    train_adversarial(run, opened, TrialDirectory(tmp_path / "run", 0), reported.append)
    assert trained == ["fidelity", "adversarial"]
    assert "fidelity" in reported[0].terms
    assert not list((tmp_path / "artifacts").glob("autoencoder-*"))


@pytest.mark.parametrize(
    ("changes", "unused", "terms"),
    [
        ({"loss.adversarial": 0}, "build_discriminator", {"fidelity", "ldl", "pixel"}),
        ({"loss.fidelity": 0}, "load_autoencoder", {"ldl", "adversarial", "discriminator", "pixel"}),
        ({"loss.perceptual": 0}, "build_perceptual", {"fidelity", "ldl", "adversarial", "discriminator", "pixel"}),
    ],
)
def test_what_has_weight_zero_is_not_built(
    changes: dict[str, float],
    unused: str,
    terms: set[str],
    context: RunContext,
    small_run: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adversarial, unused, None)
    reported: list[PointEvaluated] = []
    train_adversarial(
        replace(small_run, {**changes, "budget.iterations": 2}), context, TrialDirectory(tmp_path, 0), reported.append
    )
    assert [point.terms.keys() for point in reported] == [terms]


def test_perceptual_term_is_built_from_the_weights_at_hand(
    context: RunContext, small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, Path]] = []

    class Distance(nn.Module):
        def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
            return (sr - hr).square().mean(dim=(1, 2, 3))

    def build(name: str, path: Path, layers: PerceptualLayers) -> nn.Module:
        assert layers == PerceptualLayers()
        built.append((name, path))
        return Distance()

    monkeypatch.setattr(adversarial, "build_perceptual", build)
    context.backbones = {"alexnet": Path("alexnet.pth"), "squeezenet": Path("squeezenet.pth")}
    reported: list[PointEvaluated] = []
    run = replace(small_run, {"loss.perceptual": 0.5, "budget.iterations": 2})
    train_adversarial(run, context, TrialDirectory(tmp_path, 0), reported.append)
    assert built == [("squeezenet", Path("squeezenet.pth"))]
    assert reported[0].terms["perceptual"] > 0


def test_finished_artifacts_are_evaluated(context: RunContext, small_run: RunConfig, tmp_path: Path) -> None:
    test = context.val_pairs(DataConfig())
    generator = evaluate_artifact(small_run, "fidelity", context, tmp_path / "samples")
    assert generator == evaluate_generator(load_generator(small_run, context), test, context.evaluator)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["test0.png", "test1.png"]
    (made,) = make_artifact(small_run, "autoencoder", context, RunDirectory(tmp_path))
    assert isinstance(made, ArtifactEnded)
    expected = evaluate_autoencoder(load_autoencoder(small_run, context), test, context.evaluator)
    assert (made.metrics, made.reused) == (expected.metrics, True)
    assert made.key == artifact_key(small_run, "autoencoder", context.train)
    ended, reference = make_artifact(small_run, "fidelity", context, RunDirectory(tmp_path))
    assert isinstance(reference, ReferenceEvaluated)
    assert (ended.metrics, reference.metrics, reference.images) == (
        generator.metrics,
        generator.metrics,
        generator.images,
    )
    assert reference.samples == f"references/{artifact_key(small_run, 'fidelity', context.train)}"


def test_bicubic_and_references_are_saved_beside_each_other(context: RunContext, tmp_path: Path) -> None:
    evaluation = evaluate_baseline(DataConfig(), context, RunDirectory(tmp_path))
    assert evaluation.metrics["psnr_y"] == np.mean([values["psnr_y"] for values in evaluation.images.values()])
    sizes = {"hr": (48, 48), "lq": (12, 12), "bicubic": (48, 48)}
    for folder, size in sizes.items():
        assert [Image.open(tmp_path / "references" / folder / f"{name}.png").size for name in context.val.names] == [
            size,
            size,
        ]
