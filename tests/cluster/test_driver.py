"""What a driver does with trials that FAILED for a cause outside them."""

from types import SimpleNamespace
from typing import Any

from study.cluster.driver import _tell
from study.record.events import TrialEnded

DIED = TrialEnded(trial=0, state="FAILED", cause="its process died 3 times", retry=True)
DIVERGED = TrialEnded(trial=1, state="FAILED", cause="diverged")


def test_a_trial_that_is_tried_again_stays_open_in_optuna() -> None:
    told: list[int] = []
    source = SimpleNamespace(tell=lambda number, *_: told.append(number))
    record = SimpleNamespace(last_metrics=lambda _: None)
    run: Any = SimpleNamespace(source=source, record=record, goals=SimpleNamespace(constraints=()))
    for ended in (DIED, DIVERGED):
        _tell(run, ended)
    assert told == [1]
