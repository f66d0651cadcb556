"""The trade-off as text for terminals: a letter per group, capital on the group's own front."""

from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np
import pandas as pd

from analysis.formatting import metric_name, metric_text, path_label, short_text
from analysis.statistics.fronts import (
    beats_reference,
    group_fronts,
    group_names,
    group_values,
    is_candidate,
    is_measured,
    is_of_trial,
)
from analysis.statistics.tables import Results
from study.record.goals import Goals

WIDTH, HEIGHT = 72, 22
SYMBOLS = {"interpolation": ".", "fidelity": "*", "bicubic": "+", "input": "+"}
_EMPTY = " "


def draw_text(results: Results) -> str:
    """Draw the points in characters: the first objective upwards, the second sideways, the best corner top left.

    Points beyond the reference point are left out unless all are. Of several in one place, points on a front are drawn
    before others, and these before references.

    Returns:
        The figure and its legend, without colours; "" where nothing was measured.
    """
    points, goals = results.points, results.goals
    measured = points[is_measured(points, goals)]
    of_trials = measured[is_candidate(measured) & is_of_trial(measured)]
    shown = measured[beats_reference(measured, goals)] if beats_reference(measured, goals).any() else measured
    if not len(shown):
        return ""
    path = results.groups[0] if results.groups else ""
    letters = _letters(group_names(of_trials, path))
    grid = np.full((HEIGHT, WIDTH), _EMPTY)
    for symbol, row, column in _marks(measured, shown, goals, path, letters):
        grid[row, column] = symbol
    return "\n".join([*_framed(grid, shown, goals), *_legend(letters, path, measured)])


def _letters(values: list[str]) -> dict[str, str]:
    """Return a letter for each group; after z they start again."""
    return {value: ascii_lowercase[number % len(ascii_lowercase)] for number, value in enumerate(values)}


def _marks(
    measured: pd.DataFrame, shown: pd.DataFrame, goals: Goals, path: str, letters: dict[str, str]
) -> Iterator[tuple[str, int, int]]:
    """Yield symbols with row and column, the more important later."""
    for kind, symbol in SYMBOLS.items():
        yield from _places(symbol, shown[shown["kind"] == kind], shown, goals)
    candidates = shown[is_candidate(shown) & is_of_trial(shown)]
    values = np.asarray(group_values(candidates, path), dtype=object)
    for value, letter in letters.items():
        yield from _places(letter, candidates[values == value], shown, goals)
    for group in group_fronts(measured, goals, path):
        on_front = group.front[group.front.index.isin(shown.index)]
        yield from _places(letters[group.value].upper(), on_front, shown, goals)


def _places(symbol: str, points: pd.DataFrame, shown: pd.DataFrame, goals: Goals) -> Iterator[tuple[str, int, int]]:
    vertical, horizontal = goals.objectives[:2]
    rows = _cells(points[vertical.metric], shown[vertical.metric], HEIGHT, rising=vertical.direction == "minimize")
    across = horizontal.direction == "minimize"
    columns = _cells(points[horizontal.metric], shown[horizontal.metric], WIDTH, rising=across)
    for row, column in zip(rows, columns, strict=True):
        yield symbol, row, column


def _cells(values: pd.Series, of: pd.Series, count: int, *, rising: bool) -> list[int]:
    """Return which of `count` cells each value falls into; the best value is in the first one."""
    low, high = float(of.min()), float(of.max())
    share = (values.to_numpy(dtype=float) - low) / ((high - low) or 1.0)
    cells: list[int] = np.clip(((share if rising else 1 - share) * count).astype(int), 0, count - 1).tolist()
    return cells


def _framed(grid: np.ndarray, shown: pd.DataFrame, goals: Goals) -> list[str]:
    """Return the lines of the grid between its labelled axes."""
    vertical, horizontal = goals.objectives[:2]
    ends = [metric_text(float(value)) for value in _ends(shown[vertical.metric], vertical.direction)]
    width = max(map(len, ends))
    margins = [ends[0], *[""] * (HEIGHT - 2), ends[1]]
    left, right = (metric_text(float(value)) for value in _ends(shown[horizontal.metric], horizontal.direction))
    name = f"{metric_name(horizontal)}, better to the left"
    return [
        f"{metric_name(vertical)}, better upwards",
        *(f"{margin:>{width}} |{''.join(row)}".rstrip() for margin, row in zip(margins, grid, strict=True)),
        f"{'':{width}} +{'-' * WIDTH}",
        f"{'':{width}}  {left}{name:^{WIDTH - len(left) - len(right)}}{right}",
    ]


def _ends(values: pd.Series, direction: str) -> tuple[float, float]:
    """Return the best and the worst value."""
    return (values.max(), values.min()) if direction == "maximize" else (values.min(), values.max())


def _legend(letters: dict[str, str], path: str, points: pd.DataFrame) -> list[str]:
    named = [f"{letter} {short_text(value)}" for value, letter in letters.items()]
    lines = [f"{path_label(path)}: {', '.join(named)}; capitals: on the group's own front"] if path and named else []
    references = [f"{symbol} {kind}" for kind, symbol in SYMBOLS.items() if (points["kind"] == kind).any()]
    return [*lines, ", ".join(references)] if references else lines
