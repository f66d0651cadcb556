"""Weight files: BasicSR's layouts, mismatches, and untrusted files; interpolation of weights."""

import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from study.files import DamagedError
from study.models import Autoencoder, MSRResNet, RRDBNet, SRResNet, VGGDiscriminator, load_weights, save_weights
from study.models.weights import interpolate_states, read_state

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "rrdb": lambda: RRDBNet(6, 1, 2, 4),
    "msrresnet": lambda: MSRResNet(6, 1, 3),
    "vgg": lambda: VGGDiscriminator(32, 2),
    "autoencoder": lambda: Autoencoder(3, 4, 16, 1, 2),
}


class MakesDirectory:
    """An object that creates a directory when it is unpickled."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.directory),)


def states_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def randomised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network whose every entry, running statistics included, differs from any other seed's."""
    torch.manual_seed(seed)
    network = build()
    for tensor in network.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) * 100)
    return network


def with_duplicate_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the duplicate encoder of AESOP's files."""
    positions = {"conv_first.": "encoder.0.", "body.": "encoder.2.", "conv_last.": "encoder.3."}
    copies = {
        copy + name.removeprefix(primary): tensor.clone()
        for name, tensor in state.items()
        for primary, copy in positions.items()
        if name.startswith(primary)
    }
    return {**state, **copies}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_saved_state_comes_back(kind: str, suffix: str, tmp_path: Path) -> None:
    source, target = randomised(NETWORKS[kind], 0), randomised(NETWORKS[kind], 1)
    assert not states_equal(source.state_dict(), target.state_dict())
    path = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    load_weights(target, path)
    assert states_equal(source.state_dict(), target.state_dict())


@pytest.mark.parametrize(
    ("wrappers", "expected_seed"),
    [
        ({"params": 0}, 0),
        ({"params_ema": 0}, 0),
        ({"params": 1, "params_ema": 0}, 0),
        ({"params_ema": 1, "params": 0}, 1),
    ],
)
def test_averaged_weights_are_preferred(wrappers: dict[str, int], expected_seed: int, tmp_path: Path) -> None:
    path = tmp_path / "net_g_latest.pth"
    torch.save({key: randomised(NETWORKS["rrdb"], seed).state_dict() for key, seed in wrappers.items()}, path)
    target = randomised(NETWORKS["rrdb"], 2)
    load_weights(target, str(path))
    assert states_equal(target.state_dict(), randomised(NETWORKS["rrdb"], expected_seed).state_dict())


def test_precision_of_the_network_is_kept(tmp_path: Path) -> None:
    source = randomised(NETWORKS["rrdb"], 0)
    torch.save({name: tensor.half() for name, tensor in source.state_dict().items()}, tmp_path / "half.pth")
    target = NETWORKS["rrdb"]()
    load_weights(target, tmp_path / "half.pth")
    assert all(tensor.dtype == torch.float32 for tensor in target.state_dict().values())
    assert torch.equal(target.conv_last.bias, source.conv_last.bias.half().float())


def test_duplicate_encoder_of_released_autoencoders_is_dropped(tmp_path: Path) -> None:
    source, target = randomised(NETWORKS["autoencoder"], 0), randomised(NETWORKS["autoencoder"], 1)
    state = with_duplicate_encoder(source.state_dict())
    assert len([name for name in state if name.startswith("encoder.")]) == 2 * (2 + 30 + 2)
    torch.save({"params_ema": state}, tmp_path / "ae.pth")
    load_weights(target, tmp_path / "ae.pth")
    assert states_equal(source.state_dict(), target.state_dict())


def test_duplicate_encoder_that_differs_is_refused(tmp_path: Path) -> None:
    state = with_duplicate_encoder(randomised(NETWORKS["autoencoder"], 0).state_dict())
    state["encoder.2.1.rdb3.conv5.bias"] += 1
    torch.save(state, tmp_path / "ae.pth")
    with pytest.raises(
        ValueError, match=r"ae\.pth.*encoder\.2\.1\.rdb3\.conv5\.bias differs from body\.1\.rdb3\.conv5\.bias"
    ):
        load_weights(NETWORKS["autoencoder"](), tmp_path / "ae.pth")


def test_copy_of_the_encoder_alone_is_refused(tmp_path: Path) -> None:
    state = with_duplicate_encoder(randomised(NETWORKS["autoencoder"], 0).state_dict())
    del state["conv_first.0.weight"]
    torch.save(state, tmp_path / "ae.pth")
    with pytest.raises(
        ValueError, match=r"1 missing \(conv_first\.0\.weight\); 1 unexpected \(encoder\.0\.0\.weight\)"
    ):
        load_weights(NETWORKS["autoencoder"](), tmp_path / "ae.pth")


