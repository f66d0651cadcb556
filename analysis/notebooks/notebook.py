"""The cells of the notebooks: each function returns a cell's output, or the sentence that says what the study lacks.

The figures, tables and sentences are made elsewhere in `analysis`.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.figures.crops import crop_rows
from analysis.figures.loss_maps import LossMaps, draw_loss_maps, loss_maps
from analysis.figures.plots import draw_front
from analysis.figures.saved import anytime_text, bands_text, slices_text
from analysis.figures.study import draw_anytime, draw_bands, draw_pixel_anytime, draw_slices
from analysis.formatting import list_text, path_label, short_text
from analysis.notebooks.group_figures import draw_iteration_times, draw_metrics
from analysis.notebooks.group_tables import (
    autoencoder_table,
    cross_table,
    dominance_table,
    iteration_cost_table,
    metrics_table,
    win_table,
)
from analysis.notebooks.html import CellOutput, crop_sheet, picture, sentences, stack, table
from analysis.notebooks.loss_weights import draw_pair, weight_paths, weight_table
from analysis.notebooks.paper import for_paper, save_both
from analysis.notebooks.splits import Split, restricted, values_of
from analysis.page.page import figure_text
from analysis.page.tables import comparison_table, front_table, group_table, provenance_table
from analysis.statistics.conclusions import conclusions, what_varies
from analysis.statistics.dominance import Comparison, compare_all
from analysis.statistics.findings import findings
from analysis.statistics.fronts import front_of, last_points
from analysis.statistics.groups import GroupComparison, compare_groups
from analysis.statistics.limits import limits
from analysis.statistics.tables import Results, sampled_paths

NO_POINT = "This study has no point yet, so there is nothing to draw."


def about(split: Split) -> CellOutput:
    """Return the study's provenance and its notes."""
    notes = split.results.metadata.notes
    provenance = table(provenance_table(split.results.metadata))
    return stack(provenance, sentences(notes)) if notes else provenance


def summary(split: Split) -> CellOutput:
    """Return the study's findings in sentences."""
    return sentences(findings(split.results, split.statistics))


def limitations(split: Split) -> CellOutput:
    """Return what was excluded, and what the study cannot show."""
    return sentences(limits(split.results, split.statistics))


def front(split: Split) -> CellOutput:
    """Return the figure of all points, coloured by the split's first setting."""
    if not len(split.results.points):
        return sentences([NO_POINT])
    return picture(draw_front(split.results), figure_text(split.results))


def front_members(split: Split) -> CellOutput:
    """Return the table of the points on the front."""
    results = split.results
    return table(front_table(results, sampled_paths(results)), "The front is empty: no point counts yet.")


def front_points(split: Split) -> pd.DataFrame:
    """Return the front's rows of the points table, highest fidelity first."""
    return front_of(split.results.points, split.results.goals)


def groups(split: Split) -> CellOutput:
    """Return the groups by each of the split's settings: their fronts, and what they cost."""
    if split.refusal:
        return sentences([split.refusal])
    return stack(*(table(group_table(split.results, path)) for path in split.paths))


def cross_tabulation(split: Split, second: str) -> CellOutput:
    """Return how many trials each group has with each value of another setting."""
    if split.refusal:
        return sentences([split.refusal])
    return table(cross_table(split.results, split.paths[0], second))


def bands(split: Split) -> CellOutput:
    """Return the bands of the first setting's groups over other images, or seeds."""
    groups = _main_groups(split)
    if groups is None:
        return sentences([_lacks_groups(split)])
    found = split.statistics.bands[groups.path]
    if not found:
        return sentences(["No bands: they need points that were evaluated on at least three validation images."])
    return picture(draw_bands(groups, found, split.results.goals), bands_text(groups))


def anytime(split: Split) -> CellOutput:
    """Return the curves of hypervolume against cost."""
    groups = _main_groups(split)
    if not len(split.results.points):
        return sentences(["This study has no point yet, so it has no hypervolume."])
    return picture(draw_anytime(split.results, groups), anytime_text(groups))


def comparison(split: Split) -> CellOutput:
    """Return the comparison of groups at equal cost: conclusions, and a table for each setting."""
    parts = [_compared(path, pairs) for path, pairs in split.statistics.comparisons.items() if pairs]
    if not parts:
        return sentences([_lacks_groups(split)])
    return stack(*parts, sentences(what_varies(split.statistics.groups)))


def at_equal_pixels(split: Split) -> CellOutput:
    """Return the comparison at equal numbers of pixels that the trials saw, whatever time they took."""
    if split.refusal:
        return sentences([split.refusal])
    path = split.paths[0]
    groups = compare_groups(split.results, [path], budget_unit="pixels_seen")[path]
    if len(groups.groups) < 2 or not groups.images:
        return sentences([_lacks_groups(split)])
    if not all(group.total for group in groups.groups):
        return sentences(["This study did not record how many pixels its trials saw."])
    text = (
        f"Hypervolume of each {path_label(path)} against the pixels that its trials saw, as if it had been alone; "
        "upstream stages are not counted. Up to the dotted line all groups can be compared."
    )
    rows = table(comparison_table(compare_all(groups), f"By {path_label(path)}, at equal pixels"))
    return stack(picture(draw_pixel_anytime(groups), text), rows)


def pairwise(split: Split) -> CellOutput:
    """Return each group of the first setting against each other, as squares of probabilities."""
    path, pairs = next(((path, each) for path, each in split.statistics.comparisons.items() if each), ("", ()))
    if not pairs:
        return sentences([_lacks_groups(split)])
    return stack(table(win_table(pairs, path)), table(dominance_table(pairs, path)))


