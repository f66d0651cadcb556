"""Tune's side of a study: the scheduler that stops trials early and restarts jobs, and the run of the tuner."""

import os
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from rich.console import Console

from study.cluster.failures import failure_cause
from study.cluster.searcher import StudySearcher
from study.cluster.signals import Stop, StopRequests
from study.cluster.study import Study
from study.cluster.worker import Worker
from study.files import storage_fault

MAX_STARTING_WORKERS = 64


class StudyScheduler(FIFOScheduler):
    """Starts jobs in the order of the searcher.

    Passes the workers' messages to the searcher: Tune itself would drop the message that stops a trial. Stops a trial
    that the searcher has pruned (`search/asha.py`); the worker saves and receives the next job. A job
    whose process dies is restarted while it makes progress.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # nothing to restore, as for the searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass a message to the searcher; continue or stop its job."""
        goes_on = self._searcher.on_message(trial.trial_id, result["message"])
        left = self._searcher.retries_left(trial.trial_id)
        trial.max_failures = trial.run_metadata.num_failures + left
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Report the death of a worker's process to the searcher."""
        self._searcher.on_worker_died(trial.trial_id, failure_cause(Path(trial.error_file)))


def run_tuner(
    study: Study, searcher: StudySearcher, monitor: tune.Callback, console: Console, worker: type[Worker]
) -> bool:
    """Run Tune until the searcher has finished; return whether a signal stopped it before."""
    stop = Stop(searcher, StopRequests(study.output), console)
    tuner = tune.Tuner(
        worker,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(searcher),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=study.run_dir.tune.name,
            storage_path=str(study.output.resolve()),
            callbacks=[monitor],
            stop=_StopAll(stop),
            failure_config=tune.FailureConfig(max_failures=study.resources.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    # Tune would copy these credentials into its actors' `env_vars`, which Ray writes to its logs.
    class_cache.ENV_VARS_TO_PROPAGATE = {
        name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
    }
    # By default, Tune waits for each starting worker before it requests another job.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(MAX_STARTING_WORKERS)
    with stop.on_signals():
        try:
            tuner.fit()
        except KeyboardInterrupt:
            pass
        except Exception as error:
            # Tune also writes into the study's directory; where that fails, it raises errors of its own.
            if searcher.halted is None and storage_fault(error) is None:
                raise
            searcher.halted = searcher.halted or str(error)
    return stop.requested


class _StopAll(tune.Stopper):
    """Ends all jobs once the study must stop at once."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop.at_once

    def __getstate__(self) -> dict[str, object]:
        return {}  # nothing to restore, as for the searcher
