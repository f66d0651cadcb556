"""The stages of the other methods: killed and continued to the same bits, frozen parts, weights that were given."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from study.config import DataConfig, Optimiser, RunConfig, replace, stage_key
from study.models import Autoencoder, RRDBNet, SPSRGenerator, save_weights
from study.models.build import build_autoencoder, build_generator
from study.record.events import PointEvaluated
from study.record.paths import RunDirectory, TrialDirectory
from study.training.context import RunContext
from study.training.evaluation import evaluate_baseline
from study.training.loop import Progress, _seed_networks
from study.training.preflight import check_initial_weights
from study.training.stages import adversarial, artifacts, autoencoder
from study.training.stages.adversarial import export_generator, train_adversarial
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.autoencoder import load_autoencoder
from study.training.stages.fidelity import load_generator
from study.training.stages.graph import artifact_key, needs_of
from study.training.state import new_state
from study.training.steps import autoencoder_step

OpenContext = Callable[[Path], RunContext]

SPSR = {
    "generator": {"name": "spsr", "blocks": 4},
    "discriminator.name": "spsr",
    "loss": {"guidance": "pixel", "ldl": 0, "gan": "relativistic-joint"},
    "loss.gradient": 0.1,
    "loss.branch": 0.5,
    "loss.gradient_adversarial": 1e-3,
    "fusion_share": 0.5,
}
SWINIR = {"generator": {"name": "swinir", "blocks": 1, "depth": 2, "heads": 2, "window": 4, "drop_path": 0.5}}
REAL = {
    "data.degradation": "aesop-real",
    "discriminator.name": "unet",
    "loss": {"gan": "vanilla", "ldl": 0},
    "budget.patch": 64,
    "fidelity.budget.patch": 64,
    "autoencoder": {"bottleneck_weight": 0, "frozen_decoder": 1},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "spsr": SPSR,
    "swinir": SWINIR,
    "real": REAL,
    "probabilistic": {"loss.guidance": "probabilistic"},
    "bicubic encoder": {"autoencoder": {"encoder": "bicubic", "bicubic_skip": False}},
    "half frozen decoder": {"autoencoder.frozen_decoder": 0.5},
}


class Killed(Exception):
    """Stands for a kill -9."""


def killed_in(stage: str, iteration: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.iteration) == (stage, iteration):
            raise Killed

    return on_progress


def whole_run(config: RunConfig, context: RunContext, folder: Path, on_progress: Any = None) -> list[PointEvaluated]:
    points: list[PointEvaluated] = []
    if config.data.degradation != "bicubic":
        context.val = context.train  # the held-out images are too small for it
    for need in needs_of(config, "adversarial", lambda run, stage: artifact_key(run, stage, context.train)):
        ensure_artifact(need.config, need.stage, context, on_progress)
    train_adversarial(config, context, TrialDirectory(folder, 0), points.append, on_progress)
    return points


@pytest.mark.parametrize("method", VARIANTS)
def test_a_killed_run_of_each_method_ends_bit_for_bit_where_an_unbroken_one_does(
    method: str, open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    """SwinIR's drop-path and real-world degradations are random in each step, yet functions of seed and step."""
    config = replace(small_run, VARIANTS[method])
    unbroken = whole_run(config, open_context(tmp_path / "a"), tmp_path / "unbroken")
    stopping = open_context(tmp_path / "b")
    for stage, iteration in (("fidelity", 4), ("autoencoder", 4), ("adversarial", 4)):
        if stage in config.stages:
            with pytest.raises(Killed):
                whole_run(config, stopping, tmp_path / "broken", killed_in(stage, iteration))
    broken = whole_run(config, stopping, tmp_path / "broken")
    assert [(point.metrics, point.images, point.terms) for point in broken] == [
        (point.metrics, point.images, point.terms) for point in unbroken
    ]
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("weights.safetensors"))
    assert len(files) == len(list(needs_of(config, "adversarial", lambda run, stage: stage_key(run, stage, ""))))
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    last = "trials/0000/points/0000006.safetensors"
    assert (tmp_path / "unbroken" / last).read_bytes() == (tmp_path / "broken" / last).read_bytes()


def test_swinirs_drop_path_differs_from_step_to_step(small_run: RunConfig) -> None:
    network = build_generator(replace(small_run, SWINIR).generator, 4).train()
    lq = torch.rand(4, 3, 8, 8)
    outputs = []
    for iteration in (0, 1, 0):
        _seed_networks(7, iteration)
        outputs.append(network(lq))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


