"""Fixtures of the tests of configurations."""

import pytest

from study.config import RunConfig
from study.config.recipes import aesop


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    return aesop("tiny")
