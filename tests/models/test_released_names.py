"""Files under released names, written by the tests: loading keeps the output, saving the names."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import spandrel
import torch
from torch import Tensor, nn

from study.config import GeneratorConfig, RRDBConfig, SwinIRConfig
from study.models import (
    Autoencoder,
    MSRResNet,
    RRDBNet,
    SPSRGenerator,
    UNetDiscriminator,
    VGGDiscriminator,
    load_weights,
    save_weights,
)
from study.models.build import build_generator

State = dict[str, Tensor]


def swinir(scale: int = 4) -> nn.Module:
    config = SwinIRConfig(features=12, blocks=1, depth=2, heads=2)
    return build_generator(config, scale).eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "rrdb": lambda: RRDBNet(6, 2, 2, 4),
    "rrdb x2": lambda: RRDBNet(6, 2, 2, 2),
    "msrresnet": lambda: MSRResNet(6, 1, 3),
    "spsr": lambda: SPSRGenerator(4, 4, 2, 4),
    "spsr x3": lambda: SPSRGenerator(4, 4, 2, 3),
    "swinir": swinir,
    "autoencoder": lambda: Autoencoder(3, 4, 16, 1, 2),
    "vgg": lambda: VGGDiscriminator(32, 2).eval(),
    "unet": lambda: UNetDiscriminator(2).eval(),
}


def example(kind: str) -> Tensor:
    side = 32 if kind in ("vgg", "unet", "autoencoder") else 8
    return torch.rand(2, 3, side, side)


def shaken(network: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("layout", ["basicsr", "plain"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_comes_back_with_the_same_output(kind: str, layout: str, suffix: str, tmp_path: Path) -> None:
    source, target = shaken(NETWORKS[kind](), 1), shaken(NETWORKS[kind](), 2)
    images = example(kind)
    assert not torch.allclose(source(images), target(images))
    save_weights(source, tmp_path / f"w{suffix}", layout=layout)  # type: ignore[arg-type]
    load_weights(target, tmp_path / f"w{suffix}")
    torch.testing.assert_close(target(images), source(images), rtol=0, atol=1e-6)
    save_weights(target, tmp_path / f"again{suffix}", layout=layout)  # type: ignore[arg-type]
    first, second = read(tmp_path / f"w{suffix}"), read(tmp_path / f"again{suffix}")
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [path.name for path in tmp_path.glob(".*")] == []


def read(path: Path) -> State:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    content = torch.load(path, weights_only=True)
    return content.get("params", content)


@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if not kind.startswith("spsr")])
def test_a_pth_holds_the_state_where_basicsr_looks_for_it(kind: str, tmp_path: Path) -> None:
    save_weights(NETWORKS[kind](), tmp_path / "w.pth")
    assert list(torch.load(tmp_path / "w.pth", weights_only=True)) == ["params"]


def test_plain_files_hold_a_bare_state_under_our_names(tmp_path: Path) -> None:
    network = NETWORKS["spsr"]()
    save_weights(network, tmp_path / "w.pth", layout="plain")
    assert set(torch.load(tmp_path / "w.pth", weights_only=True)) == set(network.state_dict())


# --- names as in the authors' repositories ---------------------------------------------------------------------------


def both(*names: str) -> Iterator[str]:
    for name in names:
        yield from (f"{name}.weight", f"{name}.bias")


def dense(prefix: str, rdb: str, conv: str) -> Iterator[str]:
    for block in (1, 2, 3):
        for number in (1, 2, 3, 4, 5):
            yield from both(f"{prefix}.{rdb}{block}.{conv.format(number)}")


def esrgan_names(blocks: int) -> list[str]:
    names = [*both("conv_first")]
    for block in range(blocks):
        names += dense(f"RRDB_trunk.{block}", "RDB", "conv{}")
    return [*names, *both("trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last")]


def oldest_names(blocks: int) -> list[str]:
    names = [*both("model.0")]
    for block in range(blocks):
        names += dense(f"model.1.sub.{block}", "RDB", "conv{}.0")
    return [*names, *both(f"model.1.sub.{blocks}", "model.3", "model.6", "model.8", "model.10")]


@pytest.mark.parametrize("names_of", [esrgan_names, oldest_names])
@pytest.mark.parametrize("wrapped", [False, True])
def test_both_older_sets_of_rrdb_names_load(
    names_of: Callable[[int], list[str]], wrapped: bool, tmp_path: Path
) -> None:
    """All three sets of names have the same order, by which the test writes a file of each."""
    source, target = shaken(RRDBNet(6, 2, 3, 4), 1), RRDBNet(6, 2, 3, 4)
    state = dict(zip(names_of(2), source.state_dict().values(), strict=True))
    torch.save({"params_ema": state} if wrapped else state, tmp_path / "old.pth")
    load_weights(target, tmp_path / "old.pth")
    images = torch.rand(1, 3, 7, 6)
    assert torch.equal(source(images), target(images))


def test_oldest_names_of_a_generator_that_enlarges_once(tmp_path: Path) -> None:
    source, target = (shaken(RRDBNet(6, 1, 3, 2, unshuffle=False), seed) for seed in (1, 2))
    names = [*both("model.0"), *dense("model.1.sub.0", "RDB", "conv{}.0")]
    names += both("model.1.sub.1", "model.3", "model.5", "model.7")
    torch.save(dict(zip(names, source.state_dict().values(), strict=True)), tmp_path / "old.pth")
    load_weights(target, tmp_path / "old.pth")
    assert torch.equal(source(torch.ones(1, 3, 5, 4)), target(torch.ones(1, 3, 5, 4)))


def spsr_names() -> dict[str, str]:
    """Map our names to the released ones, for the full generator: 23 blocks, scale 4."""
    table = dict(zip(both("trunk.conv_first"), both("model.0"), strict=True))
    for block in range(23):
        ours = dense(f"trunk.body.{block}", "rdb", "conv{}")
        table |= zip(ours, dense(f"model.1.sub.{block}", "RDB", "conv{}.0"), strict=True)
    for step in range(1, 5):
        ours = dense(f"branch.blocks.{step - 1}", "rdb", "conv{}")
        table |= zip(ours, dense(f"b_block_{step}", "RDB", "conv{}.0"), strict=True)
    table |= zip(dense("fusion.block", "rdb", "conv{}"), dense("f_block", "RDB", "conv{}.0"), strict=True)
    pairs = {
        "trunk.conv_body": "model.1.sub.23",
        "trunk.conv_up1": "model.3",
        "trunk.conv_up2": "model.6",
        "trunk.conv_hr": "model.8",
        "trunk.conv_last": "HR_conv1_new.0",
        "branch.conv_first": "b_fea_conv.0",
        **{f"branch.merges.{number - 1}": f"b_concat_{number}.0" for number in range(1, 5)},
        "branch.conv_body": "b_LR_conv.0",
        "branch.conv_up1": "b_module.1",
        "branch.conv_up2": "b_module.4",
        "branch.conv_hr": "b_module.6",
        "branch.conv_last": "b_module.8",
        "branch.conv_image": "conv_w.0",
        "fusion.merge": "f_concat.0",
        "fusion.conv_hr": "f_HR_conv0.0",
        "fusion.conv_last": "f_HR_conv1.0",
    }
    for ours, theirs in pairs.items():
        table |= zip(both(ours), both(theirs), strict=True)
    return table


def spsr_file(network: nn.Module) -> State:
    """Make a state as SPSR's authors save it: with the duplicate convolution and the kernels."""
    state = {spsr_names()[name]: tensor.clone() for name, tensor in network.state_dict().items()}
    state |= {name.replace("model.8", "HR_conv0_new.0"): state[name].clone() for name in both("model.8")}
    across = torch.tensor([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]])[None, None]
    return state | {"get_g_nopadding.weight_h": across, "get_g_nopadding.weight_v": across.transpose(2, 3)}


