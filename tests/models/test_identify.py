"""The network of a weight file is identified from its names and shapes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from study.config import EDSRConfig, GeneratorConfig, generator_config
from study.models import save_weights
from study.models.build import build_generator
from study.models.identify import identify

LOW = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def config_of(name: str) -> GeneratorConfig:
    fields = {"name": name, "features": 12, "blocks": 4}
    others = {"swinir": {"heads": 2, "depth": 2}, "rrdb": {"growth": 4}, "spsr": {"growth": 4}}
    return generator_config(fields | others.get(name, {}))


def same_image(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b.clamp(0, 1), atol=1e-6) or torch.allclose(a, b, atol=1e-6))


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["rrdb", "msrresnet", "edsr", "srresnet", "swinir", "spsr"])
def test_every_generator_is_identified_from_its_file(tmp_path: Path, name: str, scale: int, ending: str) -> None:
    torch.manual_seed(0)
    network = build_generator(config_of(name), scale).eval()
    path = tmp_path / f"weights{ending}"
    save_weights(network, path)
    # Nearest-neighbour steps have no weights: of these two, one step may stand for 2 or for 3.
    told = scale if (name, scale) in {("rrdb", 3), ("spsr", 2), ("spsr", 3)} else None

    found, factor, text = identify(path, told)

    assert factor == scale
    assert name in text.lower()
    with torch.no_grad():
        assert same_image(found(LOW), network(LOW))


def test_an_ambiguous_scale_must_be_given(tmp_path: Path) -> None:
    save_weights(build_generator(config_of("rrdb"), 3), tmp_path / "x.pth")

    with pytest.raises(ValueError, match=r"x\.pth: its weights fit scale 2 or 3; choose one with --scale"):
        identify(tmp_path / "x.pth")


def test_an_unknown_network_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3, 3)}, tmp_path / "x.pth")

    with pytest.raises(ValueError, match=r"x\.pth: no network is known .* such as some\.weight; .* --recipe"):
        identify(tmp_path / "x.pth")


def test_another_scale_than_the_files_is_refused(tmp_path: Path) -> None:
    save_weights(build_generator(config_of("swinir"), 4), tmp_path / "x.pth")

    with pytest.raises(ValueError, match="is of scale 4, not 2; correct --scale"):
        identify(tmp_path / "x.pth", 2)


def test_edsrs_large_form_scales_its_blocks(tmp_path: Path) -> None:
    network = build_generator(EDSRConfig(features=256, blocks=1, residual_scale=0.1), 2).eval()
    save_weights(network, tmp_path / "x.pth")

    with torch.no_grad():
        assert torch.allclose(identify(tmp_path / "x.pth")[0](LOW), network(LOW), atol=1e-6)


@pytest.mark.parametrize("change", ["extra", "cut", "widths"])
def test_weights_that_are_not_what_their_names_promise_end_in_one_sentence(tmp_path: Path, change: str) -> None:
    state = build_generator(config_of("rrdb"), 4).state_dict()
    if change == "extra":
        state |= {"body.0.rdb9.conv1.weight": torch.zeros(4, 12, 3, 3)}
    if change == "cut":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("conv_hr")}
    if change == "widths":
        state |= {"conv_body.weight": torch.zeros(7, 12, 3, 3)}
    torch.save(state, tmp_path / "x.pth")

    said = {
        "extra": r"4 blocks at scale 4, but for 1 unexpected \(body\.0\.rdb9\.conv1\.weight\); save",
        "cut": r"4 blocks at scale 4, but for 2 missing \(conv_hr\.weight, conv_hr\.bias\); save",
        "widths": r"4 blocks at scale 4, but for 1 wrongly shaped \(conv_body\.weight is \(7, .*; save",
    }
    with pytest.raises(ValueError, match=rf"x\.pth: the nearest network is .*{said[change]}") as caught:
        identify(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rrdb", "msrresnet", "edsr", "srresnet", "spsr"])
def test_weights_that_almost_fit_name_the_nearest_network_and_what_differs(tmp_path: Path, name: str) -> None:
    state = build_generator(config_of(name), 4).state_dict()
    first = next(iter(state))
    more = {f"extra{index}.weight": torch.zeros(3) for index in range(4)}
    cases = {
        rf"1 missing \({first}\)": {key: value for key, value in state.items() if key != first},
        r"1 unexpected \(extra0\.weight\)": state | {"extra0.weight": torch.zeros(3)},
        r"4 unexpected \(extra0\.weight, extra1\.weight, extra2\.weight, \.\.\.\)": state | more,
    }
    for said, given in cases.items():
        torch.save(given, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=rf"x\.pth: the nearest network is {name} of 12 .* but for {said}; save"):
            identify(tmp_path / "x.pth")


def test_a_swinir_that_almost_fits_names_the_entry(tmp_path: Path) -> None:
    torch.save(
        build_generator(config_of("swinir"), 4).state_dict() | {"extra.weight": torch.zeros(3)}, tmp_path / "x.pth"
    )

    with pytest.raises(ValueError, match=r"names of SwinIR .*Unexpected key.*extra\.weight"):
        identify(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["rrdb", "msrresnet", "swinir", "spsr"])
@pytest.mark.parametrize(
    ("wrapper", "prefix"),
    [
        ("state_dict", "net_g."),
        ("state_dict", "generator._orig_mod."),
        ("state_dict", "model."),
        ("model_state_dict", "module."),
        ("model", ""),
        ("generator", "_orig_mod."),
        (None, "module._orig_mod."),
    ],
)
def test_wrapped_weights_give_the_images_of_the_plain_file(
    tmp_path: Path, name: str, wrapper: str | None, prefix: str
) -> None:
    torch.manual_seed(0)
    save_weights(build_generator(config_of(name), 4), tmp_path / "plain.pth", layout="basicsr")
    content = torch.load(tmp_path / "plain.pth", weights_only=True)
    state = {f"{prefix}{key}": value for key, value in content.get("params", content).items()}
    torch.save(state if wrapper is None else {"epoch": 3, wrapper: state}, tmp_path / "wrapped.ckpt")

    plain, wrapped = (identify(tmp_path / file, 4)[0] for file in ("plain.pth", "wrapped.ckpt"))
    with torch.no_grad():
        assert torch.equal(plain(LOW), wrapped(LOW))
