"""What all tests share."""

from pathlib import Path

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `pytest -n` give a file to one process, and all that starts Ray to one, which begins with it.

    The studies of the cluster's tests are the longest of all, and two Rays on a machine confuse each other: who starts
    one of their own comes before those who share one.
    """
    items.sort(key=lambda item: (item.get_closest_marker("cluster") is None, "cluster" in item.fixturenames))
    for item in items:
        group = "cluster" if item.get_closest_marker("cluster") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


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