def test_spsr_files_load_and_are_written_name_for_name(tmp_path: Path) -> None:
    source, target = (shaken(SPSRGenerator(4, 23, 2, 4), seed) for seed in (1, 2))
    released = spsr_file(source)
    torch.save(released, tmp_path / "spsr.pth")
    load_weights(target, tmp_path / "spsr.pth")
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(source(images), target(images))
    save_weights(target, tmp_path / "out.pth")
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    assert written.keys() == released.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in released.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HR_conv0_new.0.bias", r"spsr\.pth: holds a convolution twice, but HR_conv0_new\.0\.bias differs"),
        ("get_g_nopadding.weight_v", r"spsr\.pth: get_g_nopadding\.weight_v must hold SPSR's gradient kernel"),
    ],
)
def test_an_spsr_file_that_contradicts_itself_is_refused(name: str, message: str, tmp_path: Path) -> None:
    network = SPSRGenerator(4, 23, 2, 4)
    released = spsr_file(network)
    released[name] = released[name] + 1
    torch.save(released, tmp_path / "spsr.pth")
    with pytest.raises(ValueError, match=message):
        load_weights(network, tmp_path / "spsr.pth")


def test_swinir_files_for_another_patch_load(tmp_path: Path) -> None:
    """Masks depend on the image side of the network; they are no weights."""
    source, target = shaken(swinir(), 1), shaken(swinir(), 2)
    state = {
        name: torch.zeros(9, 64, 64) if name.endswith("attn_mask") else tensor
        for name, tensor in source.state_dict().items()
    }
    assert any(name.endswith("attn_mask") for name in state)
    torch.save({"params": state}, tmp_path / "swinir.pth")
    load_weights(target, tmp_path / "swinir.pth")
    images = torch.rand(1, 3, 16, 24)
    torch.testing.assert_close(target(images), source(images), rtol=0, atol=1e-6)