def test_training_leaves_the_global_random_numbers_alone(
    open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    ensure_artifact(small_run, "fidelity", open_context(tmp_path))
    assert torch.equal(torch.rand(3), expected)


# --- parts that do not train at first --------------------------------------------------------------------------------


@pytest.mark.parametrize(("iteration", "fusion_only"), [(0, True), (3, True), (4, False), (9, False)])
def test_fusion_layers_of_spsr_train_alone_at_first(
    iteration: int, fusion_only: bool, open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    """SPSR: in steps below 5, counted from 1, which are the first four."""
    config = replace(small_run, {**SPSR, "fusion_share": 0.5, "budget.iterations": 10})
    context = open_context(tmp_path)
    ensure_artifact(config, "fidelity", context)
    state = adversarial._initial_state(config, context)
    state.iteration = iteration
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    step = adversarial._step(config, context)
    step(state, torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32))
    moved = {name.split(".")[0] for name, tensor in state.model.state_dict().items() if not tensor.equal(before[name])}
    assert moved == ({"fusion"} if fusion_only else {"fusion", "trunk", "branch"})


@pytest.mark.parametrize(("iteration", "frozen"), [(0, True), (4, True), (5, False)])
def test_a_decoder_is_frozen_for_its_share(iteration: int, frozen: bool) -> None:
    """As in AESOP's trainer: unfrozen where the option is below the iteration, counted from 1."""
    state = new_state(Autoencoder(3, 4, 16, 1, 4, "msrresnet"), Optimiser(learning_rate=0.01))
    state.iteration = iteration
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    autoencoder_step(frozen_until=5)(state, torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32))
    moved = {name.split(".")[0] for name, tensor in state.model.state_dict().items() if not tensor.equal(before[name])}
    assert ("decoder" not in moved) == frozen
    assert {"conv_first", "body", "conv_last"} <= moved


def test_a_decoder_that_stays_frozen_is_the_fidelity_generator(
    open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    config = replace(small_run, {"autoencoder.frozen_decoder": 1})
    context = open_context(tmp_path)
    ensure_artifact(config, "autoencoder", context)
    decoder, generator = load_autoencoder(config, context).decoder, load_generator(config, context)
    assert all(torch.equal(tensor, decoder.state_dict()[name]) for name, tensor in generator.state_dict().items())


def test_the_scale_head_learns_the_error(small_run: RunConfig) -> None:
    """docs/methods/aesop-ablations.md: L1(b, |A(x) - x|), where the error is a constant."""
    torch.manual_seed(3)
    network = Autoencoder(3, 4, 16, 1, 4, "msrresnet", scale_head=True).double()
    hr = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    mean, scale = network.distribution(hr)
    error = (mean - hr).abs()
    expected = torch.autograd.grad(error.mean() + 0.25 * (scale - error.detach()).abs().mean(), network.parameters())
    found = autoencoder_step(scale_weight=0.25)(new_state(network, Optimiser(learning_rate=0.01)), torch.empty(0), hr)
    assert found["scale"].item() == pytest.approx((scale - error).abs().mean().item())
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-14)


