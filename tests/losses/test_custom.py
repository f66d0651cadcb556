"""A custom loss: its rules are checked before any training; no text is executed that the user did not name."""

import hashlib
from pathlib import Path

import pytest
import torch

from study.config import LossConfig, RunConfig, pin_custom_loss, replace
from study.config.recipes import aesop
from study.losses.custom import CustomLossError, load_custom_loss, read_custom_loss, try_custom_loss
from study.losses.generator_loss import GeneratorLoss, LossInputs
from study.losses.guidance import GuidanceInputs, fidelity_loss
from study.losses.pixel import pixel_loss
from study.training.preflight import read_custom_losses

CPU = torch.device("cpu")
L1 = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"


def with_custom(path: Path, text: str, **changes: object) -> RunConfig:
    path.write_text(text)
    named = {f"budget.{name}": value for name, value in changes.items()}
    return pin_custom_loss(replace(aesop("tiny"), {"loss.guidance": "custom", "loss.custom": str(path), **named}))


def custom_of(config: RunConfig) -> str:
    assert config.loss.custom is not None
    return config.loss.custom


def test_the_fidelity_term_is_the_files_function(tmp_path: Path) -> None:
    text = (
        "SHARE = 0.25\n\ndef loss(sr, hr, lq):\n"
        "    return SHARE * lq.mean(dim=(1, 2, 3)) + sr[:, 0, 0, 0] * hr[:, 1, 2, 3]\n"
    )
    config = with_custom(tmp_path / "mine.py", text)
    custom = load_custom_loss(custom_of(config), read_custom_losses([config]))
    draw = torch.Generator().manual_seed(0)
    sr, hr, lq = (torch.rand(3, 3, side, side, generator=draw) for side in (16, 16, 4))
    expected = [0.25 * lq[n].mean() + sr[n, 0, 0, 0] * hr[n, 1, 2, 3] for n in range(3)]
    assert torch.equal(fidelity_loss(config.loss, GuidanceInputs(custom=custom), sr, hr, lq), torch.stack(expected))


def test_the_pixel_loss_as_a_file_is_the_pixel_loss(tmp_path: Path) -> None:
    config = with_custom(tmp_path / "mine.py", L1)
    custom = load_custom_loss(custom_of(config), read_custom_losses([config]))
    draw = torch.Generator().manual_seed(0)
    sr, hr, lq = (torch.rand(2, 3, side, side, generator=draw) for side in (16, 16, 4))
    assert torch.equal(custom(sr, hr, lq), pixel_loss(sr, hr))


def test_it_is_tested_with_images_of_the_trainings_size(tmp_path: Path) -> None:
    text = "def loss(sr, hr, lq):\n    raise ValueError([tuple(images.shape) for images in (sr, hr, lq)])\n"
    config = with_custom(tmp_path / "mine.py", text, patch=96)
    with pytest.raises(CustomLossError, match=r"\(2, 3, 96, 96\), \(2, 3, 96, 96\), \(2, 3, 24, 24\)"):
        read_custom_losses([config])


def test_it_is_tested_with_every_patch_size_of_a_study(tmp_path: Path) -> None:
    text = "def loss(sr, hr, lq):\n    return (sr - hr)[:, :, 40:, 40:].abs().mean(dim=(1, 2, 3))\n"
    large, small = with_custom(tmp_path / "mine.py", text), with_custom(tmp_path / "mine.py", text, patch=32)
    assert list(read_custom_losses([large]).values()) == [text]
    with pytest.raises(CustomLossError, match="must be finite"):  # the mean of nothing
        read_custom_losses([large, small])


def test_a_loss_of_weight_zero_is_not_read(tmp_path: Path) -> None:
    config = replace(with_custom(tmp_path / "mine.py", "raise SystemError('it was run')"), {"loss.fidelity": 0})
    assert not config.loss.uses_custom
    assert read_custom_losses([config, aesop("tiny")]) == {}


RETURNS = "def loss(sr, hr, lq):\n    difference = sr - hr\n    return "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def loss(sr, hr:\n", r"cannot be executed: SyntaxError: .*mine\.py, line 1.*correct it"),
        ("import no_such_module\n", r"cannot be executed: ModuleNotFoundError: .*no_such_module.*\(line 1\)"),
        ("\nROOT = __file__\n", r"cannot be executed: NameError: .*\(line 2\)"),
        ("def los(sr, hr, lq): ...\nX = 2\n", r"`def loss\(sr, hr, lq\)`, but its functions are: los;"),
        ("", "but its functions are: none"),
        ("loss = 3\n", "but its functions are: none"),
        ("def loss(sr, hr):\n    return sr\n", r"loss failed on random images .*TypeError: .*3 were given"),
        ("def loss(sr, hr, lq):\n    return\n", r"one value per image.*for 2 images it returned NoneType"),
        (RETURNS + "difference @ lq\n", r"failed on random images \(sr and hr \(2, 3, 64.*RuntimeError.*\(line 3\)"),
        (RETURNS + "difference.abs().mean()\n", r"for 2 images it returned shape \(\);.*dim=\(1, 2, 3\)"),
        (RETURNS + "difference.abs()\n", r"returned shape \(2, 3, 64, 64\)"),
        (RETURNS + "float(difference.abs().mean())\n", "it returned float"),
        (RETURNS + "difference.abs().mean(dim=(1, 2, 3)).half()\n", r"float32, but it returned torch\.float16"),
        (RETURNS + "difference.mean(dim=(1, 2, 3)).long()\n", r"at least float32, but it returned torch\.int64"),
        (RETURNS + "difference.log().mean(dim=(1, 2, 3))\n", "loss must be finite, but for random images it returned"),
        (RETURNS + "difference.detach().abs().mean(dim=(1, 2, 3))\n", "must have a gradient for sr, but"),
        (RETURNS + "hr.mean(dim=(1, 2, 3))\n", "must have a gradient for sr"),
        (RETURNS + "difference.sign().mean(dim=(1, 2, 3))\n", "must have a gradient for sr"),
        (RETURNS + "(difference * 0).abs().sqrt().mean(dim=(1, 2, 3))\n", "gradient for sr must be finite"),
        (RETURNS + "(difference.exp().exp_() * difference.exp_()).mean(dim=(1, 2, 3))\n", "failed .*in place: x.exp"),
        (RETURNS + "(sr - hr.clamp_(0.2, 0.8)).mean(dim=(1, 2, 3))\n", r"must not change hr and lq.*hr\.clone\(\)"),
    ],
)  # fmt: skip
def test_a_faulty_loss_is_refused_before_any_training(text: str, problem: str, tmp_path: Path) -> None:
    config = with_custom(tmp_path / "mine.py", text)
    with pytest.raises(CustomLossError, match=problem) as caught:
        read_custom_losses([config])
    assert str(caught.value).startswith(str(tmp_path / "mine.py"))


