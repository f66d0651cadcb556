"""The command of a study, apart from what it runs (tests/cluster/test_study.py)."""

import sys
import threading
from pathlib import Path

import pytest

from study.sweep import _import_meanwhile


def test_what_is_needed_at_the_end_is_imported_meanwhile_and_what_fails_is_left_to_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "needed_late.py").write_text("ANSWER = 42\n")
    (tmp_path / "broken_late.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("needed_late", "broken_late"):
        _import_meanwhile(name)
    for thread in threading.enumerate():
        if thread.name.startswith("import "):
            thread.join(10)
    assert sys.modules.pop("needed_late").ANSWER == 42
    assert "broken_late" not in sys.modules
    assert capfd.readouterr() == ("", "")
