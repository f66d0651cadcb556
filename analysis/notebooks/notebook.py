"""What the notebooks show of a study; where it lacks something, the sentence that says so.

A view takes a `Question` and gives what a cell ends with. Whatever it shows is made elsewhere in `analysis`.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.figures.crops import crop_rows
from analysis.figures.loss_maps import LossMaps, draw_loss_maps, loss_maps
from analysis.figures.plots import draw_front
from analysis.figures.saved import bands_text, course_text, slices_text
from analysis.figures.study import draw_bands, draw_course, draw_pixel_course, draw_slices
from analysis.formatting import list_text, path_label, short_text
from analysis.notebooks.group_figures import draw_metrics, draw_pace
from analysis.notebooks.group_tables import (
    autoencoder_table,
    dominance_table,
    metrics_table,
    mix_table,
    pace_table,
    win_table,
)
from analysis.notebooks.html import Shown, crop_sheet, picture, sentences, stack, table
from analysis.notebooks.loss_weights import draw_pair, weight_paths, weight_table
from analysis.notebooks.paper import for_paper, save_both
from analysis.notebooks.splits import Question, restricted, values_of
from analysis.page.page import comparison_table, figure_text, front_table, group_table, provenance_table
from analysis.statistics.conclusions import conclusions, what_varies
from analysis.statistics.dominance import Comparison, compare_all
from analysis.statistics.findings import findings, limits
from analysis.statistics.fronts import front_of, last_points
from analysis.statistics.groups import GroupComparison, contests
from analysis.statistics.tables import Results, sampled_paths


def about(question: Question) -> Shown:
    """Which study this is, and what it says of itself."""
    notes = question.results.facts.notes
    facts = table(provenance_table(question.results.facts))
    return stack(facts, sentences(notes)) if notes else facts


def found(question: Question) -> Shown:
    """What came out, in sentences."""
    return sentences(findings(question.results, question.statistics))


def not_told(question: Question) -> Shown:
    """What was left out, and what the study cannot tell."""
    return sentences(limits(question.results, question.statistics))


def front(question: Question) -> Shown:
    """The figure of all points, coloured by the first of the question's settings."""
    results = question.results
    if not len(results.points):
        return sentences(["This study has no point yet, so there is nothing to draw."])
    return picture(draw_front(results.points, results.facts), figure_text(results))


def members(question: Question) -> Shown:
    """Who is on the front."""
    results = question.results
    return table(front_table(results, sampled_paths(results)), "Nobody is on the front: no point counts yet.")


def groups(question: Question) -> Shown:
    """The groups by each of the question's settings: their fronts, and what they cost."""
    if question.refusal:
        return sentences([question.refusal])
    return stack(*(table(group_table(question.results, path)) for path in question.paths))


def mix(question: Question, second: str) -> Shown:
    """With which values of another setting each group was tried: where that differs, so may its front."""
    if question.refusal:
        return sentences([question.refusal])
    return table(mix_table(question.results, question.paths[0], second))


def bands(question: Question) -> Shown:
    """How far the fronts of the first setting's groups may move against each other with other images, or seeds."""
    contest = _main(question)
    if contest is None:
        return sentences([_lacks_groups(question)])
    found_bands = question.statistics.bands[contest.path]
    if not found_bands:
        return sentences(["No bands: they need points that were evaluated on at least three held-out images."])
    return picture(draw_bands(contest, found_bands, question.results.facts), bands_text(contest))


def course(question: Question) -> Shown:
    """Hypervolume against what was spent."""
    contest = _main(question)
    if not len(question.results.points):
        return sentences(["This study has no point yet, so no hypervolume was reached."])
    return picture(draw_course(question.results, contest), course_text(contest))


def comparison(question: Question) -> Shown:
    """Which group is better at equal cost, and how sure that is: in sentences, and a table for each setting."""
    parts = [
        _compared(path, found_, "equal cost") for path, found_ in question.statistics.comparisons.items() if found_
    ]
    if not parts:
        return sentences([_lacks_groups(question)])
    return stack(*parts, sentences(what_varies(question.statistics.contests)))


def at_equal_pixels(question: Question) -> Shown:
    """The same where cost is counted in pixels that the trials saw, whatever time they took."""
    if question.refusal:
        return sentences([question.refusal])
    path = question.paths[0]
    contest = contests(question.results, [path], budget_unit="pixels_seen")[path]
    if len(contest.groups) < 2 or not contest.images:
        return sentences([_lacks_groups(question)])
    if not all(group.total for group in contest.groups):
        return sentences(["This study did not record how many pixels its trials saw."])
    text = (
        f"How the hypervolume of each {path_label(path)} grew with the pixels that its trials saw, as if it had been "
        "alone; upstream stages are not counted. Up to the dotted line all can be compared."
    )
    rows = table(comparison_table(compare_all(contest), f"By {path_label(path)}, at equal pixels"))
    return stack(picture(draw_pixel_course(contest), text), rows)


def who_beats_whom(question: Question) -> Shown:
    """Each group of the first setting against each other, as a square."""
    path, pairs = next(((path, each) for path, each in question.statistics.comparisons.items() if each), ("", ()))
    if not pairs:
        return sentences([_lacks_groups(question)])
    return stack(table(win_table(pairs, path)), table(dominance_table(pairs, path)))


