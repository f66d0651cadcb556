"""What a run directory says of itself."""

import json
from pathlib import Path

import pytest

from study.record import metadata as run_directory


def test_every_code_that_had_a_hand_in_a_study_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for version in ("0.1+a", "0.1+a", "0.2+b", "0.1+a"):
        monkeypatch.setattr(run_directory, "code_version", lambda version=version: version)
        told.append(run_directory.code_versions(tmp_path))
        (tmp_path / "study.json").write_text(json.dumps({"code_version": told[-1]}))
    assert told == ["0.1+a", "0.1+a", "0.1+a, then 0.2+b", "0.1+a, then 0.2+b"]
