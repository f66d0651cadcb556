"""Train the artifact of an upstream stage once, or find it in the store."""

import json
import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from study.config import RunConfig, Stage, get, stage_part, to_dict
from study.files import DamagedError, write_checked_json, write_json
from study.models import load_weights, save_weights
from study.models.weights import is_finite
from study.record.events import ArtifactEnded, ReferenceEvaluated
from study.record.paths import BUDGET, CONFIG, WEIGHTS, RunDirectory
from study.record.points import Spent
from study.training.artifact_store import CHECKPOINT, ArtifactFolder
from study.training.context import RunContext
from study.training.evaluation import Evaluation, reference_event
from study.training.loop import Diverged, Plan, ProgressCallback, train
from study.training.stages.graph import STAGES, artifact_key
from study.training.stages.spec import StageSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """The stored result of an upstream stage.

    Attributes:
        key: `<stage>-<hash>`, the directory's name.
        weights: its EMA weights, safetensors.
        spent: its cost.
        reused: whether it existed before.
    """

    key: str
    weights: Path
    spent: Spent
    reused: bool


def ensure_artifact(
    config: RunConfig, stage: Stage, context: RunContext, on_progress: ProgressCallback | None = None
) -> Artifact:
    """Return the artifact of a stage; train it first, with everything upstream, if the store has no intact one.

    A damaged artifact is removed, with a warning, and trained again.

    If two processes of a machine need the same artifact at the same time, one trains it and the other waits. The
    processes of a distributed context train it together, unless the stage trains alone: then the main process does. A
    weight file named by the stage's `init` field takes the place of training.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    assert not STAGES[stage].yields_points
    key = artifact_key(config, stage, context.train)
    store, distributed = context.artifacts, context.distributed
    if not distributed.broadcast(distributed.is_main and _is_intact(store, key)):
        for needed, name in STAGES[stage].upstream(config):
            ensure_artifact(needed, name, context, on_progress)
        with store.lock(key) if distributed.is_main else nullcontext():
            if not distributed.broadcast(distributed.is_main and _is_intact(store, key, remove=True)):
                _train_artifact(STAGES[stage], key, config, context, on_progress)
                return _finished(store.open(key), reused=False)
    return _finished(store.open(key), reused=True)


def make_artifact(
    config: RunConfig,
    stage: Stage,
    context: RunContext,
    run_dir: RunDirectory,
    on_progress: ProgressCallback | None = None,
) -> tuple[ArtifactEnded | ReferenceEvaluated, ...]:
    """Train or find an artifact and evaluate it for a study.

    Returns:
        That it ended and, of a fidelity generator, that it was evaluated as a reference; in all processes but the main
        one, nothing.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    artifact = ensure_artifact(config, stage, context, on_progress)
    if not context.distributed.is_main:
        return ()
    evaluation = evaluate_artifact(config, stage, context, run_dir.reference(artifact.key))
    ended = ArtifactEnded(
        key=artifact.key,
        stage=stage,
        config=to_dict(config),
        state="COMPLETE",
        metrics=evaluation.metrics,
        spent=artifact.spent,
        reused=artifact.reused,
    )
    return (ended, reference_event(artifact.key, "fidelity", evaluation)) if stage == "fidelity" else (ended,)


def evaluate_artifact(config: RunConfig, stage: Stage, context: RunContext, samples: Path) -> Evaluation:
    """Evaluate a finished artifact on the held-out images.

    A generator's output is compared with the HR images and cropped into `samples`; an auto-encoder's reconstruction of
    the HR images with these; critics have metrics of their own (`critics.evaluate_critics`).
    """
    evaluate = STAGES[stage].evaluate
    assert evaluate is not None
    return evaluate(config, context, samples)


def _train_artifact(
    spec: StageSpec, key: str, config: RunConfig, context: RunContext, on_progress: ProgressCallback | None
) -> None:
    partial = context.artifacts.partial_dir(key)
    given, is_main = spec.initial_weights(config), context.distributed.is_main
    spent = Spent()
    if given is not None:
        spent = _import_weights(spec, config, given, partial) if is_main else spent
    elif spec.train_alone is None:
        spent = _train_on_batches(spec, key, config, context, partial, on_progress)
    elif is_main:
        network, spent = spec.train_alone(config, key, context, partial, on_progress)
        if not is_finite(network):
            raise Diverged(f"{spec.name}: the trained weights are not finite")
        save_weights(network, partial / WEIGHTS, layout="plain")
    if is_main:
        part = stage_part(config, spec.name)
        write_checked_json(partial / CONFIG, {"key": key, "data": context.train.fingerprint, "part": part})
        write_json(partial / BUDGET, asdict(spent))
        context.artifacts.publish(key)
    context.distributed.broadcast(True)  # a barrier: the artifact is published


def _import_weights(spec: StageSpec, config: RunConfig, given: str, partial: Path) -> Spent:
    network = spec.network(config)
    load_weights(network, given)
    save_weights(network, partial / WEIGHTS, layout="plain")
    return Spent()


def _train_on_batches(
    spec: StageSpec,
    key: str,
    config: RunConfig,
    context: RunContext,
    partial: Path,
    on_progress: ProgressCallback | None,
) -> Spent:
    """Train with `training.loop.train` and save the EMA weights; return the cost."""
    assert spec.prepare is not None
    part = get(config, spec.name)
    plan = Plan(
        stage=spec.name,
        key=key,
        budget=part.budget,
        optimiser=part.optimiser,
        checkpoint=partial / CHECKPOINT,
        checkpoint_every=config.eval_schedule.checkpoint_every,
        seed=part.seed,
        on_saved=lambda: context.artifacts.checkpoint_saved(key),
    )
    state, step, batches = spec.prepare(config, context)
    train(state, step, batches, plan, on_progress=on_progress, stopping=context.stopping)
    if context.distributed.is_main:
        save_weights(state.ema, partial / WEIGHTS, layout="plain")
    return state.spent


def _is_intact(store: ArtifactFolder, key: str, *, remove: bool = False) -> bool:
    """Return whether a store has an artifact; `remove` one that is damaged."""
    try:
        return store.verify(key)
    except DamagedError as error:
        if remove:
            log.warning("%s; it is trained again", error)
            store.remove(key)
        return False


def _finished(directory: Path, *, reused: bool) -> Artifact:
    spent = Spent(**json.loads((directory / BUDGET).read_text()))
    return Artifact(directory.name, directory / WEIGHTS, spent, reused)