def metrics(question: Question) -> Shown:
    """All metrics of each group's own front members."""
    if question.refusal:
        return sentences([question.refusal])
    path = question.paths[0]
    rows = metrics_table(question.results, path)
    if not rows.rows:
        return sentences(["Nobody is on the front of any group, so there are no metrics to compare."])
    text = f"Each metric of the members of each {path_label(path)}'s own front; lines are means."
    return stack(picture(draw_metrics(question.results, path), text), table(rows))


def crops(question: Question, chosen: pd.DataFrame | None = None) -> Shown:
    """Crops of held-out images: references, and chosen points or some of the front."""
    rows = crop_rows(question.study.run_dir, question.results, chosen)
    return crop_sheet(rows, "This study's directory holds no sample crops, so there is nothing to look at.")


def paper_figure(question: Question, *, width: float, height: float, folder: str | None = None) -> Shown:
    """The front's figure as a paper prints it; written to a folder if one is named."""
    results = question.results
    if not len(results.points):
        return sentences(["This study has no point yet, so there is no figure to print."])
    figure = for_paper(draw_front(results.points, results.facts), width, height)
    shown = picture(figure, f"{width:g} x {height:g} inches", dpi=300)
    if folder is None:
        return stack(shown, sentences(["Not written: name a folder."]))
    return stack(shown, sentences([f"Written: {list_text(map(str, save_both(figure, Path(folder), 'front')))}."]))


def autoencoders(question: Question) -> Shown:
    """What each auto-encoder lets through."""
    return table(autoencoder_table(question.results), "This study used no auto-encoder.")


def what_losses_see(question: Question, path: str) -> Shown:
    """Where the pixel loss and the AESOP loss are high, with the auto-encoder of each value of a setting."""
    results = question.results
    parts = [
        _maps_of(question, restricted(results, path, value), f"{path_label(path)} {short_text(value)}")
        for value in values_of(results, path)
    ]
    shown = [part for part in parts if part is not None]
    if shown:
        return stack(*shown)
    return sentences(
        [
            "No loss maps: they need sample crops of points on the front of trials with an auto-encoder, and that "
            f"auto-encoder in {question.study.artifacts} (or in the folder that AESOP_ARTIFACTS names)."
        ]
    )


def _maps_of(question: Question, results: Results, what: str) -> Shown | None:
    try:
        maps: tuple[LossMaps, ...] = loss_maps(question.study.run_dir, results, question.study.artifacts)
    except ValueError as error:
        return sentences([f"No loss maps of {what}: {error}."])
    if not maps:
        return None
    text = (
        f"With {what}: HR, the point's crop, and where either loss is high. Bright is high; all maps of this figure "
        "have one scale."
    )
    return picture(draw_loss_maps(maps), text)


def weights(question: Question) -> Shown:
    """The loss weights: what they explain, and where the front's lie."""
    lacking = "This study does not vary the weight of any loss term."
    return table(weight_table(question.results, question.statistics.shares), lacking)


def weight_slices(question: Question) -> Shown:
    """Each objective against each loss weight."""
    paths = weight_paths(question.results, question.statistics.shares)
    if not paths:
        return sentences(["This study does not vary the weight of any loss term, so there is nothing to draw."])
    figure = draw_slices(question.results, question.statistics.shares, paths)
    return picture(figure, slices_text(question.results, question.statistics))


def weight_pair(question: Question, across: str | None = None, up: str | None = None) -> Shown:
    """Two weights at a time, coloured by the objectives; by default the two that explain most."""
    paths = weight_paths(question.results, question.statistics.shares)
    asked = [path for path in (across, up) if path is not None]
    unknown = [path for path in asked if path not in paths]
    if unknown:
        known = list_text(paths) if paths else "none"
        return sentences([f"{list_text(unknown)} is not a weight that differs between trials; these do: {known}."])
    pair = [*asked, *(path for path in paths if path not in asked)][:2]
    if len(pair) < 2:
        return sentences(["This study varies fewer than two weights of loss terms, so there is no pair to look at."])
    text = (
        f"The last point of each trial by {path_label(pair[0])} and {path_label(pair[1])}: brighter is better. "
        "Trials that are on the front are ringed."
    )
    return picture(draw_pair(question.results, *pair), text)


def pace(question: Question, path: str, second: str = "") -> Shown:
    """Seconds an iteration, by group."""
    trials = last_points(question.results.points)
    if not len(trials) or f"config.{path}" not in trials:
        return sentences([f"No trial of this study has both a point and {path}, so there is no time to show."])
    rows = table(pace_table(question.results, path))
    if not trials["device_seconds"].notna().any():
        return stack(rows, sentences(["This study did not record device time."]))
    marks = second if len(values_of(question.results, second)) > 1 else ""
    text = f"What an iteration of each trial took, by {path_label(path)}."
    return stack(picture(draw_pace(question.results, path, marks), text), rows)


def on_front(question: Question) -> pd.DataFrame:
    """The front's rows of the points table, highest fidelity first."""
    return front_of(question.results.points, question.results.facts)


def _main(question: Question) -> GroupComparison | None:
    """The groups of the question's first setting; None where it has none that can be compared."""
    return question.statistics.contests[question.paths[0]] if question.paths else None


def _compared(path: str, pairs: Sequence[Comparison], how: str) -> Shown:
    rows = table(comparison_table(pairs, f"By {path_label(path)}, at {how}"))
    told = list(conclusions(path, pairs))
    return stack(sentences(told), rows) if told else rows


def _lacks_groups(question: Question) -> str:
    return question.refusal or (
        "Fewer than two groups have points that count and were evaluated on every held-out image, so there is nothing to "
        "compare."
    )
