"""The trade-off as text: where its letters stand, and what they mean."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.terminal import HEIGHT, WIDTH, draw_text
from analysis.statistics.tables import Results, load_results
from study.record.events import Event, TrialStarted
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import end, point

WriteRun = Callable[..., Path]


@pytest.fixture
def results(full_run: Path) -> Results:
    return load_results(full_run)


def grid_of(text: str) -> list[str]:
    rows = [line.partition("|")[2] for line in text.splitlines() if "|" in line]
    return [row.ljust(WIDTH) for row in rows]


def test_it_has_a_frame_with_named_ends_and_a_legend(results: Results) -> None:
    text = draw_text(results)
    lines = text.splitlines()
    assert lines[0] == "PSNR-Y, better upwards"
    assert len(grid_of(text)) == HEIGHT
    assert all(len(line) <= WIDTH + 10 for line in lines[: HEIGHT + 2])
    assert "SWD, better to the left" in text
    assert re.search(r"guidance: a aesop, b pixel; capitals: on the group's own front", text)
    assert "* fidelity" in text


def test_letters_stand_where_the_points_are(
    write_run: WriteRun, metadata: StudyMetadata, study_events: list[Event]
) -> None:
    """The best PSNR on top, the best SWD on the left; a dominated point keeps its small letter."""
    begun = {event.trial: event for event in study_events if isinstance(event, TrialStarted)}
    chosen = sorted(begun)[:2]
    values = {chosen[0]: [(30.0, 50.0), (25.0, 10.0)], chosen[1]: [(27.5, 30.0), (26.0, 45.0)]}
    events: list[Event] = [begun[trial] for trial in chosen]
    for trial, points in values.items():
        for iteration, (psnr, swd) in enumerate(points, start=1):
            events.append(point(trial, iteration, psnr, swd))
        events.append(end(trial))
    results = load_results(write_run(metadata, events))
    grid = grid_of(draw_text(results))
    found = {
        (row, column): letter for row, line in enumerate(grid) for column, letter in enumerate(line) if letter != " "
    }
    assert len(found) == 4
    assert found[0, WIDTH - 1].isupper()  # 30 dB at the worst SWD
    assert found[HEIGHT - 1, 0].isupper()  # 10 at the worst PSNR
    assert found[HEIGHT // 2, WIDTH // 2].isupper()
    (small,) = [place for place, letter in found.items() if letter.islower()]
    assert small == (int(4 / 5 * HEIGHT), int(35 / 40 * WIDTH))


def test_a_study_without_points_draws_nothing(write_run: WriteRun, metadata: StudyMetadata) -> None:
    results = load_results(write_run(metadata, []))
    assert draw_text(results) == ""
