"""Values of run directories that other people made: each is right within bounds, or refused by line and field."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from analysis.report import main
from study.files import DamagedError, write_json
from study.record.config_files import read_generator, read_run
from study.record.entries import EventError, read_entry
from study.record.metadata import RunDirectoryError, parse_metadata, plain_metadata
from study.record.paths import RunDirectory
from study.record.stored import precision_of
from tests.record.lines import payload_of, signed, write_lines
from tests.record.test_metadata import STUDY

GOLDEN = Path(__file__).with_name("golden.jsonl").read_text().splitlines()
PLACES = {json.loads(line)["event"]["type"]: place for place, line in enumerate(GOLDEN)}
DEEP = json.loads("[" * 900 + "]" * 900)


def put(values: Any, path: str, value: Any) -> Any:
    """Return JSON values with another one at a path."""
    *parents, name = path.split("/")
    node = values
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node[parent]
    node[int(name) if isinstance(node, list) else name] = value
    return values


EVENTS = [
    ("trial_started/trial", 10**9, "less than 1000000"),
    ("trial_started/trial", 10**400, "less than 1000000"),
    ("trial_started/config/seed", 10**400, "seed must have at most 64 bits"),
    ("trial_started/config/seed", "1", "seed must be a whole number, but got '1'"),
    ("trial_started/config/seed", True, "seed must be a whole number"),
    ("trial_started/config/budget", {"iterations": 1.5}, "budget.iterations must be a whole number"),
    ("trial_started/config/budget", [1], "budget must have fields"),
    ("trial_started/config/data", 3, "data must have fields"),
    ("trial_started/config/loss", DEEP, "it is not JSON"),
    ("trial_started/config/loss/fidelity", float("inf"), "finite number"),
    ("trial_started/config/a.b", 1, "must not be empty or hold a dot"),
    ("trial_started/config/x", {"": 1}, "must not be empty or hold a dot"),
    ("trial_started/config/x", [[2**63]], "x must have at most 64 bits"),
    ("trial_started/config/x", "\ud800", "it is not JSON"),
    ("trial_started/params/loss.fidelity", 1e308, "must be a finite number within"),
    ("trial_started/params/budget.patch", -(10**400), "must have at most 64 bits"),
    ("trial_started/distributions/loss.fidelity/low", 3.0, "low must be at most high"),
    ("trial_started/distributions/loss.fidelity/low", None, "low must be at most high"),
    ("trial_started/distributions/loss.fidelity/low", 0.0, "above 0 where log is true"),
    ("trial_started/distributions/loss.fidelity/high", float("nan"), "finite number"),
    ("trial_started/distributions/loss.fidelity/high", 1e308, "less than or equal to 1000"),
    ("trial_started/distributions/loss.fidelity/step", 0.0, "greater than 0"),
    ("trial_started/distributions/loss.guidance/choices", [], "needs choices"),
    ("trial_started/distributions/loss.guidance/choices", [10**400], "choices.0"),
    ("trial_started/upstream/fidelity", "../../etc", "match pattern"),
    ("point_evaluated/point/iteration", 2**63, "less than"),
    ("point_evaluated/metrics/psnr_y", 1e308, "a measured value must be within"),
    ("point_evaluated/metrics/config.seed", 1.0, "match pattern"),
    ("point_evaluated/images/coffee/psnr_y", -1e308, "a measured value must be within"),
    ("point_evaluated/terms/\x1b[2J", 1.0, "match pattern"),
    ("point_evaluated/spent/device_seconds", float("nan"), "finite number"),
    ("point_evaluated/spent/device_seconds", -1.0, "greater than or equal to 0"),
    ("point_evaluated/spent/peak_gib", 1e308, "less than 1000000000000000"),
    ("trial_ended/seconds", -5, "greater than or equal to 0"),
    ("trial_ended/overhead_seconds", float("inf"), "finite number"),
    ("interpolation_evaluated/point/share", 1.0, "less than 1"),
    ("interpolation_evaluated/point/share", float("nan"), "than"),
    ("interpolation_evaluated/point/first/key", "", "match pattern"),
    ("artifact_ended/key", "/etc/passwd", "match pattern"),
    ("reference_evaluated/name", "..", "match pattern"),
    ("front_moved/hypervolume", float("-inf"), "finite number"),
    ("front_moved/trials_ended", 10**400, "less than"),
    ("model_published/tags/trial", 2**63, "tags.trial"),
]


@pytest.mark.parametrize(("path", "value", "rule"), EVENTS)
def test_a_value_that_no_study_writes_is_refused_by_field(path: str, value: Any, rule: str) -> None:
    kind, _, inner = path.partition("/")
    values = payload_of(GOLDEN[PLACES[kind]])
    put(values, f"event/{inner}", value)
    with pytest.raises(EventError) as refused:
        read_entry(signed(values).encode())
    message = str(refused.value)
    assert rule in message
    assert len(message) < 600
    if "not JSON" not in rule:
        assert message.startswith("event.")


METADATA = [
    ("search/trials", 10**400, "search.trials: Input should be less than or equal to 1000000"),
    ("search/seed", 2**63, "search.seed: Input should be less than"),
    ("search/groups", ["seed", "seed"], "search.groups: names must be different"),
    ("search/groups", [""], "search.groups: names must be different and not empty"),
    ("search/groups", [f"a{number}" for number in range(21)], "at most 20 items"),
    ("images/val/images", ["a", "a"], "images.val.images: names must be different"),
    ("goals/reference/psnr_y", float("nan"), "psnr_y: Input should be a finite number"),
    ("goals/reference/psnr_y", 1e308, "psnr_y: Input should be less than or equal to"),
    ("goals/objectives/1/metric", "psnr_y", "two or three different objectives"),
    ("goals/objectives/0/metric", "\x1b[2J", "match pattern"),
    ("goals/objectives/0/unit", "x" * 1000, "at most 20 characters"),
    ("goals/constraints", [{"metric": "psnr_y", "sense": ">=", "bound": 1e400}], "finite number"),
    ("config/seed", 10**400, "config: seed must have at most 64 bits"),
    ("config/data", [], "config: data must have fields"),
    ("config/data", {"task": "denoise", "sigma": "x"}, "config: data.sigma must be a number, but got 'x'"),
    ("notes", DEEP, "not valid JSON|it is not JSON|notes"),
    ("name", "\ud800", "it is not JSON"),
]


@pytest.mark.parametrize(("path", "value", "rule"), METADATA)
def test_metadata_that_no_study_writes_is_refused_by_field(path: str, value: Any, rule: str) -> None:
    values = put(plain_metadata(STUDY), path, value)
    with pytest.raises(RunDirectoryError, match=rule) as refused:
        parse_metadata(json.dumps(values).encode(), "study.json")
    assert str(refused.value).startswith("study.json")
    assert len(str(refused.value)) < 600


def test_the_report_names_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = RunDirectory(tmp_path)
    write_json(files.study, plain_metadata(STUDY))
    values = put(payload_of(GOLDEN[PLACES["trial_started"]]), "event/config/seed", 10**400)
    write_lines(files.journal, [GOLDEN[0], signed(values)])
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {files.journal}, line 2: event.trial_started.config: seed must have")
    assert error.count("\n") == 1
    write_lines(files.journal, [GOLDEN[PLACES["study_described"]]])
    assert main([str(tmp_path)]) == 2
    assert f"error: {files.journal}, entry 1: search.seed: it is missing" in capsys.readouterr().err


def test_a_study_without_a_precision_is_named(tmp_path: Path) -> None:
    write_json(RunDirectory(tmp_path).study, plain_metadata(STUDY) | {"config": {"precision": [1]}})
    with pytest.raises(RunDirectoryError, match=r"config\.precision must be fp32 or bf16, but got \[1\]"):
        precision_of(tmp_path)


def test_a_pipe_in_place_of_the_journal_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    assert main([str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        ({}, "is None, not a generator"),
        ({"key": 5}, "is 5, not a generator"),
        ({"key": "fidelity-1"}, "part: must be an object, but got None"),
        ({"key": "fidelity-1", "part": []}, r"part: must be an object, but got \[\]"),
        ({"key": "fidelity-1", "part": {"generator": {"name": "rrdb"}}}, "part: "),
        ({"key": "fidelity-1", "part": {"data": {"scale": 10**400}, "generator": {}}}, "part: scale: "),
        ({"key": "fidelity-1", "part": {"data": {}, "generator": {"name": "rrdb", "blocks": 10**9}}}, "blocks"),
        ({"config": 3}, "config: must be an object, but got 3"),
        ({"config": {"generator": 5}}, "config: recipe: Field required"),
    ],
)
def test_a_configuration_beside_weights_is_refused_by_field(stored: Any, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, stored)
    with pytest.raises(DamagedError, match=rule) as refused:
        read_generator(path)
    assert str(refused.value).startswith(f"{path}: ")
    with pytest.raises(DamagedError, match="config: "):
        read_run(path)
