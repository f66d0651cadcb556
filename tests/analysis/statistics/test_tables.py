"""The tables made of a journal, against the journal itself and a front by brute force."""

import html
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report import main
from analysis.statistics.fronts import beats_reference, front_hypervolume, front_of, group_fronts, group_values
from analysis.statistics.tables import load_results
from study.record.metadata import RunDirectoryError
from study.record.points import Spent
from study.record.tables import ARTIFACTS, IMAGES, POINTS, TRIALS, read_table
from tests.analysis.made_events import NAN, artifact, end, point, reference, trial
from tests.record.lines import line_of, payload_of, signed


def _brute_force_front(points: pd.DataFrame) -> list[bool]:
    """Straight from the definition, one pair of points after the other."""
    counts = (points["kind"] == "fidelity") | ((points["kind"] == "trial") & (points["state"] != "FAILED"))
    rows = [(row.psnr_y, row.swd, ok) for row, ok in zip(points.itertuples(), counts, strict=True)]
    front = []
    for psnr, swd, ok in rows:
        rivals = [(p, s) for p, s, rival_ok in rows if rival_ok and p >= psnr and s <= swd and (p > psnr or s < swd)]
        front.append(bool(ok and not rivals))
    return front


def test_front_flag_equals_brute_force(full_run: Path):
    points = load_results(full_run).points
    assert points["front"].tolist() == _brute_force_front(points)
    assert 3 < points["front"].sum() < len(points)


@pytest.mark.parametrize("seed", range(5))
def test_front_flag_equals_brute_force_on_random_points(write_run, metadata, seed):
    random = np.random.default_rng(seed)
    values = random.choice(np.linspace(20, 30, 40), size=(60, 2))
    events = [point(i % 7, i, *map(float, pair)) for i, pair in enumerate(np.unique(values, axis=0))]
    events.append(end(3, "FAILED"))
    points = load_results(write_run(metadata, events)).points
    assert points["front"].tolist() == _brute_force_front(points)


def test_points_of_failed_trials_and_bicubic_never_stand_on_the_front(write_run, metadata):
    events = [
        reference("bicubic", "bicubic", 40.0, 1.0),
        point(0, 100, 39.0, 2.0),
        end(0, "FAILED", "diverged"),
        point(1, 100, 25.0, 9.0),
        end(1, "PRUNED"),
        point(2, 100, 24.0, 8.0),
    ]
    points = load_results(write_run(metadata, events)).points
    assert points.loc[points["front"], "trial"].tolist() == [1, 2]
    assert points["state"].tolist() == ["COMPLETE", "FAILED", "PRUNED", "RUNNING"]


def test_points_without_a_finite_objective_are_left_out(write_run, metadata):
    events = [
        point(0, 1, math.nan, 1.0),
        point(0, 2, 30.0, NAN),
        point(0, 3, math.inf, 2.0),
        point(0, 4, 22.0, 30.0),
    ]
    results = load_results(write_run(metadata, events))
    assert results.points["front"].tolist() == [False, False, False, True]
    assert results.trials["best.psnr_y"].tolist() == [30.0]


def test_hypervolume_of_three_points_by_hand(write_run, metadata):
    # Corner (20 dB, 60). Boxes of 8 x 10, 5 x 25 and 2 x 40 overlap in their common parts:
    # 8 x 10 + 5 x (25 - 10) + 2 x (40 - 25) = 80 + 75 + 30.
    # The last two points lie beyond the corner in one objective each, and add nothing.
    values = [(28.0, 50.0), (25.0, 35.0), (22.0, 20.0), (19.0, 10.0), (29.0, 61.0)]
    results = load_results(write_run(metadata, [point(i, 1, *pair) for i, pair in enumerate(values)]))
    front = front_of(results.points, results.goals)
    assert front_hypervolume(front, results.goals) == pytest.approx(185.0)
    assert front["psnr_y"].tolist() == [29.0, 28.0, 25.0, 22.0, 19.0]
    assert beats_reference(front, results.goals).tolist() == [False, True, True, True, False]


def test_groups_split_points_and_cost(full_run: Path):
    results = load_results(full_run)
    aesop, pixel = group_fronts(results.points, results.goals, "loss.guidance")
    assert (aesop.value, aesop.trials, pixel.value, pixel.trials) == ("aesop", 5, "pixel", 6)
    assert aesop.seconds_per_iteration == pytest.approx(0.14)
    assert pixel.seconds_per_iteration == pytest.approx(0.09)
    total = front_hypervolume(front_of(results.points, results.goals), results.goals)
    assert 0 < pixel.hypervolume < total
    assert aesop.device_seconds == pytest.approx(5 * 400 * 0.14)


def test_settings_of_a_stage_that_a_trial_never_used_do_not_group_it(full_run: Path):
    points = load_results(full_run).points
    values = group_values(points, "autoencoder.bottleneck_channels")
    pixel = (points["config.loss.guidance"] == "pixel") & (points["kind"] == "trial")
    assert set(values[pixel]) == {"none"}
    assert set(values[(points["config.loss.guidance"] == "aesop")]) == {"3", "12"}
    assert set(group_values(points, "no.such.path")) == {"none"}