def test_spsr_starts_with_the_fidelity_generator_in_its_trunk(
    open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    config, context = replace(small_run, SPSR), open_context(tmp_path)
    ensure_artifact(config, "fidelity", context)
    fidelity = load_generator(config, context)
    assert isinstance(fidelity, RRDBNet)
    state = adversarial._initial_state(config, context)
    assert isinstance(state.model, SPSRGenerator)
    assert torch.equal(state.model.trunk.conv_body.weight, fidelity.conv_body.weight)
    image, gradient = (state.discriminators[name] for name in ("adversarial", "gradient_adversarial"))
    assert not torch.equal(image.linear1.weight, gradient.linear1.weight)  # two independent ones


# --- weights that were given -----------------------------------------------------------------------------------------


@pytest.fixture
def given(small_run: RunConfig, tmp_path: Path) -> RunConfig:
    """A run that starts from files with random weights."""
    torch.manual_seed(9)
    save_weights(build_generator(small_run.generator, 4), tmp_path / "psnr.pth")
    save_weights(build_autoencoder(small_run.autoencoder), tmp_path / "ae.pth")
    files = {"generator.init": str(tmp_path / "psnr.pth"), "autoencoder.init": str(tmp_path / "ae.pth")}
    return replace(small_run, files)


def test_given_weights_stand_in_for_training(
    given: RunConfig, open_context: OpenContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(tmp_path / "artifacts")
    check_initial_weights([given])
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "train", None)
        made = [ensure_artifact(given, stage, context) for stage in ("fidelity", "autoencoder")]
    assert [artifact.spent.iterations for artifact in made] == [0, 0]
    expected = torch.load(str(given.generator.init), weights_only=True)["params"]
    state = load_generator(given, context).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    points: list[PointEvaluated] = []
    train_adversarial(given, context, TrialDirectory(tmp_path, 0), points.append)
    assert [point.point.iteration for point in points] == [3, 6]


def test_a_given_decoder_is_where_the_auto_encoder_starts(
    given: RunConfig, open_context: OpenContext, tmp_path: Path
) -> None:
    config = replace(given, {"autoencoder.init": None, "autoencoder.decoder_init": given.generator.init})
    config = replace(config, {"generator.init": None})
    context = open_context(tmp_path / "artifacts")
    made = list(needs_of(config, "autoencoder", lambda run, stage: artifact_key(run, stage, context.train)))
    assert [(need.stage, need.config.generator.init) for need in made] == [("fidelity", given.generator.init)]
    ensure_artifact(made[0].config, "fidelity", context)
    started = autoencoder._initial_network(config, context)
    expected = torch.load(str(given.generator.init), weights_only=True)["params"]
    assert all(torch.equal(started.decoder.state_dict()[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator.features": 5}, r"generator\.init: .*psnr\.pth does not fit MSRResNet\(features=5"),
        ({"data.scale": 2, "autoencoder.factor": 4}, r"generator\.init: .*does not fit .*scale=2.*upconv2"),
        ({"autoencoder.growth": 3}, r"autoencoder\.init: .*ae\.pth does not fit Autoencoder"),
        ({"loss.guidance": "probabilistic"}, r"autoencoder\.init: .*missing \(scale_head"),
        ({"generator.name": "rrdb"}, r"generator\.init: .*It looks like an MSRResNet"),
    ],
)
def test_given_weights_that_do_not_fit_are_found_out_before_anything_starts(
    changes: dict[str, Any], message: str, given: RunConfig
) -> None:
    with pytest.raises(ValueError, match=message):
        check_initial_weights([given, replace(given, changes)])


# --- degraded images, exports ----------------------------------------------------------------------------------------


def test_held_out_images_are_degraded_as_the_run_has_it(open_context: OpenContext, tmp_path: Path) -> None:
    context = open_context(tmp_path)
    context.val = context.train  # larger ones
    clean, real = (context.val_pairs(DataConfig(degradation=kind)) for kind in ("bicubic", "aesop-real"))
    assert clean.lq.shapes == real.lq.shapes
    assert not any((one == other).all() for one, other in zip(clean.lq, real.lq, strict=True))
    again = open_context(tmp_path)
    again.val = again.train
    repeated = again.val_pairs(DataConfig(degradation="aesop-real"))
    assert all((one == other).all() for one, other in zip(real.lq, repeated.lq, strict=True))
    bicubic = [
        evaluate_baseline(pairs, context, RunDirectory(tmp_path / name)).metrics["psnr_y"]
        for name, pairs in (("a", DataConfig()), ("b", DataConfig(degradation="aesop-real")))
    ]
    assert bicubic[0] > bicubic[1] + 1


def test_exported_weights_are_the_generators(small_run: RunConfig, tmp_path: Path) -> None:
    generator = build_generator(small_run.generator, 4)
    save_weights(generator, tmp_path / "point.safetensors", layout="plain")
    target = export_generator(small_run, tmp_path / "point.safetensors", tmp_path / "out.pth")
    exported = torch.load(target, weights_only=True)["params"]
    assert all(torch.equal(exported[name], tensor) for name, tensor in generator.state_dict().items())


def test_a_generator_that_no_other_tool_has_is_not_exported(small_run: RunConfig, tmp_path: Path) -> None:
    for changes in ({**SWINIR, "generator.bilinear_skip": True}, {"generator.head": "espcn"}):
        config = replace(small_run, changes)
        with pytest.raises(ValueError, match=r"bilinear_skip or generator\.head, which no other tool has"):
            export_generator(config, tmp_path / "point.safetensors", tmp_path / "out.pth")


def test_a_step_asks_a_discriminator_no_more_than_it_must(
    open_context: OpenContext, small_run: RunConfig, tmp_path: Path
) -> None:
    context = open_context(tmp_path)
    calls = {}
    for name, gan in itertools.product(("vgg", "unet"), ("relativistic", "vanilla")):
        config = replace(small_run, {"loss": {"gan": gan, "guidance": "pixel"}, "discriminator.name": name})
        ensure_artifact(config, "fidelity", context)
        state = adversarial._initial_state(config, context)
        seen: list[Tensor] = []
        state.discriminators["adversarial"].register_forward_hook(lambda _m, inputs, _o, seen=seen: seen.append(inputs))
        adversarial._step(config, context)(state, torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32))
        calls[name, gan] = len(seen)
    # Each pass updates the U-Net's spectral norm: there, the steps of G and of D need separate passes.
    assert calls == {
        ("vgg", "relativistic"): 2,
        ("vgg", "vanilla"): 2,
        ("unet", "relativistic"): 4,
        ("unet", "vanilla"): 3,
    }
