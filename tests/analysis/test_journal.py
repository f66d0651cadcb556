"""Reading a run directory: what is kept, what is forgiven, what is refused."""

import json
from pathlib import Path

import pytest
from analysis.journal import RunDirectoryError, read_facts, read_journal


def _point(trial: int, iteration: int, psnr: float) -> dict:
    return {"event": "point", "trial": trial, "iteration": iteration, "metrics": {"psnr_y": psnr}}


def test_the_last_of_repeated_events_wins(write_run, study_json):
    events = [
        {"event": "trial", "trial": 0, "params": {"loss.adversarial": 1.0}},
        _point(0, 100, 25.0),
        _point(0, 200, 26.0),
        {"event": "trial", "trial": 0, "params": {"loss.adversarial": 2.0}},
        _point(0, 100, 27.0),
        {"event": "end", "trial": 0, "state": "FAILED"},
        {"event": "end", "trial": 0, "state": "COMPLETE"},
    ]
    journal = read_journal(write_run(study_json, events))
    assert {key: event["metrics"]["psnr_y"] for key, event in journal.points.items()} == {
        (0, 100): 27.0,
        (0, 200): 26.0,
    }
    assert journal.trials[0]["params"] == {"loss.adversarial": 2.0}
    assert journal.ends[0]["state"] == "COMPLETE"


def test_a_torn_last_line_is_ignored_and_a_whole_one_without_its_newline_counts(write_run, study_json):
    torn = json.dumps(_point(1, 200, 28.0))
    journal = read_journal(write_run(study_json, [_point(1, 100, 27.0)], tail=torn[:-9]))
    assert (set(journal.points), journal.unreadable) == ({(1, 100)}, 0)
    journal = read_journal(write_run(study_json, [_point(1, 100, 27.0)], tail=torn))
    assert (set(journal.points), journal.unreadable) == ({(1, 100), (1, 200)}, 0)


def test_lines_that_hold_no_usable_event_are_counted(write_run, study_json):
    tail = '{"event": "poi{"event": "end"}\n[1, 2]\n{"event": "point", "trial": 1}\n' + json.dumps(_point(1, 9, 1.0))
    journal = read_journal(write_run(study_json, [], tail=tail + "\n"))
    assert journal.unreadable == 3
    assert set(journal.points) == {(1, 9)}


def test_unknown_events_and_a_missing_journal_are_no_error(write_run, study_json):
    run_dir = write_run(study_json, [{"event": "heartbeat"}])
    assert read_journal(run_dir).unreadable == 0
    (run_dir / "journal.jsonl").unlink()
    assert read_journal(run_dir).points == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": "12"}, "trials must be of type int, but got '12'"),
        ({"objectives": []}, "objectives must name at least two metrics"),
        ({"reference": {"psnr_y": 20.0}}, "reference must hold a number for 'swd'"),
        ({"objectives": [{"metric": "psnr_y", "direction": "up"}] * 2}, "must be maximize or minimize"),
        ({"groups": None}, "groups must be of type list"),
    ],
)
def test_unusable_facts_are_named(write_run, study_json, change, message):
    run_dir = write_run({**study_json, **change}, [])
    with pytest.raises(RunDirectoryError, match=message):
        read_facts(run_dir)


def test_a_directory_that_is_no_run_says_what_to_give(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match=r"study.json does not exist: give a directory that study/sweep.py"):
        read_facts(tmp_path)
    (tmp_path / "study.json").write_text('{"name": ')
    with pytest.raises(RunDirectoryError, match="not valid JSON"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "super-resolution x4"),
        ({"task": "sr", "sigma": None}, "super-resolution x4"),
        ({"task": "denoise", "sigma": 25.0}, "denoising, noise 25 of 255"),
        ({"task": "jpeg", "quality": 10}, "JPEG artefact removal, quality 10"),
    ],
)
def test_the_task_is_said_in_words(write_run, study_json, data, words):
    study = study_json | {"config": study_json["config"] | {"data": data}}
    assert read_facts(write_run(study, [])).task == words