def test_testing_a_loss_keeps_torchs_random_state(tmp_path: Path) -> None:
    text = "import torch\n\ndef loss(sr, hr, lq):\n    return (sr * torch.rand_like(sr)).mean(dim=(1, 2, 3))\n"
    config = with_custom(tmp_path / "mine.py", text)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    read_custom_losses([config])
    assert torch.equal(torch.rand(4), expected)


def test_a_file_that_changed_or_is_no_text_is_refused(tmp_path: Path) -> None:
    config = with_custom(tmp_path / "mine.py", L1)
    (tmp_path / "mine.py").write_text(L1 + "\n")
    with pytest.raises(
        CustomLossError, match=r"loss\.custom: .*mine\.py has changed since the command started; start again"
    ):
        read_custom_losses([config])
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe")
    with pytest.raises(CustomLossError, match=r"Python file in UTF-8, but .*mine\.py cannot be read"):
        read_custom_loss(str(tmp_path / "mine.py"))


def test_a_text_is_executed_only_if_the_command_got_it(tmp_path: Path) -> None:
    evil = f"open({str(tmp_path / 'it ran')!r}, 'w')\n" + L1
    config = with_custom(tmp_path / "evil.py", evil)
    other = {_hash(L1): L1}
    for texts in ({}, other):
        for custom in (custom_of(config), str(tmp_path / "evil.py")):  # with its hash, and without
            with pytest.raises(CustomLossError, match=r"evil\.py.*not given to the command.*--set loss\.custom=FILE"):
                load_custom_loss(custom, texts)
    assert not (tmp_path / "it ran").exists()
    try_custom_loss(custom_of(config), {**other, _hash(evil): evil}, patch=32, scale=4, device=CPU)
    assert (tmp_path / "it ran").exists()  # it does run when its text is given


def _hash(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_training_does_not_read_the_file(tmp_path: Path) -> None:
    config = with_custom(tmp_path / "mine.py", L1)
    texts = read_custom_losses([config])
    (tmp_path / "mine.py").unlink()
    assert load_custom_loss(custom_of(config), texts)(*torch.ones(3, 2, 3, 8, 8)).tolist() == [0, 0]


def test_dataclasses_work_in_the_file(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import Tensor\n"
        "@dataclass\nclass Weights:\n    high: float = 2.0\n"
        "def loss(sr: Tensor, hr: Tensor, lq: Tensor) -> Tensor:\n"
        "    return Weights().high * (sr - hr).abs().mean(dim=(1, 2, 3))\n"
    )
    assert len(read_custom_losses([with_custom(tmp_path / "mine.py", text)])) == 1


def test_other_guidance_uses_no_custom_loss() -> None:
    assert not LossConfig(guidance="pixel").uses_custom


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "    if len(calls) > 3:\n        raise RuntimeError('boom')\n",
            r"in training: RuntimeError: boom \(line 5\); correct it",
        ),
        (
            "    if len(calls) > 3:\n        return sr.exp().exp_().exp().mean(dim=(1, 2, 3)) * hr.new_ones(3)\n",
            "in training: Runtime",
        ),
        (
            "    if len(calls) > 3:\n        sr = sr.exp()\n        return (sr * sr.exp_()).mean(dim=(1, 2, 3))\n",
            "change no tensor in place",
        ),
    ],
)
def test_a_loss_that_fails_in_a_later_batch_is_explained(text: str, said: str, tmp_path: Path) -> None:
    head, body = L1.splitlines(keepends=True)
    whole = "calls = []\n" + head + "    calls.append(1)\n" + text + body
    config = with_custom(tmp_path / "mine.py", whole)
    custom = load_custom_loss(custom_of(config), read_custom_losses([config]))
    loss = GeneratorLoss(replace(config, {"loss.perceptual": 0}).loss, GuidanceInputs(custom=custom))
    hr, lq = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 4, 4)
    inputs = LossInputs(torch.rand(2, 3, 16, 16, requires_grad=True), hr, lq)
    for _ in range(3):
        loss.add_gradient("fidelity", inputs)
    with pytest.raises(CustomLossError, match=said) as caught:
        loss.add_gradient("fidelity", inputs)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.py'}: loss failed in training: ")
