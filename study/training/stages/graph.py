"""The four stages, and how they depend on each other.

`fidelity`, `autoencoder` and `critics` store artifacts, named by the hash of all that determines them and shared by
every trial and study with the same artifact store. `adversarial` is a trial's last stage and yields its points.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from study.config import RunConfig, Stage, stage_key
from study.data import ImageSet
from study.training.stages.adversarial import ADVERSARIAL
from study.training.stages.autoencoder import AUTOENCODER
from study.training.stages.critics import CRITICS
from study.training.stages.fidelity import FIDELITY
from study.training.stages.spec import StageSpec

STAGES: dict[Stage, StageSpec] = {spec.name: spec for spec in (FIDELITY, AUTOENCODER, CRITICS, ADVERSARIAL)}

KeyOf = Callable[[RunConfig, Stage], str]  # returns the artifact key of a run's stage


@dataclass(frozen=True)
class Need:
    """An artifact that a stage needs, with the keys of the artifacts that must exist before it can be trained."""

    key: str
    stage: Stage
    config: RunConfig
    after: tuple[str, ...] = ()


def artifact_key(config: RunConfig, stage: Stage, train_set: ImageSet) -> str:
    """Return the key of a stage's artifact when trained on these images."""
    return stage_key(config, stage, train_set.fingerprint)


def needs_of(
    config: RunConfig, stage: Stage, key_of: KeyOf = lambda run, stage: stage_key(run, stage, "")
) -> Iterator[Need]:
    """Yield every artifact upstream of a stage once, each before those that start from it.

    Args:
        config: the run.
        stage: one of its stages.
        key_of: names the artifacts; the default ignores the training images.
    """
    seen: set[str] = set()
    for run, name in STAGES[stage].upstream(config):
        after = tuple(key_of(*needed) for needed in STAGES[name].upstream(run))
        for need in [*needs_of(run, name, key_of), Need(key_of(run, name), name, run, after)]:
            if need.key not in seen:
                seen.add(need.key)
                yield need
