"""The trade-off as text, for terminals and notes: a letter a method, capital on the method's own front."""

from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np
import pandas as pd

from analysis.formatting import metric_name, metric_text, path_label, short_text
from analysis.journal import StudyFacts
from analysis.statistics.fronts import (
    beats_reference,
    group_fronts,
    group_names,
    group_values,
    is_candidate,
    is_measured,
    is_of_trial,
)

WIDTH, HEIGHT = 72, 22
SYMBOLS = {"interpolation": ".", "fidelity": "*", "bicubic": "+", "input": "+"}
_EMPTY = " "


def draw_text(points: pd.DataFrame, facts: StudyFacts) -> str:
    """Draw the points in characters: the first objective upwards, the second sideways, the best corner top left.

    Points beyond the reference point are left out where others are not. Of several in one place the one that counts
    most is drawn: a front before other points, those before references.

    Returns:
        The figure and its legend, without colours; "" where nothing was measured.
    """
    measured = points[is_measured(points, facts)]
    of_trials = measured[is_candidate(measured) & is_of_trial(measured)]
    shown = measured[beats_reference(measured, facts)] if beats_reference(measured, facts).any() else measured
    if not len(shown):
        return ""
    path = facts.groups[0] if facts.groups else ""
    letters = _letters(group_names(of_trials, path))
    grid = np.full((HEIGHT, WIDTH), _EMPTY)
    for symbol, row, column in _marks(measured, shown, facts, path, letters):
        grid[row, column] = symbol
    return "\n".join([*_framed(grid, shown, facts), *_legend(letters, path, measured)])


def _letters(values: list[str]) -> dict[str, str]:
    """A letter for each group; after z they start again."""
    return {value: ascii_lowercase[number % len(ascii_lowercase)] for number, value in enumerate(values)}


def _marks(
    measured: pd.DataFrame, shown: pd.DataFrame, facts: StudyFacts, path: str, letters: dict[str, str]
) -> Iterator[tuple[str, int, int]]:
    """What is drawn where, the more important later."""
    for kind, symbol in SYMBOLS.items():
        yield from _places(symbol, shown[shown["kind"] == kind], shown, facts)
    candidates = shown[is_candidate(shown) & is_of_trial(shown)]
    values = np.asarray(group_values(candidates, path), dtype=object)
    for value, letter in letters.items():
        yield from _places(letter, candidates[values == value], shown, facts)
    for group in group_fronts(measured, facts, path):
        on_front = group.front[group.front.index.isin(shown.index)]
        yield from _places(letters[group.value].upper(), on_front, shown, facts)


def _places(
    symbol: str, points: pd.DataFrame, shown: pd.DataFrame, facts: StudyFacts
) -> Iterator[tuple[str, int, int]]:
    vertical, horizontal = facts.objectives[:2]
    rows = _cells(points[vertical.metric], shown[vertical.metric], HEIGHT, rising=vertical.direction == "minimize")
    across = horizontal.direction == "minimize"
    columns = _cells(points[horizontal.metric], shown[horizontal.metric], WIDTH, rising=across)
    for row, column in zip(rows, columns, strict=True):
        yield symbol, row, column


def _cells(values: pd.Series, of: pd.Series, count: int, *, rising: bool) -> list[int]:
    """Which of `count` cells a value falls into; the best value is in the first one."""
    low, high = float(of.min()), float(of.max())
    share = (values.to_numpy(dtype=float) - low) / ((high - low) or 1.0)
    cells: list[int] = np.clip(((share if rising else 1 - share) * count).astype(int), 0, count - 1).tolist()
    return cells


def _framed(grid: np.ndarray, shown: pd.DataFrame, facts: StudyFacts) -> list[str]:
    """The grid between its axes, each end of which is named."""
    vertical, horizontal = facts.objectives[:2]
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
    """The best and the worst value."""
    return (values.max(), values.min()) if direction == "maximize" else (values.min(), values.max())


def _legend(letters: dict[str, str], path: str, points: pd.DataFrame) -> list[str]:
    named = [f"{letter} {short_text(value)}" for value, letter in letters.items()]
    lines = [f"{path_label(path)}: {', '.join(named)}; capitals: on the own front"] if path and named else []
    references = [f"{symbol} {kind}" for kind, symbol in SYMBOLS.items() if (points["kind"] == kind).any()]
    return [*lines, ", ".join(references)] if references else lines
