"""What is computed in bfloat16 and what is not; how far its steps are from float32's; what a CPU says it can do."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from study.config import Optimiser
from study.data import bicubic_downsample
from study.losses.generator_loss import GeneratorLoss
from study.losses.guidance import GuidanceInputs
from study.losses.perceptual import PerceptualLoss
from study.models import Autoencoder, RRDBNet, VGGDiscriminator
from study.models.layers import make_image
from study.training import precision
from study.training.precision import autocast, fastest_of_cluster, fastest_precision, slow_note
from study.training.state import TrainState, new_state
from study.training.steps import adversarial_step, autoencoder_step, fidelity_step
from tests.training.test_steps import LOSS

CPU = torch.device("cpu")


def test_networks_compute_in_bfloat16_and_weights_stay_float32() -> None:
    conv = nn.Conv2d(3, 4, 3)
    with autocast("bf16", CPU):
        assert conv(torch.rand(1, 3, 8, 8)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert conv(torch.rand(1, 3, 8, 8)).dtype == torch.float32
    assert conv.weight.dtype == torch.float32


def test_an_image_keeps_its_digits() -> None:
    """Between 0.5 and 1, values of 8 bits are 1/256 apart, so that rounding is off by 1/1024 on average."""
    conv = nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        conv.bias.fill_(0.7)  # type: ignore[union-attr]  # it has one
        features = torch.rand(2, 4, 16, 16).bfloat16() * 0.1
        with autocast("bf16", CPU):
            rounded, image = conv(features), make_image(conv, features)
        exact = conv.double()(features.double())
    assert image.dtype == torch.float32
    assert float((image - exact).abs().max()) < 1e-6
    assert float((rounded - exact).abs().mean()) == pytest.approx(1 / 1024, rel=0.3)


def states() -> tuple[TrainState, TrainState, Autoencoder, PerceptualLoss, Tensor, Tensor]:
    """The same networks for both precisions, what is looked through, and a batch."""
    torch.manual_seed(5)
    generator, discriminator = RRDBNet(8, 1, 4), VGGDiscriminator(64, 4)
    both = [
        new_state(
            copy.deepcopy(generator),
            Optimiser(),
            discriminators={"adversarial": copy.deepcopy(discriminator)},
            precision=name,
        )
        for name in ("fp32", "bf16")
    ]
    autoencoder = Autoencoder(3, 4, features=16, blocks=1, growth=4, decoder="msrresnet", bicubic_skip=True)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 5, 3))
    hr = torch.rand(6, 3, 64, 64)
    return (
        *both,
        autoencoder.requires_grad_(False),
        PerceptualLoss(layers, layers={0: 1.0, 2: 1.0}),
        bicubic_downsample(hr, 4),
        hr,
    )


def gradient(network: nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])


def test_an_adversarial_step_points_where_float32_does() -> None:
    exact, fast, autoencoder, perceptual, lq, hr = states()
    terms = {}
    for state in (exact, fast):
        generator_loss = GeneratorLoss(
            LOSS, GuidanceInputs(autoencoder), perceptual=perceptual, autocast=state.autocast
        )
        terms[state.precision] = adversarial_step(generator_loss)(state, lq, hr)
    for name, term in terms["fp32"].items():
        assert terms["bf16"][name].dtype == torch.float32
        assert float(terms["bf16"][name]) == pytest.approx(float(term), rel=0.02)
    assert float(terms["bf16"]["fidelity"]) != float(terms["fp32"]["fidelity"])
    # Batch norm over few pixels, as here at the discriminator's end, makes much of little.
    pairs = [(exact.model, fast.model, 0.99)]
    pairs += [(exact.discriminators["adversarial"], fast.discriminators["adversarial"], 0.95)]
    for one, other, least in pairs:
        assert float(torch.cosine_similarity(gradient(one), gradient(other), dim=0)) > least
        assert all(weight.dtype == torch.float32 for weight in other.parameters())


@pytest.mark.parametrize("stage", ["fidelity", "autoencoder"])
def test_an_upstream_step_points_where_float32_does(stage: str) -> None:
    torch.manual_seed(6)
    build = {
        "fidelity": lambda: RRDBNet(8, 1, 4),
        "autoencoder": lambda: Autoencoder(3, 4, 16, 1, 4, "msrresnet", bicubic_skip=True),
    }[stage]
    network, hr = build(), torch.rand(2, 3, 32, 32)
    step = fidelity_step if stage == "fidelity" else autoencoder_step(bottleneck_weight=1.0)
    found = []
    for name in ("fp32", "bf16"):
        state = new_state(copy.deepcopy(network), Optimiser(), precision=name)
        step(state, bicubic_downsample(hr, 4), hr)
        found.append(gradient(state.model))
    assert float(torch.cosine_similarity(*found, dim=0)) > 0.99
    assert not torch.equal(*found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", "bf16"),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", "bf16"),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("flags\t\t: fpu avx512f\n", "fp32"),
        ("model name\t: bf16\n", "fp32"),
    ],
)
def test_a_cpu_says_whether_it_multiplies_bfloat16(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n" + text)
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    assert fastest_precision(CPU) == expected


def test_a_system_that_says_nothing_of_its_cpu_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    assert fastest_precision(CPU) == "fp32"


def test_a_precision_that_is_only_imitated_is_worth_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    (note,) = slow_note("bf16", CPU)
    assert "--precision bf16 takes" in note
    assert slow_note("fp32", CPU) == []
    (tmp_path / "none").write_text("flags\t: amx_bf16\n")
    assert slow_note("bf16", CPU) == slow_note("fp32", CPU) == []


@pytest.mark.parametrize(
    ("resources", "on_gpu", "expected"),
    [
        ({"CPU": 64.0, "GPU": 8.0, "accelerator_type:H100": 1.0}, True, "bf16"),
        ({"CPU": 64.0, "GPU": 8.0}, True, "bf16"),
        ({"CPU": 64.0, "GPU": 8.0, "accelerator_type:V100": 1.0, "accelerator_type:A100": 1.0}, True, "fp32"),
        ({"CPU": 64.0, "GPU": 8.0, "accelerator_type:H100": 1.0}, False, "fp32"),
        ({"CPU": 64.0}, False, "fp32"),
    ],
)
def test_a_cluster_computes_in_what_all_its_accelerators_can(
    resources: dict[str, float], on_gpu: bool, expected: str
) -> None:
    assert fastest_of_cluster(resources, on_gpu=on_gpu) == expected