def metrics(split: Split) -> CellOutput:
    """Return all metrics of each group's own front members."""
    if split.refusal:
        return sentences([split.refusal])
    path = split.paths[0]
    rows = metrics_table(split.results, path)
    if not rows.rows:
        return sentences(["The front of every group is empty, so there are no metrics to compare."])
    text = f"Each metric of the members of each {path_label(path)}'s own front; lines are means."
    return stack(picture(draw_metrics(split.results, path), text), table(rows))


def crops(split: Split, chosen: pd.DataFrame | None = None) -> CellOutput:
    """Return crops of validation images: of references, and of chosen points or some of the front."""
    rows = crop_rows(split.study.run_dir, split.results, chosen)
    return crop_sheet(rows, "This study's directory holds no sample crops, so there is nothing to show.")


def paper_figure(split: Split, *, width: float, height: float, folder: str | None = None) -> CellOutput:
    """Return the front's figure at the size of a paper's; written to a folder if one is named."""
    if not len(split.results.points):
        return sentences([NO_POINT])
    figure = for_paper(draw_front(split.results), width, height)
    shown = picture(figure, f"{width:g} x {height:g} inches", dpi=300)
    if folder is None:
        return stack(shown, sentences(["Not written: name a folder."]))
    return stack(shown, sentences([f"Written: {list_text(map(str, save_both(figure, Path(folder), 'front')))}."]))


def autoencoders(split: Split) -> CellOutput:
    """Return the metrics of each auto-encoder."""
    return table(autoencoder_table(split.results), "This study used no auto-encoder.")


def loss_map_figures(split: Split, path: str) -> CellOutput:
    """Return maps of the pixel loss and the AESOP loss, with the auto-encoder of each value of a setting."""
    results = split.results
    parts = [
        _maps_of(split, restricted(results, path, value), f"{path_label(path)} {short_text(value)}")
        for value in values_of(results, path)
    ]
    shown = [part for part in parts if part is not None]
    if shown:
        return stack(*shown)
    return sentences(
        [
            "No loss maps: they need sample crops of points on the front of trials with an auto-encoder, and that "
            f"auto-encoder in {split.study.artifacts} (or in the folder that AESOP_ARTIFACTS names)."
        ]
    )


def _maps_of(split: Split, results: Results, what: str) -> CellOutput | None:
    try:
        maps: tuple[LossMaps, ...] = loss_maps(split.study.run_dir, results, split.study.artifacts)
    except ValueError as error:
        return sentences([f"No loss maps of {what}: {error}."])
    if not maps:
        return None
    text = (
        f"With {what}: HR, the point's crop, and maps of the pixel loss and the AESOP loss. Bright is high; all maps "
        "of this figure have one scale."
    )
    return picture(draw_loss_maps(maps), text)


def weights(split: Split) -> CellOutput:
    """Return the loss weights: their importances, and their ranges on the front."""
    lacking = "This study does not vary the weight of any loss term."
    return table(weight_table(split.results, split.statistics.importances), lacking)


def weight_slices(split: Split) -> CellOutput:
    """Return each objective against each loss weight."""
    paths = weight_paths(split.results, split.statistics.importances)
    if not paths:
        return sentences(["This study does not vary the weight of any loss term, so there is nothing to draw."])
    figure = draw_slices(split.results, split.statistics.importances, paths)
    return picture(figure, slices_text(split.results, split.statistics))


def weight_pair(split: Split, across: str | None = None, up: str | None = None) -> CellOutput:
    """Return two weights against each other, coloured by the objectives; by default the two most important ones."""
    paths = weight_paths(split.results, split.statistics.importances)
    chosen = [path for path in (across, up) if path is not None]
    unknown = [path for path in chosen if path not in paths]
    if unknown:
        known = list_text(paths) if paths else "none"
        return sentences([f"{list_text(unknown)} is not a weight that differs between trials; these do: {known}."])
    pair = [*chosen, *(path for path in paths if path not in chosen)][:2]
    if len(pair) < 2:
        return sentences(["This study varies fewer than two weights of loss terms, so there is no pair to draw."])
    text = (
        f"The last point of each trial by {path_label(pair[0])} and {path_label(pair[1])}: brighter is better. "
        "Rings mark trials that are on the front."
    )
    return picture(draw_pair(split.results, *pair), text)


def iteration_cost(split: Split, path: str, second: str = "") -> CellOutput:
    """Return the seconds per iteration, by group."""
    trials = last_points(split.results.points)
    if not len(trials) or f"config.{path}" not in trials:
        return sentences([f"No trial of this study has both a point and {path}, so there is no time to show."])
    rows = table(iteration_cost_table(split.results, path))
    if not trials["device_seconds"].notna().any():
        return stack(rows, sentences(["This study did not record device time."]))
    marks = second if len(values_of(split.results, second)) > 1 else ""
    text = f"Time of an iteration of each trial, by {path_label(path)}."
    return stack(picture(draw_iteration_times(split.results, path, marks), text), rows)


def _main_groups(split: Split) -> GroupComparison | None:
    """Return the groups of the split's first setting; None where none can be compared."""
    return split.statistics.groups[split.paths[0]] if split.paths else None


def _compared(path: str, pairs: Sequence[Comparison]) -> CellOutput:
    rows = table(comparison_table(pairs, f"By {path_label(path)}, at equal cost"))
    lines = list(conclusions(path, pairs))
    return stack(sentences(lines), rows) if lines else rows


def _lacks_groups(split: Split) -> str:
    return split.refusal or (
        "Fewer than two groups have points that count and were evaluated on every validation image, so there is "
        "nothing to compare."
    )
