"""The commands of docs/researcher.md run unchanged, with the results that the page describes."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from rich.console import Console

from study import evaluate, export, prepare, train
from study.config import custom_loss_path, parse_assignments, replace
from study.losses.custom import load_custom_loss
from study.record.events import ArtifactEnded
from study.record.journal import read_entries
from study.search.spaces import DRY_DRAWS, load_space
from study.training import preflight
from study.training.preflight import read_custom_losses
from study.training.stages import artifacts
from tests.researcher_page import PAGE, ROOT, commands, furnish, sections

SCRIPTS: dict[str, Callable[[list[str], Console], int]] = {
    "study/train.py": train.main,
    "study/prepare.py": prepare.main,
    "study/export.py": export.main,
    "study/evaluate.py": evaluate.main,
}
POINT = "trials/0000/points/0000040.safetensors"


@dataclass
class Ran:
    """The page's folder after its commands have run, and the output of each command by section."""

    place: Path
    output: dict[str, list[str]]


def run(command: list[str]) -> str:
    console = Console(record=True, width=200)
    assert SCRIPTS[command[0]](command[1:], console) == 0
    return " ".join(console.export_text().split())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run every command of the page but the study's, which needs Ray and is run in tests/cluster."""
    place = furnish(tmp_path_factory.mktemp("researcher"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
        output = {
            section: [run(command) for command in commands(section)]
            for section in sections()
            if section != "Your search space"
        }
        yield Ran(place, output)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".pth":
        params: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["params"]
        return params
    return safetensors.torch.load_file(path)


def are_equal(first: Path, second: Path) -> bool:
    one, other = weights_of(first), weights_of(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def made(place: Path, stage: str) -> list[Path]:
    return sorted((place / "runs" / "artifacts").glob(f"{stage}-*"), key=lambda path: path.stat().st_mtime_ns)


def test_the_page_has_its_four_sections_and_each_has_commands() -> None:
    assert list(sections()) == ["Your images", "Your weights", "Your search space", "A custom loss"]
    assert [len(commands(section)) for section in sections()] == [3, 3, 1, 2]
    assert all((ROOT / script).is_file() for section in sections() for script, *_ in commands(section))


def test_every_path_on_the_page_exists(ran: Ran) -> None:
    named = set(re.findall(r"`((?:runs/|photos\.|mine_x4|table\.md|losses\.md)[\w./-]*)`", PAGE.read_text()))
    left = {name for name in named if "..." not in name and not name.startswith("runs/my_space")}
    assert {"runs/photos/generator.pth", f"runs/photos/{POINT}", "runs/my_loss/custom_losses"} <= left
    assert [name for name in sorted(left) if not (ran.place / name).exists()] == []
    examples = re.findall(r"\]\((examples/[\w.]+)\)", PAGE.read_text())
    assert [name for name in examples if not (PAGE.parent / name).is_file()] == []


def artifacts_of(run_dir: Path) -> list[ArtifactEnded]:
    events = [entry.event for entry, _ in read_entries(run_dir / "journal.jsonl")]
    return [event for event in events if isinstance(event, ArtifactEnded)]


def test_your_images_train_three_stages_to_a_table_and_weights(ran: Ran) -> None:
    first = ran.output["Your images"][0]
    for part in ("NOT LPIPS", "on the held-out images", "bicubic", "complete run at 40", "runs/photos/generator.pth"):
        assert part in first
    assert [ended.stage for ended in artifacts_of(ran.place / "runs/photos")] == ["fidelity", "autoencoder"]
    assert are_equal(ran.place / "runs/photos/generator.pth", ran.place / "runs/photos" / POINT)
    samples = ran.place / "runs/photos/trials/0000/points/0000040"
    assert samples.is_dir()
    assert samples.with_suffix(".json").is_file()


def test_the_same_command_trains_nothing_again(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "train", None)  # calling it would fail
    before = (ran.place / "runs/photos" / POINT).stat().st_mtime_ns
    run(commands("Your images")[0])
    assert (ran.place / "runs/photos" / POINT).stat().st_mtime_ns == before


def test_a_store_trains_to_the_weights_of_its_folder(ran: Ran) -> None:
    assert "train on it: --data photos.arrow" in ran.output["Your images"][1]
    packed = ran.place / "runs/packed"
    assert (packed / POINT).read_bytes() == (ran.place / "runs/photos" / POINT).read_bytes()
    assert [ended.reused for ended in artifacts_of(packed)] == [True, True]
    assert len(made(ran.place, "autoencoder")) == 1


def test_your_weights_replace_the_fidelity_stage_and_are_exported(ran: Ran) -> None:
    trained, given = made(ran.place, "fidelity")
    assert json.loads((trained / "budget.json").read_text())["iterations"] == 60
    assert json.loads((given / "budget.json").read_text())["iterations"] == 0
    assert are_equal(given / "weights.safetensors", ran.place / "runs/photos/generator.pth")
    point = ran.place / "runs/from-weights" / POINT
    assert not are_equal(point, ran.place / "runs/photos/generator.pth")
    assert are_equal(ran.place / "mine_x4.pth", point)
    table = (ran.place / "table.md").read_text()
    assert [name for name in ("bicubic", "generator", "mine_x4") if name not in table] == []
    assert "msrresnet, scale 4, 16 features, 2 blocks, trained as ldl" in ran.output["Your weights"][1]


def test_a_custom_loss_replaces_the_fidelity_term(ran: Ran) -> None:
    text = (ROOT / "docs/examples/my_loss.py").read_text()
    (kept,) = (ran.place / "runs/my_loss/custom_losses").iterdir()
    assert kept.read_text() == text
    config = json.loads((ran.place / "runs/my_loss/trials/0000/config.json").read_text())["config"]
    assert config["loss"]["custom"].startswith(f"{ran.place / 'docs/examples/my_loss.py'}@sha256:{kept.stem}")
    point = json.loads((ran.place / "runs/my_loss" / POINT).with_suffix(".json").read_text())
    assert 0 < point["terms"]["fidelity"] != point["terms"]["pixel"]
    stages = [(ended.stage, ended.reused) for ended in artifacts_of(ran.place / "runs/my_loss")]
    assert stages == [("fidelity", True)]
    assert "trial 0 at 40 (2)" in (ran.place / "losses.md").read_text()


def test_an_edited_loss_is_refused_and_a_moved_one_accepted(ran: Ran) -> None:
    path = ran.place / "docs/examples/my_loss.py"
    text = path.read_text()
    command = commands("A custom loss")[0]
    try:
        path.write_text(text.replace("AMPLITUDES = 0.5", "AMPLITUDES = 0.25"))
        with pytest.raises(ValueError, match="holds another study; it differs in custom losses"):
            run(command)
    finally:
        path.write_text(text)
    (ran.place / "moved.py").write_text(text)
    run([part.replace("docs/examples/my_loss.py", "moved.py") for part in command])


def test_the_example_loss_ignores_the_place_of_texture() -> None:
    config = replace(
        load_space(str(ROOT / "docs/examples/my_space.py")).base("tiny", []),
        {"loss.guidance": "custom", "loss.custom": str(ROOT / "docs/examples/my_loss.py")},
    )
    texts = read_custom_losses([config])
    loss = load_custom_loss(config.loss.custom or "", texts)
    hr, lq = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 8, 8)
    assert loss(hr, hr, lq) == pytest.approx([1e-3, 1e-3], rel=1e-4)  # nothing but the smoothing
    moved = hr.roll(3, dims=3)
    distance = (moved - hr).square().add(1e-6).sqrt().mean(dim=(1, 2, 3))
    assert loss(moved, hr, lq) == pytest.approx(distance.tolist(), rel=1e-4)  # no amplitude has changed
    # A brighter image differs in one frequency of each colour, whose amplitude is the sum over the pixels / 32.
    brighter = loss(hr + 0.25, hr, lq)
    frequencies = 32 * 17
    expected = (0.25**2 + 1e-6) ** 0.5 + 0.5 * (0.25 * 32**2 / 32) / frequencies
    assert brighter == pytest.approx([expected] * 2, rel=1e-4)


def test_the_example_space_stratifies_by_loss() -> None:
    (command,) = commands("Your search space")
    space = load_space(str(ROOT / command[command.index("--space") + 1]))
    changes = parse_assignments([value for option, value in pairwise(command) if option == "--set"])
    base = replace(space.base(space.size, []), changes)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _, *draws = space.try_out(base)
    assert [draw.loss.guidance for draw in draws] == ["pixel", "custom"] * (DRY_DRAWS // 2)
    custom = {draw.loss.custom for draw in draws} - {None}
    assert [custom_loss_path(name or "") for name in custom] == [str(ROOT / "docs/examples/my_loss.py")]
    assert len(read_custom_losses(draws)) == 1
    assert {draw.budget.iterations for draw in draws} == {40}
