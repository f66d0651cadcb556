"""What every provoked message needs: no network, and no weights in a cache."""

from pathlib import Path

import pytest
import torch

from study.models import backbones


@pytest.fixture(autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test download or find published weights."""
    empty: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(empty))
    monkeypatch.setattr(backbones, "_download_within", lambda *_: "there is no network in tests")
