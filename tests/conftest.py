"""What all tests share."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest_plugins = ("tests.study_fixtures", "tests.training_fixtures")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what starts Ray: these studies are the longest tests of all.

    Two Rays on a machine confuse each other: who starts one of their own comes before those who share one.
    """
    items.sort(key=lambda item: (item.get_closest_marker("cluster") is None, "cluster" in item.fixturenames))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let `pytest -n` give a file to one process, and all that starts Ray to one and the same.

    `--dist loadgroup` would be for this, but pytest-xdist 3.8 cannot tell pytest 9.2 of its groups: each test is one.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "cluster" if "pytestmark = pytest.mark.cluster" in (config.rootpath / file).read_text() else file

    return ByFile(config, log)


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