def test_swinir_files_without_constants_load(tmp_path: Path) -> None:
    source, target = shaken(swinir(), 1), shaken(swinir(), 2)
    kept = {
        name: tensor
        for name, tensor in source.state_dict().items()
        if not name.endswith(("attn_mask", "relative_position_index"))
    }
    safetensors.torch.save_file(kept, tmp_path / "swinir.safetensors")
    load_weights(target, tmp_path / "swinir.safetensors")
    images = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(target(images), source(images), rtol=0, atol=1e-6)


def test_names_of_swinir_are_those_of_its_authors() -> None:
    names = set(swinir().state_dict())
    block = "layers.0.residual_group.blocks.1"
    expected = [f"{block}.{part}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    fixed = ["conv_first", "patch_embed.norm", "layers.0.conv", "norm", "conv_after_body", "conv_before_upsample.0"]
    assert set(both(*expected, *fixed, "upsample.0", "upsample.2", "conv_last")) <= names
    assert {f"{block}.attn.relative_position_bias_table", f"{block}.attn_mask"} <= names


def test_the_unet_discriminator_has_the_released_names() -> None:
    expected = {*both("conv0", "conv9")}
    for number in range(1, 9):
        expected |= {f"conv{number}.weight_{kind}" for kind in ("orig", "u", "v")}
    assert set(UNetDiscriminator(2).state_dict()) == expected


def test_an_auto_encoder_is_written_in_its_authors_form(tmp_path: Path) -> None:
    network = Autoencoder(3, 4, 16, 1, 2)
    save_weights(network, tmp_path / "ae.pth")
    written = torch.load(tmp_path / "ae.pth", weights_only=True)["params"]
    assert torch.equal(written["encoder.0.1.bias"], network.state_dict()["conv_first.1.bias"])
    assert torch.equal(written["encoder.2.1.rdb2.conv3.weight"], network.state_dict()["body.1.rdb2.conv3.weight"])
    assert torch.equal(written["encoder.3.0.weight"], network.state_dict()["conv_last.0.weight"])
    copies = {name for name in written if name.startswith("encoder.")}
    assert len(copies) == sum(not name.startswith("decoder.") for name in network.state_dict())


def test_names_from_training_on_several_gpus_load(tmp_path: Path) -> None:
    source, target = (shaken(MSRResNet(6, 1, 2), seed) for seed in (1, 2))
    state = {f"module.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"params": state}, tmp_path / "parallel.pth")
    load_weights(target, tmp_path / "parallel.pth")
    assert torch.equal(source(torch.ones(1, 3, 4, 4)), target(torch.ones(1, 3, 4, 4)))


# --- what does not fit ----------------------------------------------------------------------------------------------

WRONG: list[tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], str]] = [
    (
        "another architecture",
        swinir,
        lambda: RRDBNet(6, 1, 2),
        r"1 of 42 match\. It looks like SwinIR \(scale 4, ",
    ),
    ("the other way round", lambda: RRDBNet(6, 1, 2), swinir, r"It looks like an RRDBNet \(scale 4, 1 block\)"),
    ("another scale", lambda: swinir(2), swinir, r"missing \(upsample\.2.*It looks like SwinIR \(scale 2, "),
    ("scale 3 for 4", lambda: swinir(3), swinir, r"upsample\.0\.weight is \(576, .*SwinIR \(scale 3, "),
    ("shrinking first", lambda: RRDBNet(6, 1, 2, 2), lambda: RRDBNet(6, 1, 2, 4), r"conv_first\.weight .*\(scale 2, "),
    ("more blocks", lambda: RRDBNet(6, 3, 2), lambda: RRDBNet(6, 1, 2), r"42 of 42 match.*\(scale 4, 3 blocks\)"),
    ("a discriminator", lambda: VGGDiscriminator(32, 2), lambda: RRDBNet(6, 1, 2), "a VGG-style discriminator"),
    ("a U-Net", lambda: UNetDiscriminator(2), lambda: VGGDiscriminator(32, 2), "a U-Net discriminator"),
    ("an image network", lambda: MSRResNet(6, 2, 2), lambda: SPSRGenerator(4, 4, 2), r"an MSRResNet \(2 blocks\)"),
    ("an auto-encoder", lambda: Autoencoder(3, 4, 16, 1, 2), lambda: RRDBNet(6, 1, 2), "an auto-encoder of AESOP"),
]