def test_points_table_keeps_types_and_traces(full_run: Path, tmp_path: Path):
    load_results(full_run).points.to_parquet(tmp_path / "points.parquet", index=False)
    points = pd.read_parquet(tmp_path / "points.parquet", dtype_backend="numpy_nullable")
    kinds = {name: str(points[name].dtype) for name in points}
    assert kinds["trial"] == kinds["iteration"] == kinds["config.budget.patch"] == "Int64"
    assert kinds["psnr_y"] == kinds["swd"] == kinds["ssim_y"] == kinds["config.loss.adversarial"] == "Float64"
    assert kinds["front"] == kinds["config.loss.ldl"] == "boolean"
    row = points[(points["trial"] == 2) & (points["iteration"] == 300)].iloc[0]
    assert row["config.loss.layers"] == "[0.1, 1.0]"
    assert row["artifact.autoencoder"] == f"autoencoder-{12:016d}"
    assert row["term.adversarial"] == 4.1
    assert (row["iterations"], row["pixels_seen"]) == (300, 300 * 16 * 64 * 64)
    references = points[points["trial"].isna()]
    assert references["kind"].tolist() == ["bicubic", "fidelity"]
    assert references["iterations"].tolist()[1] == 600


def test_trials_table_has_a_row_per_trial_with_its_end(full_run: Path):
    trials = load_results(full_run).trials
    assert trials["trial"].tolist() == list(range(12))
    assert trials["state"].value_counts().to_dict() == {"COMPLETE": 9, "PRUNED": 1, "FAILED": 1, "RUNNING": 1}
    assert trials["points"].tolist() == [4] * 9 + [2, 1, 2]
    assert trials["cause"][10] == "loss.adversarial is not finite at iteration 131"
    assert trials["param.budget.patch"].tolist() == [48] * 4 + [64] * 4 + [48] * 4


def test_artifacts_are_counted_by_training_and_use(write_run, metadata):
    key = "fidelity-0123"
    trained = artifact(key, spent=Spent(600, 9, 11.0))
    uses = [trial(i, fidelity=key) for i in range(3)]
    events = [trained, *uses, replace(trained, spent=Spent(), reused=True), uses[0]]
    artifacts = load_results(write_run(metadata, events)).artifacts
    assert artifacts[["key", "trained", "uses", "device_seconds"]].to_numpy().tolist() == [[key, 1, 3, 11.0]]
    assert artifacts["training_seconds"].tolist() == [11.0]


def test_what_an_artifact_of_another_study_took_is_told_apart_from_what_it_cost_here(write_run, metadata):
    event = artifact("fidelity-0123", spent=Spent(600, 9, 11.0), reused=True)
    (row,) = load_results(write_run(metadata, [event])).artifacts.to_dict("records")
    assert np.isnan(row["device_seconds"])
    assert (row["training_seconds"], row["trained"]) == (11.0, 0)


def test_an_empty_study_has_tables_with_all_columns(write_run, metadata):
    results = load_results(write_run(metadata, []))
    assert len(results.points) == len(results.trials) == len(results.artifacts) == 0
    assert {"trial", "state", "iteration", "psnr_y", "swd", "front"} <= set(results.points.columns)
    assert front_hypervolume(front_of(results.points, results.goals), results.goals) == 0.0


def test_trials_state_the_distributions_of_their_parameters(full_run: Path):
    trials = load_results(full_run).trials
    distributions = json.loads(trials["distributions"][0])
    assert distributions["loss.guidance"]["choices"] == ["aesop", "pixel"]
    assert distributions["loss.adversarial"]["log"]


def test_of_repeated_events_the_first_counts(write_run, metadata):
    events = [
        trial(0, params={"loss.adversarial": 1.0}),
        point(0, 100, 25.0, 30.0),
        trial(0, params={"loss.adversarial": 2.0}),
        point(0, 100, 27.0, 30.0),
        end(0, "FAILED"),
        end(0, "COMPLETE"),
    ]
    results = load_results(write_run(metadata, events))
    assert results.points["psnr_y"].tolist() == [25.0]
    assert results.trials["param.loss.adversarial"].tolist() == [1.0]
    assert results.trials["state"].tolist() == ["FAILED"]


def test_a_torn_last_line_is_ignored(write_run, metadata):
    torn = line_of(2, 1.7e9, point(1, 200, 28.0, 30.0))
    results = load_results(write_run(metadata, [point(1, 100, 27.0, 30.0)], tail=torn[:-9]))
    assert results.points["iteration"].tolist() == [100]


def test_a_study_without_a_journal_is_empty(write_run, metadata):
    run_dir = write_run(metadata, [])
    (run_dir / "journal.jsonl").unlink()
    assert not len(load_results(run_dir).points)


