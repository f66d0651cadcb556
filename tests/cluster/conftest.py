"""What the tests of the cluster's bookkeeping share: a source of trials without Optuna."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray

from study.config import RunConfig, replace
from study.recipes import aesop
from study.search.trials import Asked, UnusableTrial

PIXEL = {"loss.guidance": "pixel"}


@dataclass
class ListSource:
    """Trials from a list, in its order; None stands for a draw that is no valid run."""

    configs: Sequence[RunConfig | None]
    left: list[Asked] = field(default_factory=list)
    drawn: int = 0

    @property
    def count(self) -> int:
        return self.drawn

    def unfinished(self) -> list[Asked]:
        return self.left

    def ask(self) -> Asked:
        number, self.drawn = self.drawn, self.drawn + 1
        config = self.configs[number]
        if config is None:
            raise UnusableTrial(number, {"loss.fidelity": 1.0}, "the space raised")
        return Asked(number, {"number": number}, config)


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """A run that needs a fidelity generator and, started from it, an auto-encoder."""
    return aesop("tiny")


@pytest.fixture(scope="session")
def variant(tiny: RunConfig) -> Callable[..., RunConfig]:
    """Make a run: `variant(12)` has another auto-encoder, `variant(pixel=True)` none, `seed` tells runs apart."""

    def make(channels: int = 3, *, pixel: bool = False, seed: int = 0, changes: Mapping[str, Any] | None = None) -> Any:
        guidance = PIXEL if pixel else {"autoencoder.bottleneck_channels": channels}
        return replace(tiny, {**guidance, "seed": seed, **(changes or {})})

    return make


@pytest.fixture(scope="session")
def source_of() -> Callable[..., ListSource]:
    """Make a source: `source_of([config, ...])`."""
    return ListSource


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """One Ray for all tests; the studies connect to it, as to a cluster. Groups of workers need its dashboard."""
    for attempt in (1, 2, 3):
        try:
            ray.init(address="local", num_cpus=2, include_dashboard=True, log_to_driver=False)
            break
        except Exception as error:  # Ray gives its node 30 seconds, too few on a machine that is busy otherwise
            ray.shutdown()
            if attempt == 3 or "timed out during startup" not in str(error):
                raise
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
