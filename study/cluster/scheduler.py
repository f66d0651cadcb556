"""Tune's scheduler of a study: stops trials early, and starts jobs anew whose process died."""

from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.cluster.failures import cause_of_death
from study.cluster.searcher import StudySearcher


class StudyScheduler(FIFOScheduler):
    """Jobs in the order in which the searcher hands them out.

    What a worker says goes to the searcher through here: Tune itself would keep from it what makes a trial stop. A
    trial that the searcher has pruned is stopped (`search.early_stopping`); its worker saves, and takes the next job.
    A job whose process dies is started anew while it gets further.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A worker said something: let its job go on, or not."""
        goes_on = self._searcher.on_message(trial.trial_id, result["message"])
        left = self._searcher.retries_left(trial.trial_id)
        trial.max_failures = trial.run_metadata.num_failures + left
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker's process died."""
        self._searcher.on_death(trial.trial_id, cause_of_death(Path(trial.error_file)))
