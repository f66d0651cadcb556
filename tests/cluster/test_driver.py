"""What a driver does with trials that FAILED for a cause outside them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from study.cluster.driver import _tell, _try_again
from study.record.events import PairEnded, TrialEnded, TrialRetried, TrialStarted
from study.record.journal import Journal
from study.record.points import FidelityPoint, TrialPoint
from study.record.state import Recorder

DIED = TrialEnded(trial=0, state="FAILED", cause="its process died 3 times", retry=True)
DIVERGED = TrialEnded(trial=1, state="FAILED", cause="diverged")


def test_a_resumed_study_tries_again_what_failed_for_a_cause_outside_it(tmp_path: Path) -> None:
    recorder = Recorder(Journal(tmp_path / "journal.jsonl"))
    for ended in (DIED, DIVERGED):
        recorder.add(TrialStarted(trial=ended.trial, config={}, params={}, upstream={}))
        recorder.add(ended)
    pairs = [
        PairEnded(first=FidelityPoint("f"), second=TrialPoint(number, 6), state="FAILED", retry=not number)
        for number in (0, 1)
    ]
    for pair in pairs:
        recorder.add(pair)

    resumed = Recorder(Journal(tmp_path / "journal.jsonl"))
    _try_again(resumed)
    assert [resumed.record.trial_state(number) for number in (0, 1)] == ["RUNNING", "FAILED"]
    assert list(resumed.record.pairs.values()) == pairs[1:]
    events = [entry.event for entry in Journal(tmp_path / "journal.jsonl").entries()]
    assert [event for event in events if isinstance(event, TrialRetried)] == [TrialRetried(trial=0)]


def test_a_trial_that_is_tried_again_stays_open_in_optuna() -> None:
    told: list[int] = []
    source = SimpleNamespace(tell=lambda number, *_: told.append(number))
    record = SimpleNamespace(last_metrics=lambda _: None)
    run: Any = SimpleNamespace(source=source, record=record, goals=SimpleNamespace(constraints=()))
    for ended in (DIED, DIVERGED):
        _tell(run, ended)
    assert told == [1]