@pytest.mark.parametrize(("source", "target", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_weights_of_another_network_are_recognised(
    source: Callable[[], nn.Module], target: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    save_weights(source(), tmp_path / "other.pth")
    network = target()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=rf"other\.pth does not fit (?s:.*){message}"):
        load_weights(network, tmp_path / "other.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_partial_file_is_reported_with_its_matches(tmp_path: Path) -> None:
    state = RRDBNet(6, 1, 2).state_dict()
    half = {(f"net.{name}" if number % 2 else name): tensor for number, (name, tensor) in enumerate(state.items())}
    torch.save(half, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=re.escape("21 missing (conv_first.bias, ")) as caught:
        load_weights(RRDBNet(6, 1, 2), tmp_path / "half.pth")
    assert "21 unexpected (net.conv_first.bias, " in str(caught.value)
    assert "21 of 42 match" in str(caught.value)


def test_an_unknown_layout_or_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layout must be 'basicsr' or 'plain', but got 'onnx'"):
        save_weights(MSRResNet(6, 1, 2), tmp_path / "w.pth", layout="onnx")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must end in one of \.pth, \.pt, \.safetensors, but got '\.onnx'"):
        save_weights(MSRResNet(6, 1, 2), tmp_path / "w.onnx")


# --- another tool's reader -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "scale", "architecture"),
    [
        (RRDBConfig(features=16, blocks=2, growth=32), 4, "ESRGAN"),
        (RRDBConfig(features=16, blocks=2, growth=32), 2, "ESRGAN"),
        (SwinIRConfig(features=12, blocks=1, depth=2, heads=2), 4, "SwinIR"),
        (SwinIRConfig(features=12, blocks=1, depth=2, heads=2), 3, "SwinIR"),
    ],
)
def test_spandrel_reads_what_we_write(config: GeneratorConfig, scale: int, architecture: str, tmp_path: Path) -> None:
    """spandrel, chaiNNer's reader, infers architecture, scale and widths (for a growth of 32)."""
    network = shaken(build_generator(config, scale), 3).eval()
    save_weights(network, tmp_path / "net.pth")
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    assert (found.architecture.id, found.scale) == (architecture, scale)
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(found.model.eval()(images), network(images), rtol=0, atol=1e-5)
