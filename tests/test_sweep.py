"""The command of a study without the study itself (tests/cluster/test_study.py runs it)."""

import shutil
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from study import sweep
from study.losses.custom import CustomLossError
from study.sweep import _import_in_background
from study.training import preflight

ROOT = Path(__file__).resolve().parents[1]


def test_background_import_is_silent_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "needed_late.py").write_text("ANSWER = 42\n")
    (tmp_path / "broken_late.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("needed_late", "broken_late"):
        _import_in_background(name)
    for thread in threading.enumerate():
        if thread.name.startswith("import "):
            thread.join(10)
    assert sys.modules.pop("needed_late").ANSWER == 42
    assert "broken_late" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_custom_losses_are_checked_and_stored_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    folder = shutil.copytree(ROOT / "docs" / "examples", tmp_path / "examples")
    options = sweep._parse(["--space", str(folder / "my_space.py"), "--output", str(tmp_path / "study")])
    inputs = sweep.collect_inputs(options, {}, Console(quiet=True))
    text = (folder / "my_loss.py").read_text()
    assert list(inputs.context_spec.custom_losses.values()) == [text]
    assert {draw.loss.guidance for draw in inputs.draws} == {"pixel", "custom"}

    (folder / "my_loss.py").write_text(text.replace("del lq", "return sr"))
    with pytest.raises(
        CustomLossError, match=r"my_loss\.py: loss must return one value per image.*shape \(2, 3, 64, 64\)"
    ):
        sweep.collect_inputs(options, {}, Console(quiet=True))
    assert not (tmp_path / "study").exists()
