"""The chart's data: every front, few enough points, pictures once, nothing that escapes its block."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.figures.crops import crop_rows
from analysis.figures.plots import COLOURS, MARKERS
from analysis.page.chart import MAX_OTHERS, chart_data
from analysis.report import write_report
from analysis.statistics.fronts import front_of, group_fronts
from analysis.statistics.tables import Results, load_results
from study.record.events import TrialStarted
from study.record.metadata import ImageSetInfo
from tests.analysis import made_events
from tests.analysis.made_events import NAN, end, point, reference, with_groups
from tests.record.lines import write_lines

HOSTILE = "</script><script>alert(1)</script><!--<script>&\u2028\u2029'\"`javascript:alert(1)"


def data_of(run_dir: Path) -> dict:
    results = load_results(run_dir)
    data = chart_data(run_dir, results, crop_rows=crop_rows(run_dir, results))
    assert data is not None
    json.dumps(data, allow_nan=False)
    return data


def trial(number: int, guidance: str) -> TrialStarted:
    return made_events.trial(number, {"loss": {"guidance": guidance}})


@pytest.fixture(scope="module")
def results(full_run: Path) -> Results:
    return load_results(full_run)


def test_fronts_colours_and_markers_are_those_of_the_figure(full_run: Path, results: Results):
    data = data_of(full_run)
    front = front_of(results.points, results.goals)
    assert np.array(data["front"]) == pytest.approx(front[["swd", "psnr_y"]].to_numpy(), abs=1e-3)
    assert [grouping["path"] for grouping in data["groupings"]] == list(results.groups)
    guidance = data["groupings"][0]["groups"]
    assert [(group["value"], group["colour"], group["marker"]) for group in guidance] == [
        ("aesop", COLOURS[0], MARKERS[0]),
        ("pixel", COLOURS[1], MARKERS[1]),
    ]
    for drawn, group in zip(guidance, group_fronts(results.points, results.goals, "loss.guidance"), strict=True):
        assert [pair[1] for pair in drawn["front"]] == pytest.approx(group.front["psnr_y"].tolist(), abs=1e-3)


def test_every_point_of_a_small_study_has_details(full_run: Path, results: Results):
    data = data_of(full_run)
    ids = [each["id"] for each in data["points"]]
    assert len(set(ids)) == len(ids) == 42  # 44 points with three of a trial that FAILED and, of it, no last one
    assert data["note"] == ""
    best = next(each for each in data["points"] if each["id"] == "t1.400")
    row = results.points[(results.points["trial"] == 1) & (results.points["iteration"] == 400)].iloc[0]
    assert best["metrics"][0] == f"{row['psnr_y']:.2f}"
    assert best["status"] == "on the front of all points"
    assert data["trials"]["1"]["settings"][:3] == ["pixel", "none", "48"]
    assert data["settings"][:3] == ["guidance", "bottleneck channels", "patch"]
    assert data["trials"]["9"]["state"] == "PRUNED"


def test_points_beyond_some_hundreds_are_background(write_run, metadata):
    """60 trials of 20 points: all on the trade-off line's far side but trial 0's, which make the front alone."""
    events = []
    for number in range(60):
        events.append(trial(number, ("aesop", "pixel")[number % 2]))
        for step in range(20):
            shift = 0.0 if number == 0 else 1 + number / 100
            events.append(point(number, step + 1, 29 - step / 10 - shift, 20 - step / 2 + shift))
    data = data_of(write_run(metadata, events))
    front = {f"t0.{step + 1}" for step in range(20)}
    last = {f"t{number}.20" for number in range(60)}
    pixel = {f"t1.{step + 1}" for step in range(20)}
    ids = {each["id"] for each in data["points"]}
    must = front | last | pixel
    assert must <= ids
    assert len(ids) == len(must) + MAX_OTHERS
    assert {each["id"] for each in data["points"] if each["front"]} == front
    trials = data["background"]["trials"]
    assert [len(each["xy"]) for each in trials] == [40] * 60
    assert sum(len(each["detailed"]) for each in trials) == len(ids)
    assert data["note"].startswith(f"{1200 - len(ids)} points off the fronts")


def test_diverged_points_neither_squeeze_the_axes_nor_have_details(write_run, metadata):
    events = [trial(0, "aesop"), point(0, 1, 25.0, 30.0), point(0, 2, 26.0, 31.0), point(0, 3, -1e30, 1e30)]
    data = data_of(write_run(metadata, events))
    assert {each["id"] for each in data["points"]} == {"t0.1", "t0.2"}
    assert (data["axes"]["x"]["low"], data["axes"]["x"]["high"]) == pytest.approx((29.94, 31.06))
    assert max(map(abs, data["background"]["trials"][0]["xy"])) < 100


@pytest.mark.parametrize("metrics", [[], [(NAN, 30.0)], [(NAN, NAN)]])
def test_without_a_measured_point_there_is_no_chart(write_run, metadata, metrics):
    run = write_run(metadata, [point(0, step, *values) for step, values in enumerate(metrics, 1)])
    assert chart_data(run, load_results(run)) is None
    page = write_report(run).page.read_text()
    assert "<script" not in page
    assert 'alt="PSNR-Y against SWD' in page


def test_points_that_are_not_numbers_are_dashes(write_run, metadata):
    bad = point(0, 2, 25.0, 30.0, dists=NAN, lpips=float("inf"))
    data = data_of(write_run(metadata, [trial(0, "aesop"), point(0, 1, NAN, 3.0), bad]))
    assert [each["id"] for each in data["points"]] == ["t0.2"]
    assert data["points"][0]["metrics"] == ["25.00", "30.00", "\N{EN DASH}", "inf"]


def test_a_study_without_groups_is_one_group(write_run, metadata):
    data = data_of(write_run(with_groups(metadata), [trial(0, "aesop"), point(0, 1, 25.0, 30.0)]))
    (grouping,) = data["groupings"]
    assert [group["label"] for group in grouping["groups"]] == ["all trials"]
    assert data["points"][0]["groups"] == [0]


def test_bands_are_drawn_where_they_are_known(full_run: Path, results: Results):
    band = (np.array([5.0, 10.0, 15.0]), np.array([26.0, np.nan, 28.0]), np.array([27.0, 28.0, np.inf]))
    data = chart_data(full_run, results, bands={("loss.guidance", "pixel"): band})
    assert data is not None
    aesop, pixel = data["groupings"][0]["groups"]
    assert aesop["band"] is None
    assert pixel["band"]["x"] == [5.0, 15.0]
    assert pixel["band"]["low"] == [26.0, 28.0]
    assert pixel["band"]["high"][0] == 27.0
    assert np.isfinite(pixel["band"]["high"]).all()


def test_pictures_are_embedded_once_and_only_from_the_run(full_run: Path, results: Results, tmp_path: Path):
    rows = crop_rows(full_run, results)
    data = chart_data(full_run, results, crop_rows=rows)
    assert data is not None
    there = {crop.sample for row in rows for crop in row.crops}
    assert data["pictures"]
    assert not there & set(data["pictures"])
    front = {each["samples"] for each in data["points"] if each["front"] or each["fronts"]}
    shown = {name.rpartition("/")[0] for name in data["pictures"]}
    assert shown <= front
    # Those of groups' own fronts as well: what stands beside each other are members of different groups.
    alone = {each["samples"] for each in data["points"] if each["fronts"] and not each["front"] and each["samples"]}
    assert shown & alone
    run_dir = shutil.copytree(full_run, tmp_path / "run")
    (tmp_path / "astronaut.png").write_bytes((full_run / "references/hr/astronaut.png").read_bytes())
    journal = run_dir / "journal.jsonl"
    write_lines(journal, re.sub(r'"trials/\d+/points/\d+"', '".."', journal.read_text()).splitlines())
    assert data_of(run_dir)["pictures"] == {}


def test_nothing_in_a_study_breaks_out_of_the_page(write_run, metadata):
    images = {part: ImageSetInfo(HOSTILE, HOSTILE, (HOSTILE,)) for part in ("train", "val")}
    study = replace(with_groups(metadata, "loss.guidance", f"loss.{HOSTILE}"), name=HOSTILE, images=images)
    params = {"loss.guidance": HOSTILE, f"loss.{HOSTILE}": HOSTILE}
    begun = made_events.trial(0, {"loss": {"guidance": HOSTILE, HOSTILE: HOSTILE}}, params)
    odd = point(0, 1, 25.0, 30.0, samples=HOSTILE)
    run = write_run(study, [reference("fidelity-1", "fidelity", 24.0, 20.0), begun, odd, end(0, "PRUNED", HOSTILE)])
    page = write_report(run).page.read_text(encoding="utf-8")
    block, script = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block) == json.loads(json.dumps(data_of(run)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "unsafe-inline" not in policy[1].replace("style-src 'unsafe-inline'", "")


def test_the_script_writes_text_alone():
    """No way from a string to markup or code, whatever the browser's policy does."""
    script = (Path(__file__).resolve().parents[3] / "analysis/page/templates/chart.js").read_text()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "</script",
        "<!--",
    ):
        assert way not in script, way
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", script)
