"""The live view of a study, on a terminal and in a log."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from study.cluster.progress import FRONT_ROWS, ProgressView, Snapshot, StageProgress, one_line
from study.training.loop import Progress

NOTHING = Snapshot(12, {}, [], math.nan, [], ["psnr_y", "swd"], 0.0)
BUSY = Snapshot(
    total=12,
    counts={"COMPLETE": 3, "RUNNING": 2, "PRUNED": 0, "FAILED": 1},
    jobs=[("trial-0004", 40, 160), ("autoencoder-00ff", 7, 200)],
    seconds_left=95.4,
    front=[("fidelity 22cc33", (29.9912, 21.304)), ("trial 2 at 160", (27.5, 6.6))],
    objectives=["psnr_y", "swd"],
    hypervolume=123.456,
)


def console_to(text: io.StringIO, *, terminal: bool, width: int = 100) -> Console:
    return Console(file=text, force_terminal=terminal, width=width, color_system=None)


def test_a_log_line_holds_counts_time_jobs_and_front() -> None:
    assert one_line(BUSY) == (
        "3 of 12 trials done, 2 running, 1 failed | 1 min 35 s left | trial-0004 40/160, autoencoder-00ff 7/200 | "
        "front (psnr_y/swd): 29.99/21.3 27.5/6.6"
    )


def test_the_line_of_a_study_that_has_just_started() -> None:
    assert one_line(NOTHING) == (
        "0 of 12 trials done | time left not yet known | nothing running | front (psnr_y/swd): none yet"
    )


def test_a_long_front_is_cut_in_the_line() -> None:
    many = [(f"trial {index}", (30.0 - index, 40.0 - index)) for index in range(30)]
    line = one_line(replace(BUSY, front=many))
    assert line.count("/") == 2 + 1 + FRONT_ROWS  # two jobs, the axes, the members


def test_a_snapshot_in_a_log_is_one_plain_line() -> None:
    text = io.StringIO()
    with ProgressView(console_to(text, terminal=False, width=40)) as view:
        view.show(NOTHING)
        view.show(BUSY)
    assert text.getvalue() == f"{one_line(NOTHING)}\n{one_line(BUSY)}\n"


def test_a_terminal_shows_counts_jobs_front_and_hypervolume() -> None:
    text = io.StringIO()
    with ProgressView(console_to(text, terminal=True)) as view:
        view.show(BUSY)
    shown = text.getvalue()
    for part in ("3 of 12 trials done, 2 running, 1 failed", "1 min 35 s left", "trial-0004", "40/160", "7/200"):
        assert part in shown
    for part in ("psnr_y", "swd", "fidelity 22cc33", "29.9912", "21.3040", "trial 2 at 160", "hypervolume 123.5"):
        assert part in shown


def test_a_terminal_is_redrawn_in_place_not_scrolled() -> None:
    text = io.StringIO()
    with ProgressView(console_to(text, terminal=True)) as view:
        view.show(BUSY)
        first = len(text.getvalue())
        view.show(replace(BUSY, counts={"COMPLETE": 4}))
    assert "\x1b[1A" in text.getvalue()[first:]  # the cursor goes up before the second drawing
    assert "4 of 12 trials done" in text.getvalue()[first:]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_snapshot_is_due_at_first_and_after_an_interval(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("study.cluster.progress.time.monotonic", lambda: now)
    with ProgressView(console_to(io.StringIO(), terminal=terminal)) as view:
        assert view.due
        view.show(BUSY)
        assert not view.due
        now += 1.0
        assert view.due == terminal  # a log is written far less often
        now += 60.0
        assert view.due


def test_a_log_shows_a_stage_at_intervals_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("study.cluster.progress.time.monotonic", lambda: now)
    text = io.StringIO()
    with StageProgress(console_to(text, terminal=False)) as view:
        view.on_progress(Progress("fidelity", 100, 800, {"pixel": 0.051234}))
        for iteration in (200, 300, 400):  # 100 iterations in 10 s: only every second one is due
            now += 10.0
            view.on_progress(Progress("fidelity", iteration, 800, {"pixel": 0.05}))
        now += 1.0
        view.on_progress(Progress("fidelity", 800, 800, {"pixel": 0.04}))
    assert text.getvalue().splitlines() == [
        "fidelity 100/800 | pixel 0.0512 | time left not yet known",
        "fidelity 300/800 | pixel 0.05 | 50 s left",
        "fidelity 800/800 | pixel 0.04 | 0 s left",
    ]


def test_on_a_terminal_each_stage_has_its_bar() -> None:
    text = io.StringIO()
    with StageProgress(console_to(text, terminal=True)) as view:
        view.on_progress(Progress("fidelity", 800, 800, {"pixel": 0.04}))
        view.on_progress(Progress("adversarial", 3, 160, {"fidelity": 0.5, "adversarial": 0.25}))
    for part in ("fidelity", "800/800", "pixel 0.04", "adversarial", "3/160", "fidelity 0.5 adversarial 0.25"):
        assert part in text.getvalue()


def test_artifacts_that_another_study_trains_are_shown() -> None:
    waiting = replace(BUSY, elsewhere={"fidelity-00aa": "study other (in /runs/other, on b, pid 7)"})
    sentence = "fidelity-00aa is being trained by study other (in /runs/other, on b, pid 7)"
    assert sentence in one_line(waiting)
    text = io.StringIO()
    with ProgressView(console_to(text, terminal=True)) as view:
        view.show(waiting)
    assert sentence in text.getvalue()
