"""What is said when a study is opened again."""

from study.cluster.opening import started_beyond
from study.record.entries import Entry
from study.record.state import StudyRecord
from tests.analysis.made_events import trial


def test_fewer_trials_than_were_started_are_said_to_draw_no_more() -> None:
    record = StudyRecord.of(Entry(number, float(number), trial(number - 1)) for number in (1, 2, 3))
    (said,) = started_beyond(2, record)
    assert said.startswith("3 trials were started before, so --trials 2 draws no more")
    assert started_beyond(3, record) == []
