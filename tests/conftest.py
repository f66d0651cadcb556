"""What all tests share."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keep the suite within its share of the machine, and its sums in one order."""
    torch.set_num_threads(1)


@pytest.fixture
def shared_data() -> Path:
    """Real photographs and published weights, kept beside the checkout and not part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder
