"""What is said when a study is opened again, and what Optuna is told."""

from types import SimpleNamespace
from typing import Any

from study.cluster.opening import started_beyond, tell
from study.record.entries import Entry
from study.record.events import TrialEnded
from study.record.state import StudyRecord
from tests.analysis.made_events import trial

DIED = TrialEnded(trial=0, state="FAILED", cause="its process died 3 times", retry=True)
DIVERGED = TrialEnded(trial=1, state="FAILED", cause="diverged")


def test_fewer_trials_than_were_started_are_said_to_draw_no_more() -> None:
    record = StudyRecord.of(Entry(number, float(number), trial(number - 1)) for number in (1, 2, 3))
    (said,) = started_beyond(2, record)
    assert said.startswith("3 trials were started before, so --trials 2 draws no more")
    assert started_beyond(3, record) == []


def test_a_trial_that_is_tried_again_stays_open_in_optuna() -> None:
    told: list[int] = []
    source: Any = SimpleNamespace(tell=lambda number, *_: told.append(number))
    record: Any = SimpleNamespace(last_metrics=lambda _: None)
    goals: Any = SimpleNamespace(constraints=())
    for ended in (DIED, DIVERGED):
        tell(source, record, goals, ended)
    assert told == [1]