@pytest.mark.parametrize(
    ("saved", "target", "problem"),
    [
        (
            MSRResNet(6, 1),
            RRDBNet(6, 1, 2),
            r"missing \(body\.0\.rdb1\.conv1\.weight, .*, \.\.\.\).*unexpected \(body\.0\.conv1",
        ),
        (RRDBNet(6, 1, 2, 3), RRDBNet(6, 1, 2, 4), r"2 missing \(conv_up2\.weight, conv_up2\.bias\); 40 of 42 match"),
        (
            RRDBNet(6, 1, 2, 2),
            RRDBNet(6, 1, 2, 4),
            r"wrongly shaped \(conv_first\.weight is \(6, 12, 3, 3\), needs \(6, 3, 3, 3\)\)",
        ),
        (MSRResNet(6, 1, 4), MSRResNet(6, 1, 2), r"2 unexpected \(upconv2\.weight, upconv2\.bias\)"),
        (
            VGGDiscriminator(64, 2),
            VGGDiscriminator(32, 2),
            r"linear1\.weight is \(100, 64\), needs \(100, 16\)",
        ),
    ],
    ids=["architecture", "scale 3 for 4", "scale 2 for 4", "scale 4 for 2", "patch size"],
)
def test_weights_of_another_network_are_refused(
    saved: nn.Module, target: nn.Module, problem: str, tmp_path: Path
) -> None:
    torch.save(saved.state_dict(), tmp_path / "other.pth")
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ValueError, match=rf"other\.pth does not fit {type(target).__name__}\(.*{problem}"):
        load_weights(target, tmp_path / "other.pth")
    assert states_equal(before, target.state_dict())


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_pickle_is_refused_and_not_run(save: Callable[[object, Path], None], tmp_path: Path) -> None:
    made = tmp_path / "made"
    pickle.loads(pickle.dumps(MakesDirectory(made)))
    assert made.is_dir()  # the payload works: only the loader stands in its way
    made.rmdir()
    path = tmp_path / "hostile.pth"
    save({**NETWORKS["rrdb"]().state_dict(), "payload": MakesDirectory(made)}, path)
    with pytest.raises(ValueError, match=r"hostile\.pth: .*nothing in it was run"):
        load_weights(NETWORKS["rrdb"](), path)
    assert not made.exists()


@pytest.mark.filterwarnings("error")
def test_code_in_a_pickle_of_another_protocol_is_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pth"
    path.write_bytes(pickle.dumps({"payload": MakesDirectory(tmp_path / "made")}, protocol=4))
    with pytest.raises(ValueError, match=r"hostile\.pth: .*nothing in it was run"):
        load_weights(NETWORKS["rrdb"](), path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kept", [5, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(NETWORKS["rrdb"]().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(ValueError, match=rf"cut\{suffix}: (the weight file cannot be read|not a PyTorch weight file)"):
        load_weights(NETWORKS["rrdb"](), path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_empty_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"nothing{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=rf"nothing\{suffix}: the weight file is empty; copy or download"):
        load_weights(NETWORKS["rrdb"](), path)


def test_text_under_a_weight_file_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>404: not found</html>")
    with pytest.raises(ValueError, match=r"page\.pth: not a PyTorch weight file"):
        load_weights(NETWORKS["rrdb"](), tmp_path / "page.pth")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (torch.zeros(3), "must hold a state dict, but got Tensor"),
        ({}, "must hold a state dict, but got an empty dict"),
        ({"epoch": 3, "iter": 40}, "its entry 'epoch' is int"),
        ({"params": {"conv_first": {"weight": torch.zeros(1)}}}, "its entry 'conv_first' is dict"),
        ({0: torch.zeros(1)}, "its entry 0 is Tensor"),
    ],
)
def test_content_other_than_a_state_dict_is_refused(content: object, problem: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "training_state.pth")
    with pytest.raises(ValueError, match=rf"training_state\.pth: .*{problem}.*save"):
        load_weights(NETWORKS["rrdb"](), tmp_path / "training_state.pth")


def test_absent_file_and_unknown_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pth: no such weight file"):
        load_weights(NETWORKS["rrdb"](), tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"one of \.pth, \.pt, \.ckpt, \.safetensors, but got '\.h5'"):
        load_weights(NETWORKS["rrdb"](), tmp_path / "weights.h5")


def test_weights_are_those_of_the_module_whatever_its_memory_layout(tmp_path: Path) -> None:
    module = MSRResNet(4, 1, 2)
    module.to(memory_format=torch.channels_last)
    save_weights(module, tmp_path / "weights.safetensors", layout="plain")
    other = MSRResNet(4, 1, 2)
    load_weights(other, tmp_path / "weights.safetensors")
    state = other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_weights_include_buffers(tmp_path: Path) -> None:
    module = nn.BatchNorm2d(3)
    module(torch.rand(2, 3, 4, 4))
    save_weights(module, tmp_path / "weights.safetensors", layout="plain")
    other = nn.BatchNorm2d(3)
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(other.get_buffer("running_mean"), module.get_buffer("running_mean"))


