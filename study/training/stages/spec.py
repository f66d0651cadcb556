"""What is known of a stage, in one dataclass; `graph.STAGES` has one instance for each stage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from study.config import Budget, RunConfig, Stage, get, stage_key
from study.data import Batches
from study.models import load_weights
from study.record.paths import WEIGHTS
from study.record.points import Spent
from study.training.context import RunContext
from study.training.evaluation import Evaluation
from study.training.loop import ProgressCallback
from study.training.state import TrainState
from study.training.steps import Step

Upstream = list[tuple[RunConfig, Stage]]
Prepare = Callable[[RunConfig, RunContext], tuple[TrainState, Step, Batches]]
# (run, artifact key, context, directory of the checkpoint, progress) -> the trained network and its cost
TrainAlone = Callable[[RunConfig, str, RunContext, Path, ProgressCallback | None], tuple[nn.Module, Spent]]


@dataclass(frozen=True)
class StageSpec:
    """One stage. It trains either on batches with `training.loop.train`, or alone in one process with its own loop.

    Attributes:
        name: the stage; also the prefix of its artifacts' keys.
        upstream: returns the stages whose artifacts it needs, each with the run that describes it.
        iterations: returns the number of training iterations.
        budget_field: the configuration field that holds `iterations` and, with batches, `batch` and `patch`.
        init_field: the field that names a weight file in place of training; None if there is none.
        yields_points: whether its results are a trial's points, evaluated in training, and not an artifact.
        network: builds the stage's network with random weights.
        prepare: returns the arguments of `training.loop.train`; None if the stage trains alone.
        train_alone: trains the stage without batches; None if it trains on batches.
        evaluate: evaluates the artifact on the held-out images, with sample crops in a folder; None without artifact.
    """

    name: Stage
    upstream: Callable[[RunConfig], Upstream]
    iterations: Callable[[RunConfig], int]
    budget_field: str
    init_field: str | None
    yields_points: bool
    network: Callable[[RunConfig], nn.Module]
    prepare: Prepare | None = None
    train_alone: TrainAlone | None = None
    evaluate: Callable[[RunConfig, RunContext, Path], Evaluation] | None = None

    @property
    def workers_option(self) -> str | None:
        """The option that sets how many processes train the stage; None if always one."""
        if self.prepare is None:
            return None
        return "--workers" if self.yields_points else "--pretrain-workers"

    @property
    def sections(self) -> set[str] | None:
        """The configuration's sections that determine the cost of an artifact's step; None for points: all others."""
        return None if self.init_field is None else {"data", self.name, self.init_field.partition(".")[0]}

    def budget(self, config: RunConfig) -> Budget | None:
        """Return iterations, batch and patch; None if the stage trains without batches."""
        return None if self.prepare is None else get(config, self.budget_field)

    def initial_weights(self, config: RunConfig) -> str | None:
        """Return the weight file given in place of training."""
        return None if self.init_field is None else get(config, self.init_field)

    def load(self, config: RunConfig, context: RunContext) -> nn.Module:
        """Return the network of the finished artifact, in eval mode on the context's device."""
        network = self.network(config)
        key = stage_key(config, self.name, context.train.fingerprint)
        load_weights(network, context.artifacts.open(key) / WEIGHTS)
        return network.eval().to(context.device)