VALUES = payload_of(line_of(2, 1.7e9, point(1, 200, 28.0, 30.0)))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (signed(VALUES | {"event": VALUES["event"] | {"type": "heartbeat"}}), "unknown event 'heartbeat'"),
        (signed(VALUES | {"event": VALUES["event"] | {"surplus": 1}}), "unknown field"),
        (signed(VALUES | {"version": 4}), "its version is 4, but this code reads 3; read it with the code"),
        ('{"event": "point", "trial": 1, "iteration": 2}', "it has no version"),
    ],
    ids=["event", "field", "version", "untyped"],
)
def test_a_line_that_is_no_event_is_refused(write_run, metadata, line, sentence, capsys):
    run_dir = write_run(metadata, [point(1, 100, 27.0, 30.0)], tail=f"{line}\n")
    assert main([str(run_dir)]) == 2
    said = capsys.readouterr().err
    assert f"{run_dir / 'journal.jsonl'}, line 2: " in said
    assert sentence in said


@pytest.mark.parametrize("line", ["not JSON", line_of(2, 1.0, point(1, 200, 28.0, 30.0))[:-1].replace("28.0", "98.0")])
def test_a_damaged_line_is_left_out_and_named(write_run, metadata, line, capsys):
    run_dir = write_run(metadata, [point(1, 100, 27.0, 30.0)], tail=f"{line}\n")
    what = "entry 2 is damaged or missing (line 2: its text does not match its checksum)"
    fault = f"{run_dir / 'journal.jsonl'}: {what}; left out"
    results = load_results(run_dir)
    assert results.points["iteration"].tolist() == [100]
    assert results.faults == (fault,)
    assert main([str(run_dir)]) == 0
    assert f"warning: {fault}" in " ".join(capsys.readouterr().out.split())
    assert fault in html.unescape((run_dir / "report.html").read_text())


@pytest.mark.parametrize("left", [0, 1])
def test_a_fuller_report_is_not_overwritten(write_run, metadata, tmp_path, left, capsys):
    run_dir = write_run(metadata, [point(1, 100, 27.0, 30.0), point(1, 200, 28.0, 30.0)])
    assert main([str(run_dir)]) == 0
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    journal = run_dir / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:left]))
    assert main([str(run_dir)]) == 2
    assert f"has 2 points, but the journal only {left}; nothing was overwritten" in capsys.readouterr().err
    after = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    assert {**after, journal.name: before[journal.name]} == before
    assert main([str(run_dir), "--output", str(tmp_path / "elsewhere")]) == 0  # the remedy that the message names
    (run_dir / "points.parquet").unlink()  # the other one
    assert main([str(run_dir)]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": {"trials": "many"}}, r"search.trials: .*, but got 'many'"),
        ({"goals": {"objectives": []}}, "two or three different objectives"),
        ({"goals": {"reference": {"psnr_y": 20.0}}}, "reference needs a number for swd"),
        ({"goals": {"objectives": [{"metric": "psnr_y", "direction": "up"}] * 2}}, "'maximize' or 'minimize'"),
        ({"search": {"groups": None}}, "search.groups"),
    ],
)
def test_unusable_metadata_is_named(write_run, metadata, change, message):
    run_dir = write_run(metadata, [])
    file = run_dir / "study.json"
    values = json.loads(file.read_text())
    for part, fields in change.items():
        values[part] |= fields
    file.write_text(json.dumps(values))
    with pytest.raises(RunDirectoryError, match=message):
        load_results(run_dir)


def test_a_directory_that_is_no_run_says_what_to_give(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match=r"study.json does not exist: give a directory that study/sweep.py"):
        load_results(tmp_path)
    (tmp_path / "study.json").write_text('{"name": ')
    with pytest.raises(RunDirectoryError, match="not valid JSON"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"scale": 4}, "super-resolution x4"),
        ({"task": "sr", "sigma": None, "scale": 4}, "super-resolution x4"),
        ({"task": "denoise", "sigma": 25.0}, "denoising, noise 25 of 255"),
        ({"task": "jpeg", "quality": 10}, "JPEG artefact removal, quality 10"),
    ],
)
def test_the_task_is_said_in_words(metadata, data, words):
    assert replace(metadata, config={**metadata.config, "data": data}).task == words


def test_a_missing_or_old_table_says_how_to_make_it(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match=r"points.parquet does not exist; make it with: python analysis/report"):
        read_table(tmp_path, POINTS)
    pd.DataFrame({"trial": [1]}).to_parquet(tmp_path / "trials.parquet")
    with pytest.raises(RunDirectoryError, match=r"lacks .*distributions.*: an older version wrote it; make it with"):
        read_table(tmp_path, TRIALS)
    assert read_table(tmp_path, TRIALS, ["trial"])["trial"].tolist() == [1]


@pytest.mark.parametrize("empty", [False, True])
def test_tables_follow_their_schemas(full_run: Path, write_run, metadata, empty):
    results = load_results(write_run(metadata, []) if empty else full_run)
    tables = (results.points, results.images, results.trials, results.artifacts)
    for schema, table in zip((POINTS, IMAGES, TRIALS, ARTIFACTS), tables, strict=True):
        types = {name: str(table[name].dtype) for name in schema.columns}
        assert types == dict(schema.columns)
        further = [name for name in table if name not in schema.columns and not name.startswith(schema.prefixes)]
        assert schema.metrics or not further
        assert {str(table[name].dtype) for name in further} <= {"float64"}
