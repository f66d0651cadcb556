"""Limits of a study in sentences: what is excluded, and what its results do not show."""

from collections.abc import Iterator

from analysis.formatting import count_text, duration_text, list_text, number_text, short_text
from analysis.statistics.compute import Statistics
from analysis.statistics.conclusions import what_varies
from analysis.statistics.findings import main_groups
from analysis.statistics.fronts import beats_reference, front_of, is_allowed, is_candidate, is_measured, is_of_trial
from analysis.statistics.tables import Results


def limits(results: Results, statistics: Statistics) -> tuple[str, ...]:
    """Return what was excluded, and what this study cannot show."""
    return (
        *_excluded(results),
        *what_varies(statistics.groups),
        *_scope(results),
        *_unequal_budgets(results),
        *_unequal_evaluations(results),
    )


def _excluded(results: Results) -> Iterator[str]:
    points, goals = results.points, results.goals
    measured = is_measured(points, goals)
    unmeasured = int((is_candidate(points) & ~measured).sum())
    if unmeasured:
        size = count_text(unmeasured, "point")
        yield f"Excluded from the front: {size} with an objective that is not a finite number."
    forbidden = int((is_candidate(points) & measured & ~is_allowed(points, goals)).sum())
    if forbidden:
        bounds = list_text(map(str, goals.constraints))
        yield f"Excluded from the front: {count_text(forbidden, 'point')} outside the constraint {bounds}."
    failed = int((is_of_trial(points) & ~is_candidate(points)).sum())
    if failed:
        yield f"Excluded from the front: {count_text(failed, 'point')} of FAILED trials."
    front = front_of(points, goals)
    outside = int((~beats_reference(front, goals)).sum())
    if outside:
        yield (
            f"Of the front, {count_text(outside, 'point')} beyond the reference point: no hypervolume is added. To "
            "count them, set a worse REFERENCE in the search space."
        )


def _scope(results: Results) -> Iterator[str]:
    search, images = results.metadata.search, count_text(len(results.metadata.val_images), "validation image")
    size = short_text(results.metadata.size)
    if len(seeds := _seeds(results)) > 1:
        yield (
            f"Trials have seeds of their own ({list_text(map(str, seeds))}), at size {size!r}, evaluated on {images}; "
            "their upstream artifacts were trained once. The variation with other fidelity generators, auto-encoders "
            "or training images is unknown."
        )
        return
    yield (
        f"This is one study with one seed ({search.seed}), at size {size!r}, evaluated on {images}. The variation with "
        "other seeds or images is unknown, and small differences between points or groups may be chance."
    )


def _seeds(results: Results) -> list[int]:
    """Return the seeds of the trials' own stages."""
    points = results.points[is_of_trial(results.points)]
    return sorted(points["config.seed"].dropna().astype(int).unique()) if "config.seed" in points else []


def _unequal_budgets(results: Results) -> Iterator[str]:
    """Say where the main groups' budgets differ by over 5%: fronts compare fairly only at equal budget."""
    groups = main_groups(results)
    seconds = [group.device_seconds for group in groups]
    if len(seconds) < 2 or max(seconds) <= 1.05 * min(seconds):
        return
    parts = list_text(f"{duration_text(group.device_seconds)} with {short_text(group.value)}" for group in groups)
    yield f"Budgets differ ({parts}), so a larger hypervolume may only mean more device time."


def _unequal_evaluations(results: Results) -> Iterator[str]:
    """Say where a group's trials were evaluated more often: each point is a chance to be on a front."""
    groups = [group for group in main_groups(results) if group.trials]
    times = [group.points / group.trials for group in groups]
    if len(times) < 2 or max(times) <= 1.2 * min(times):
        return
    parts = list_text(
        f"{number_text(count, 2)} ({short_text(group.value)})" for count, group in zip(times, groups, strict=True)
    )
    yield (
        f"Trials were evaluated unequally often, {parts} times on average, and each evaluation is a chance to be on a "
        "front: analysis/report.py --last-points compares their last points alone."
    )
