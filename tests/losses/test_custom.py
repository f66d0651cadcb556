"""A loss of the user's: what it must be, said before anything trains; and that no text runs that nobody named."""

import hashlib
from pathlib import Path

import pytest
import torch

from study.config import LossConfig, RunConfig, pin_custom_loss, replace
from study.config.recipes import aesop
from study.losses.custom import CustomLossError, load_custom_loss, read_custom_loss, try_custom_loss
from study.losses.guidance import GuidanceInputs, fidelity_loss
from study.losses.pixel import pixel_loss
from study.training.preflight import read_custom_losses

CPU = torch.device("cpu")
L1 = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"


def with_own(path: Path, text: str, **changes: object) -> RunConfig:
    path.write_text(text)
    named = {f"budget.{name}": value for name, value in changes.items()}
    return pin_custom_loss(replace(aesop("tiny"), {"loss.guidance": "custom", "loss.custom": str(path), **named}))


def own_of(config: RunConfig) -> str:
    assert config.loss.custom is not None
    return config.loss.custom


def test_the_fidelity_term_is_what_the_file_says(tmp_path: Path) -> None:
    text = (
        "SHARE = 0.25\n\ndef loss(sr, hr, lq):\n"
        "    return SHARE * lq.mean(dim=(1, 2, 3)) + sr[:, 0, 0, 0] * hr[:, 1, 2, 3]\n"
    )
    config = with_own(tmp_path / "mine.py", text)
    own = load_custom_loss(own_of(config), read_custom_losses([config]))
    draw = torch.Generator().manual_seed(0)
    sr, hr, lq = (torch.rand(3, 3, side, side, generator=draw) for side in (16, 16, 4))
    expected = [0.25 * lq[n].mean() + sr[n, 0, 0, 0] * hr[n, 1, 2, 3] for n in range(3)]
    assert torch.equal(fidelity_loss(config.loss, GuidanceInputs(custom=own), sr, hr, lq), torch.stack(expected))


def test_the_pixel_loss_as_a_file_is_the_pixel_loss(tmp_path: Path) -> None:
    config = with_own(tmp_path / "mine.py", L1)
    own = load_custom_loss(own_of(config), read_custom_losses([config]))
    draw = torch.Generator().manual_seed(0)
    sr, hr, lq = (torch.rand(2, 3, side, side, generator=draw) for side in (16, 16, 4))
    assert torch.equal(own(sr, hr, lq), pixel_loss(sr, hr))


def test_it_is_shown_images_of_the_sizes_that_it_will_get(tmp_path: Path) -> None:
    text = "def loss(sr, hr, lq):\n    raise ValueError([tuple(images.shape) for images in (sr, hr, lq)])\n"
    config = with_own(tmp_path / "mine.py", text, patch=96)
    with pytest.raises(CustomLossError, match=r"\(2, 3, 96, 96\), \(2, 3, 96, 96\), \(2, 3, 24, 24\)"):
        read_custom_losses([config])


def test_every_patch_of_a_study_is_tried(tmp_path: Path) -> None:
    text = "def loss(sr, hr, lq):\n    return (sr - hr)[:, :, 40:, 40:].abs().mean(dim=(1, 2, 3))\n"
    large, small = with_own(tmp_path / "mine.py", text), with_own(tmp_path / "mine.py", text, patch=32)
    assert list(read_custom_losses([large]).values()) == [text]
    with pytest.raises(CustomLossError, match="must be finite"):  # the mean of nothing
        read_custom_losses([large, small])


def test_a_loss_of_weight_zero_is_not_read(tmp_path: Path) -> None:
    config = replace(with_own(tmp_path / "mine.py", "raise SystemError('it was run')"), {"loss.fidelity": 0})
    assert not config.loss.uses_custom
    assert read_custom_losses([config, aesop("tiny")]) == {}


