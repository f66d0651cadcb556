"""The report: files, page, command line."""

import base64
import itertools
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis.figures.crops import crop_rows
from analysis.report import Report, main, print_report, write_report
from analysis.statistics.tables import load_results
from study.record.events import StudyStateChanged
from study.record.goals import Constraint
from study.record.metadata import ImageSetInfo
from study.record.points import FidelityPoint, TrialPoint
from tests.analysis.made_events import NAN, end, interpolation, point, reference, trial, with_constraint
from tests.record.lines import line_of, write_lines

HOSTILE = "<img src=x onerror=alert(1)>\"'$x_{$[bold]"


@pytest.fixture(scope="module")
def report(full_run: Path) -> Report:
    return write_report(full_run)


class _Page(HTMLParser):
    """What a browser would see: every tag with its attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_files_agree_with_each_other(report: Report, full_run: Path):
    points = pd.read_parquet(report.page.with_name("points.parquet"))
    front = pd.read_csv(report.page.with_name("front.csv"))
    assert len(front) == len(report.front.rows) == points["front"].sum()
    assert set(front["psnr_y"].round(6)) == set(points.loc[points["front"], "psnr_y"].round(6))
    assert len(pd.read_parquet(report.page.with_name("trials.parquet"))) == report.num_trials == 12
    assert report.page.with_name("front.png").read_bytes().startswith(b"\x89PNG")
    assert (full_run / "front.svg").read_text().count("<svg") == 1
    assert not list(full_run.glob(".*partial"))


def test_sentences_hold_the_tables_numbers(report: Report):
    points = pd.read_parquet(report.page.with_name("points.parquet"))
    trials = points[(points["kind"] == "trial") & (points["state"] != "FAILED")]
    best = trials.loc[trials["swd"].idxmin()]
    text = " ".join(report.findings)
    assert "12 of 12 trials were started: 9 COMPLETE, 1 FAILED, 1 PRUNED and 1 RUNNING." in text
    assert f"trial {best['trial']:.0f} at iteration {best['iteration']:.0f}" in text
    assert f"{(21.3 - best['swd']) / 21.3:.0%} better than the fidelity generator's 21.30" in text
    assert "reaches 29.99 dB PSNR-Y, 0.69 dB above bicubic" in text
    assert "0.09 s with pixel and 0.14 s with aesop of device time: 1.56 times" in text
    assert "on 3 of 3 validation images" in text


def test_the_page_loads_nothing_and_describes_its_images(report: Report):
    path = report.page
    page = _Page(path)
    assert not re.search(r"https?://", path.read_text())
    # One block of data and our own script, which test_chart.py compares with the policy; nothing that runs beside it.
    assert page.of("script") == [{"type": "application/json", "id": "chart-data"}, {}]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not page.of("link")
    images = page.of("img")
    assert all(image["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for image in images)
    assert all(image["alt"] for image in images)
    assert all(head.get("scope") in ("col", "row") for head in page.of("th"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")


def test_crops_are_the_files_and_a_missing_one_is_marked(report: Report, full_run: Path):
    page = _Page(report.page)
    embedded = {base64.b64decode(image["src"].partition(",")[2]) for image in page.of("img")}
    for sample in (
        "references/hr/chelsea.png",
        "references/lq/coffee.png",
        "references/bicubic/astronaut.png",
    ):
        assert (full_run / sample).read_bytes() in embedded
    assert "no crop" in page.text  # Trial 4 is on the front but has none.


def test_samples_outside_the_run_directory_are_not_read(full_run: Path, tmp_path: Path):
    run_dir = shutil.copytree(full_run, tmp_path / "run")
    secret = tmp_path / "astronaut.png"
    secret.write_bytes((full_run / "references/hr/astronaut.png").read_bytes() + b"secret")
    journal = run_dir / "journal.jsonl"
    write_lines(journal, journal.read_text().replace('"references/bicubic"', '".."').splitlines())
    rows = crop_rows(run_dir, load_results(run_dir))
    bicubic = [crop for row in rows for crop in row.crops if crop.title == "bicubic"]
    assert [crop.uri for crop in bicubic] == [None] * 3
    assert all(row.crops[-1].uri for row in rows)  # HR, which lies inside.


def test_a_constraint_that_no_point_meets_is_named(write_run, metadata):
    study = with_constraint(metadata, Constraint("psnr_y", ">=", 40))
    report = write_report(write_run(study, [trial(0), point(0, 1, 25.0, 30.0), point(0, 2, 26.0, 29.0), end(0)]))
    (sentence,) = [each for each in report.findings if "constraint" in each]
    assert sentence.startswith("No point meets the constraint psnr_y>=40: the nearest has 26.00;")
    met = with_constraint(metadata, Constraint("psnr_y", ">=", 25.5))
    found = write_report(write_run(met, [trial(0), point(0, 1, 25.0, 30.0), point(0, 2, 26.0, 29.0), end(0)]))
    assert not any("meets the constraint" in each for each in found.findings)


def test_hostile_names_stay_text(write_run, metadata):
    images = {part: ImageSetInfo(HOSTILE, HOSTILE, (HOSTILE,)) for part in ("train", "val")}
    study = replace(metadata, name=HOSTILE, notes=(HOSTILE,), config={HOSTILE: HOSTILE}, images=images)
    config = {"loss": {"guidance": HOSTILE}, "budget": {"patch": HOSTILE}}
    events = [
        trial(0, config, {"loss.guidance": HOSTILE}),
        point(0, 1, 25.0, 30.0),
        trial(1),
        end(1, "FAILED", HOSTILE),
    ]
    report = write_report(write_run(study, events))
    page = _Page(report.page)
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.text.count(HOSTILE) >= 4
    output = StringIO()
    print_report(report, Console(file=output, width=400))
    assert HOSTILE in output.getvalue()


def test_control_characters_of_a_run_directory_do_not_reach_the_terminal(write_run, metadata, capsys):
    hostile = "\x1b[2J\x1b]0;title\x07\x9b2J=1"
    config = {"loss": {"guidance": hostile}, "budget": {"patch": hostile}}
    events = [trial(0, config, {"loss.guidance": hostile}), point(0, 1, 25.0, 30.0), end(0)]
    run_dir = write_run(replace(metadata, name=hostile), events)
    assert main([str(run_dir)]) == 0
    assert main([str(run_dir / hostile)]) == 2
    output, error = capsys.readouterr()
    assert r"\x1b[2J" in output
    assert r"\x1b[2J" in error
    assert not re.search(r"[\x1b\x9b\x07]", output + error)
    for figure in run_dir.rglob("*.svg"):
        ElementTree.parse(figure)  # XML has no control characters


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([], "No trial has started yet (0 of 12)"),
        ([end(0, "FAILED", "diverged")], "Every trial FAILED"),
        ([point(0, 1, 99.0, 1.0), end(0, "FAILED")], "There is no front"),
        ([point(0, 1, 25.0, 30.0)], "this study shows no trade-off"),
        (
            [point(0, 1, NAN, 30.0)],
            "Excluded from the front: 1 point with an objective that is not a finite number.",
        ),
        ([point(0, 1, 19.0, 30.0)], "Of the front, 1 point beyond the reference point"),
    ],
)
def test_studies_with_little_in_them_say_so(write_run, metadata, events, sentence):
    report = write_report(write_run(metadata, events))
    assert sentence in _Page(report.page).text
    assert report.page.with_name("front.png").stat().st_size > 0


def test_the_same_journal_gives_the_same_page(report: Report, full_run: Path):
    first = report.page.read_bytes()
    assert write_report(full_run).page.read_bytes() == first


def test_long_tables_are_folded_beyond_their_first_rows(write_run, metadata):
    report = write_report(write_run(metadata, [point(number, 1, 25.0, 30.0) for number in range(30)]))
    page = _Page(report.page)
    assert "State, settings and best values of every trial: 10 more rows" in page.text
    folded = report.page.read_text().partition("10 more rows</summary>")[2].partition("</details>")[0]
    assert folded.count("<tr>") == 11
    assert "<caption>State, settings and best values of every trial, continued</caption>" in folded


def test_a_report_of_many_points_stays_small(write_run, metadata):
    """A mark each would make the figure alone megabytes; the page holds every point all the same."""
    spread = [(25 + (number * 37 % 1000) / 500, 30 + (number * 91 % 1000) / 50) for number in range(4_000)]
    points = [point(number // 20, number % 20, psnr, swd) for number, (psnr, swd) in enumerate(spread)]
    report = write_report(write_run(metadata, points))
    assert report.page.with_name("front.png").with_suffix(".svg").read_text().count("<use ") < 300
    assert report.page.stat().st_size < 2_500_000


def test_watching_goes_on_until_the_study_has_ended(write_run, metadata, monkeypatch, capsys):
    run = write_run(metadata, [StudyStateChanged(state="RUNNING"), point(0, 1, 25.0, 30.0)])
    pages, pauses = [], []

    def sleep(seconds: float) -> None:
        pages.append((run / "report.html").read_text())
        pauses.append(seconds)
        state = StudyStateChanged(state="INTERRUPTED" if len(pauses) > 1 else "RUNNING")
        with (run / "journal.jsonl").open("a") as journal:
            numbers = itertools.count(1 + 2 * len(pauses))
            journal.writelines(line_of(next(numbers), 1.8e9, event) for event in (point(0, 1, 26.0, 29.0), state))

    monkeypatch.setattr("analysis.report.time.sleep", sleep)
    assert main([str(run), "--watch", "7"]) == 0
    assert pauses == [7, 7]
    assert all('data-reload="7"' in page and "still running" in page for page in pages)
    last = (run / "report.html").read_text()
    assert 'data-reload="' not in last
    assert "still running" not in last
    assert capsys.readouterr().out.count("1 trial, 1 point:") == 2


def test_ctrl_c_ends_watching_with_a_page_that_waits_for_nothing(write_run, metadata, monkeypatch, capsys):
    run = write_run(metadata, [point(0, 1, 25.0, 30.0)])

    def interrupt(seconds: float) -> None:
        assert seconds == 60
        assert 'data-reload="60"' in (run / "report.html").read_text()
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.report.time.sleep", interrupt)
    assert main([str(run), "--watch"]) == 0
    assert 'data-reload="' not in (run / "report.html").read_text()
    assert "report: " in capsys.readouterr().out


@pytest.mark.parametrize("interval", ["0", "-1", "soon", "1.5"])
def test_watch_explains_a_wrong_interval(interval: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main([str(tmp_path), f"--watch={interval}"])
    assert f"must be a whole number of seconds, at least 1, but got '{interval}'" in capsys.readouterr().err


def test_the_script_runs_from_a_checkout_that_is_not_installed(full_run: Path, tmp_path: Path):
    script = Path(__file__).resolve().parents[2] / "analysis" / "report.py"
    done = subprocess.run(
        [sys.executable, script, full_run],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    assert f"report: {full_run / 'report.html'}" in done.stdout
    assert re.search(r"hypervolume: \d+\.\d", done.stdout)
    assert "fidelity" in done.stdout


def test_the_command_line_explains_a_wrong_directory(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([str(tmp_path)]) == 2
    assert "study.json does not exist" in capsys.readouterr().err


def test_analysis_needs_neither_torch_nor_ray():
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, json; sys.path[0] = sys.argv[1]; import analysis.report; "
        "unwanted = {'torch', 'ray', 'mlflow', 'study.training', 'study.cluster'}; "
        "print(json.dumps(sorted(unwanted & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


FIDELITY = "fidelity-00aa11bb22cc33dd"


def test_findings_name_the_origins_of_the_front_s_points(write_run, metadata):
    """The front by hand: the generator, two weight interpolations, one of images, an earlier point, the last one."""
    parents = (FidelityPoint(FIDELITY), TrialPoint(0, 400))
    generator = reference(FIDELITY, "fidelity", 30.0, 20.0)
    points = [point(0, 200, 28.0, 12.0), point(0, 400, 27.0, 8.0)]
    interpolations = [
        interpolation(*parents, "weights", 0.25, 29.6, 16.0),
        interpolation(*parents, "weights", 0.5, 29.0, 13.0),
        interpolation(*parents, "images", 0.5, 29.1, 14.0),
    ]
    events = [trial(0), generator, *points, *interpolations, end(0)]
    run = write_run(metadata, [*events, interpolation(*parents, "images", 0.75, 28.0, 15.0)])
    report = write_report(run)
    rows = pd.read_csv(report.page.with_name("front.csv"))
    assert rows["psnr_y"].tolist() == [30.0, 29.6, 29.1, 29.0, 28.0, 27.0]
    text = " ".join(report.findings)
    origin = (
        "The front has 6 points: 1 last point of a trial, 1 earlier checkpoint, 1 fidelity generator, 2 weight "
        "interpolations and 1 image interpolation."
    )
    assert origin in text
    assert "Interpolation took 10 s of device time" in text
    # Areas up to the corner (20 dB, 60): 424 without interpolations; 437.8 with all; 433.1 with those of images alone.
    without = 10 * 40 + 8 * 8 + 7 * 4
    whole = 10 * 40 + 9.6 * 4 + 9.1 * 2 + 9.0 * 1 + 8 * 1 + 7 * 4
    pixels = 10 * 40 + 9.1 * 6 + 8 * 2 + 7 * 4
    assert f"hypervolume {100 * (whole - without) / without:.2g}% larger" in text
    assert f"would have made it {100 * (pixels - without) / without:.2g}% larger" in text
    page = _Page(report.page).text
    assert "25% in weights, rest fidelity" in page
    table = pd.read_parquet(report.page.with_name("points.parquet"))
    made = table[table["kind"] == "interpolation"]
    assert made["trial"].tolist() == [0] * 4
    assert made["interpolation.share"].tolist() == [0.25, 0.5, 0.5, 0.75]
    assert set(made["interpolation.with"]) == {"fidelity"}


def test_points_that_miss_a_bound_are_left_out(write_run, metadata):
    bounded = with_constraint(metadata, Constraint("ssim_y", ">=", 0.8))
    good, bad = point(0, 1, 25.0, 30.0, ssim_y=0.9), point(0, 200, 26.0, 20.0, ssim_y=0.7)
    report = write_report(write_run(bounded, [good, bad]))
    assert pd.read_csv(report.page.with_name("front.csv"))["psnr_y"].tolist() == [25.0]
    assert "Excluded from the front: 1 point outside the constraint ssim_y>=0.8." in _Page(report.page).text


def test_a_study_of_several_seeds_says_so(write_run, metadata):
    trials = [trial(number, {"seed": number + 1}) for number in range(2)]
    report = write_report(write_run(metadata, [*trials, point(0, 1, 25.0, 30.0), point(1, 1, 24.0, 29.0)]))
    text = _Page(report.page).text
    assert "Trials have seeds of their own (1 and 2)" in text
    assert "one study with one seed" not in text


@pytest.mark.parametrize(("old", "new"), [("--only", "--images"), ("--out", "--output")])
def test_an_old_option_is_refused_with_its_new_name(old: str, new: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["runs/quick", old, "folder"])
    assert f"{old} is called {new} now" in capsys.readouterr().err
