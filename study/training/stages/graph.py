"""How stages hang together: what each starts from, and the names of their artifacts.

`fidelity`, `autoencoder` and `critics` yield artifacts (`artifacts.py`), named by the hash of all that determines them
and shared by every trial and study beside the same artifact store. `adversarial` (`adversarial.py`) is a trial's own
last stage and yields points.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from study.config import Budget, RunConfig, Stage, decoder_as_run, stage_key
from study.data import ImageSet

KeyOf = Callable[[RunConfig, Stage], str]  # names the artifact of a run's stage


@dataclass(frozen=True)
class Need:
    """An artifact that a stage needs, with the keys of those that it starts from itself."""

    key: str
    stage: Stage
    config: RunConfig
    after: tuple[str, ...] = ()


def upstream(config: RunConfig, stage: Stage) -> list[tuple[RunConfig, Stage]]:
    """The stages that a stage starts from, each with the run that describes it."""
    match stage:
        case "fidelity" | "critics":
            return []
        case "autoencoder":
            return [] if config.autoencoder.init is not None else [(decoder_as_run(config), "fidelity")]
        case "adversarial":
            return [(config, name) for name in config.stages if name != "adversarial"]


def needs_of(config: RunConfig, stage: Stage, key_of: KeyOf) -> Iterator[Need]:
    """Everything upstream of a stage, each before what starts from it, each once."""
    seen: set[str] = set()
    for needed, name in upstream(config, stage):
        for need in [*needs_of(needed, name, key_of), _need(needed, name, key_of)]:
            if need.key not in seen:
                seen.add(need.key)
                yield need


def _need(config: RunConfig, stage: Stage, key_of: KeyOf) -> Need:
    after = tuple(key_of(needed, name) for needed, name in upstream(config, stage))
    return Need(key_of(config, stage), stage, config, after)


def artifact_key(config: RunConfig, stage: Stage, train_set: ImageSet) -> str:
    """The name of a stage's artifact when trained on these images."""
    return stage_key(config, stage, train_set.fingerprint)


def initial_weights(config: RunConfig, stage: Stage) -> str | None:
    """The weight file that stands in for training an upstream stage."""
    given = {"fidelity": config.generator.init, "autoencoder": config.autoencoder.init, "critics": config.critics.init}
    return given[stage]


def budget_of(config: RunConfig, stage: Stage) -> Budget:
    """How long a stage trains, on what; critics have iterations of their own, and see one image."""
    match stage:
        case "fidelity":
            return config.fidelity.budget
        case "autoencoder":
            return config.autoencoder.budget
    return config.budget