RETURNS = "def loss(sr, hr, lq):\n    difference = sr - hr\n    return "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def loss(sr, hr:\n", r"cannot be read: SyntaxError: .*mine\.py, line 1.*correct it"),
        ("import no_such_module\n", r"cannot be read: ModuleNotFoundError: .*no_such_module.*\(line 1\)"),
        ("\nROOT = __file__\n", r"cannot be read: NameError: .*\(line 2\)"),
        ("def los(sr, hr, lq): ...\nX = 2\n", r"`def loss\(sr, hr, lq\)`, but the functions in it are: los;"),
        ("", "but the functions in it are: none"),
        ("loss = 3\n", "but the functions in it are: none"),
        ("def loss(sr, hr):\n    return sr\n", r"loss failed on random images .*TypeError: .*3 were given"),
        ("def loss(sr, hr, lq):\n    return\n", r"one value per image.*for 2 images it returned NoneType"),
        (RETURNS + "difference @ lq\n", r"failed on random images \(sr and hr \(2, 3, 64.*RuntimeError.*\(line 3\)"),
        (RETURNS + "difference.abs().mean()\n", r"for 2 images it returned shape \(\);.*dim=\(1, 2, 3\)"),
        (RETURNS + "difference.abs()\n", r"returned shape \(2, 3, 64, 64\)"),
        (RETURNS + "float(difference.abs().mean())\n", "it returned float"),
        (RETURNS + "difference.abs().mean(dim=(1, 2, 3)).half()\n", r"float32, but it returned torch\.float16"),
        (RETURNS + "difference.mean(dim=(1, 2, 3)).long()\n", r"at least float32, but it returned torch\.int64"),
        (RETURNS + "difference.log().mean(dim=(1, 2, 3))\n", "loss must be finite, but for random images it returned"),
        (RETURNS + "difference.detach().abs().mean(dim=(1, 2, 3))\n", "must have a gradient towards sr, but"),
        (RETURNS + "hr.mean(dim=(1, 2, 3))\n", "must have a gradient towards sr"),
        (RETURNS + "difference.sign().mean(dim=(1, 2, 3))\n", "must have a gradient towards sr"),
        (RETURNS + "(difference * 0).abs().sqrt().mean(dim=(1, 2, 3))\n", "gradient towards sr must be finite"),
        (RETURNS + "(sr - hr.clamp_(0.2, 0.8)).mean(dim=(1, 2, 3))\n", r"leave hr and lq as they are.*hr\.clone\(\)"),
    ],
)  # fmt: skip
def test_a_faulty_loss_is_found_out_before_any_training(text: str, problem: str, tmp_path: Path) -> None:
    config = with_own(tmp_path / "mine.py", text)
    with pytest.raises(CustomLossError, match=problem) as caught:
        read_custom_losses([config])
    assert str(caught.value).startswith(str(tmp_path / "mine.py"))


def test_trying_a_loss_leaves_torchs_random_numbers_as_they_were(tmp_path: Path) -> None:
    text = "import torch\n\ndef loss(sr, hr, lq):\n    return (sr * torch.rand_like(sr)).mean(dim=(1, 2, 3))\n"
    config = with_own(tmp_path / "mine.py", text)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    read_custom_losses([config])
    assert torch.equal(torch.rand(4), expected)


def test_a_file_that_changed_or_is_no_text_is_refused(tmp_path: Path) -> None:
    config = with_own(tmp_path / "mine.py", L1)
    (tmp_path / "mine.py").write_text(L1 + "\n")
    with pytest.raises(CustomLossError, match=r"loss\.custom: .*mine\.py was changed while it was read; start again"):
        read_custom_losses([config])
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe")
    with pytest.raises(CustomLossError, match=r"Python file in UTF-8, but .*mine\.py cannot be read"):
        read_custom_loss(str(tmp_path / "mine.py"))


def test_a_text_runs_only_if_it_was_given_to_the_command(tmp_path: Path) -> None:
    evil = f"open({str(tmp_path / 'it ran')!r}, 'w')\n" + L1
    config = with_own(tmp_path / "evil.py", evil)
    other = {_hash(L1): L1}
    for texts in ({}, other):
        for own in (own_of(config), str(tmp_path / "evil.py")):  # with its hash, and without
            with pytest.raises(CustomLossError, match=r"evil\.py.*not given to the command.*--set loss\.custom=FILE"):
                load_custom_loss(own, texts)
    assert not (tmp_path / "it ran").exists()
    try_custom_loss(own_of(config), {**other, _hash(evil): evil}, patch=32, scale=4, device=CPU)
    assert (tmp_path / "it ran").exists()  # the file would have told


def _hash(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_the_file_itself_is_not_looked_at_by_who_trains(tmp_path: Path) -> None:
    config = with_own(tmp_path / "mine.py", L1)
    texts = read_custom_losses([config])
    (tmp_path / "mine.py").unlink()
    assert load_custom_loss(own_of(config), texts)(*torch.ones(3, 2, 3, 8, 8)).tolist() == [0, 0]


def test_dataclasses_work_in_the_file(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import Tensor\n"
        "@dataclass\nclass Weights:\n    high: float = 2.0\n"
        "def loss(sr: Tensor, hr: Tensor, lq: Tensor) -> Tensor:\n"
        "    return Weights().high * (sr - hr).abs().mean(dim=(1, 2, 3))\n"
    )
    assert len(read_custom_losses([with_own(tmp_path / "mine.py", text)])) == 1


def test_no_custom_loss_where_the_guidance_is_another() -> None:
    assert not LossConfig(guidance="pixel").uses_custom
