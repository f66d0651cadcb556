"""The complete description of a study, checked before Ray starts."""

from dataclasses import dataclass, field
from pathlib import Path

from study.cluster.jobs import Job
from study.cluster.messages import JobRequest
from study.config import RunConfig, Stage
from study.record.goals import Goals
from study.record.metadata import SearchInfo
from study.record.paths import RunDirectory
from study.search.asha import MultiObjectiveASHA
from study.search.description import Description, identity_of, objectives_of
from study.search.plan import SearchPlan
from study.search.repetition import RepeatedRun, load_repetition
from study.search.spaces import SearchSpace
from study.search.stopping import Limits
from study.search.warm_start import WarmStart, check_comparable, load_warm_start
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.evaluation import evaluation_spacing, spacing_note
from study.training.stages.graph import STAGES


@dataclass(frozen=True)
class Resources:
    """Resources of a study.

    Attributes:
        address: of the Ray cluster; `local` starts one on this machine.
        cpus_per_trial, gpus_per_trial: of each worker of a job.
        workers, pretrain_workers: number of processes that share a trial, and an upstream stage.
        retries: restarts of a job whose process died, without progress in between.
    """

    address: str = "local"
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    workers: int = 1
    pretrain_workers: int = 1
    retries: int = 3

    def workers_of(self, stage: Stage) -> int:
        """Return the number of processes that share a job of a stage."""
        workers = {None: 1, "--workers": self.workers, "--pretrain-workers": self.pretrain_workers}
        return workers[STAGES[stage].workers_option]

    @property
    def most_workers(self) -> int:
        """Largest number of processes of a job."""
        return max(self.workers, self.pretrain_workers)


@dataclass(frozen=True)
class Study:
    """A study to run.

    Attributes:
        space: the search space.
        base: the run that trials vary.
        output: the study's directory.
        trials: number of trials to draw.
        seed: of the sampler.
        context_spec: images, artifacts, networks.
        resources: cluster, CPUs, GPUs, processes.
        mlflow_uri: tracking URI.
        notes: caveats for readers of the results.
        search: sampler, early stopping, constraints, limits, interpolations.
    """

    space: SearchSpace
    base: RunConfig
    output: Path
    trials: int
    seed: int
    context_spec: ContextSpec
    resources: Resources
    mlflow_uri: str
    notes: tuple[str, ...] = ()
    search: SearchPlan = field(default_factory=SearchPlan)

    @property
    def run_dir(self) -> RunDirectory:
        """File names in the study's directory."""
        return RunDirectory(self.output)

    @property
    def limits(self) -> Limits:
        """Limits that end the search."""
        return Limits(self.trials, self.search.device_hours, self.search.plateau)

    def goals(self, context: RunContext) -> Goals:
        """Return objectives and constraints; SpaceError if the space has no reference for an objective."""
        objectives = objectives_of(context)
        reference = self.space.reference_for([objective.metric for objective in objectives])
        return Goals(objectives, reference, self.search.constraints)

    def description(self, context: RunContext) -> Description:
        """Return what identifies the study, except its images."""
        return Description(
            name=self.output.resolve().name,
            search=SearchInfo(self.space.name, self.trials, self.seed, tuple(self.space.groups)),
            space_fingerprint=self.space.fingerprint,
            base=self.base,
            goals=self.goals(context),
            notes=(*self.notes, *spacing_note(self.base, context.val)),
            plan=self.search,
        )

    def asha(self, context: RunContext) -> MultiObjectiveASHA | None:
        """Return the early stopping rule, None without one; ValueError if its rungs do not fit the budget."""
        rungs, base, goals = self.search.rungs, self.base, self.goals(context)
        if rungs is None:
            return None
        return MultiObjectiveASHA(
            rungs.of(base.budget.iterations, evaluation_spacing(base, context.val)),
            rungs.reduction_factor,
            list(goals.directions),
            list(goals.corner),
            rungs.tie_break,
            self.seed,
        )

    def earlier(self, context: RunContext) -> WarmStart | None:
        """Return the study of `--warm-start`, for a new study; WarmStartError if it cannot be used."""
        plan = self.search
        if plan.warm_start is None or self.run_dir.optuna.exists():
            return None
        earlier = load_warm_start(plan.warm_start, self.space, self.base, learn=plan.learn)
        if plan.learn:
            check_comparable(plan.warm_start, identity_of(self.description(context), context))
        return earlier

    def repeated(self) -> tuple[RepeatedRun, ...]:
        """Return the runs of `--repeat`; WarmStartError if they cannot be read."""
        plan = self.search
        return () if plan.repeat is None else load_repetition(plan.repeat, self.space, self.base)

    def check(self, context: RunContext) -> None:
        """Check limits, early stopping and warm start.

        Raises:
            ValueError: rungs beyond the budget, or limits out of range.
            SpaceError: the space has no reference for an objective.
            WarmStartError: the earlier study cannot be used.
        """
        self.limits.reached(0, 0.0, [])
        self.asha(context)
        self.earlier(context)

    def request_for(self, job: Job) -> JobRequest:
        """Return the request of a job for a worker."""
        return JobRequest(
            job=job.spec,
            context_spec=self.context_spec.to_dict(),
            run_dir=str(self.output.resolve()),
            threads=self.resources.cpus_per_trial,
            gpus=self.resources.gpus_per_trial,
            workers=job.workers,
        )