def test_an_interpolation_is_the_weighted_mean_of_all_weights() -> None:
    first, second = (MSRResNet(8, 1, 2).state_dict() for _ in range(2))

    interpolation = interpolate_states(first, second, 0.25)

    assert interpolation.keys() == first.keys()
    assert all(torch.allclose(interpolation[name], 0.75 * first[name] + 0.25 * second[name]) for name in first)
    assert all(torch.equal(tensor, first[name]) for name, tensor in interpolate_states(first, second, 0).items())
    assert all(torch.equal(tensor, second[name]) for name, tensor in interpolate_states(first, second, 1).items())


def test_interpolated_counters_are_the_first_networks() -> None:
    networks = [SRResNet(8, 1, 2) for _ in range(2)]
    networks[1].train()(torch.rand(1, 3, 8, 8))
    first, second = (network.state_dict() for network in networks)
    counter = next(name for name in first if name.endswith("num_batches_tracked"))

    assert second[counter] == 1
    assert interpolate_states(first, second, 0.5)[counter] == 0


def test_different_networks_are_not_interpolated() -> None:
    with pytest.raises(ValueError, match=r"differ in \d+ entries, such as"):
        interpolate_states(MSRResNet(8, 1, 2).state_dict(), MSRResNet(8, 2, 2).state_dict(), 0.5)
    with pytest.raises(ValueError, match=r"differ in 1 entries, such as weight"):
        interpolate_states(nn.Linear(2, 3).state_dict(), nn.Linear(4, 3).state_dict(), 0.5)


def test_no_changed_byte_of_our_files_is_loaded(tmp_path: Path) -> None:
    network, file = randomised(NETWORKS["msrresnet"], 1), tmp_path / "weights.safetensors"
    save_weights(network, file, layout="plain")
    whole, refused = file.read_bytes(), 0
    for place in (*range(0, 2000, 7), *range(2000, len(whole), 997)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        loaded = randomised(NETWORKS["msrresnet"], 2)
        try:
            load_weights(loaded, file)
        except ValueError as error:
            refused += str(file) in str(error)
        else:  # the byte was in the checksum's name, or padding
            assert states_equal(loaded.state_dict(), network.state_dict())
    assert refused > 250
    file.write_bytes(whole[:-4] + bytes(4))
    with pytest.raises(DamagedError, match=r"weights\.safetensors is damaged: it is not what was written"):
        load_weights(network, file)


def test_files_of_other_tools_need_no_checksum(tmp_path: Path) -> None:
    network, file = randomised(NETWORKS["msrresnet"], 1), tmp_path / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), file, {"format": "pt"})
    loaded = randomised(NETWORKS["msrresnet"], 2)
    load_weights(loaded, file)
    assert states_equal(loaded.state_dict(), network.state_dict())
    save_weights(network, file, layout="plain")
    assert states_equal(safetensors.torch.load_file(file), network.state_dict())  # and others read ours


def test_a_weight_file_that_inflates_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    deflated = zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, deflated as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ValueError, match=r"bomb\.pth: [\d,]+ bytes would inflate to [\d,]+, more than 10 times"):
        read_state(tmp_path / "bomb.pth")
    assert read_state(tmp_path / "plain.pth")["a"].shape == (1_000_000,)


def test_empty_averaged_weights_fall_back_to_raw_ones_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = randomised(NETWORKS["rrdb"], 0), randomised(NETWORKS["rrdb"], 1)
    torch.save({"params": source.state_dict(), "params_ema": {}}, tmp_path / "x.pth")
    load_weights(target, tmp_path / "x.pth")
    assert states_equal(source.state_dict(), target.state_dict())
    assert caplog.messages == [f"{tmp_path / 'x.pth'}: params_ema is empty, so params is read"]


def test_of_a_trainer_the_generator_is_read_and_the_rest_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = randomised(NETWORKS["msrresnet"], 0), randomised(NETWORKS["msrresnet"], 1)
    state = {f"net_g.{name}": tensor for name, tensor in source.state_dict().items()}
    state |= {f"net_d.{name}": tensor for name, tensor in NETWORKS["vgg"]().state_dict().items()}
    torch.save({"state_dict": state, "optimizer_states": [{"state": {0: torch.zeros(2)}}]}, tmp_path / "last.ckpt")
    load_weights(target, tmp_path / "last.ckpt")
    assert states_equal(source.state_dict(), target.state_dict())
    assert re.fullmatch(
        r".*last\.ckpt: \d+ entries, such as 'net_d\..*', are no part of its generator", caplog.messages[0]
    )


def test_a_checkpoint_with_other_objects_is_refused_unrun(tmp_path: Path) -> None:
    content = {"state_dict": NETWORKS["rrdb"]().state_dict(), "hyper_parameters": MakesDirectory(tmp_path / "made")}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt: .*holds more than plain tensors; nothing in it was run\. If"):
        load_weights(NETWORKS["rrdb"](), tmp_path / "last.ckpt")
    assert not (tmp_path / "made").exists()
    with pytest.raises(ValueError, match=r"one of \.pth, \.pt, \.safetensors, but got '\.ckpt'"):
        save_weights(NETWORKS["rrdb"](), tmp_path / "new.ckpt")
