"""The report's figures as PNG and SVG files, with their captions."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures.loss_maps import LossMaps, draw_loss_maps, loss_maps
from analysis.figures.overview import draw_overview
from analysis.figures.plots import draw_front, save_figure
from analysis.figures.study import compute_parts, draw_anytime, draw_bands, draw_compute, draw_slices, ranked_settings
from analysis.formatting import duration_text, list_text, metric_name, path_label
from analysis.statistics.compute import Statistics
from analysis.statistics.groups import GroupComparison
from analysis.statistics.tables import Results

FOLDER = "figures"


@dataclass(frozen=True)
class SavedFigure:
    """A figure's files.

    Attributes:
        png, svg: the files.
        text: caption and alternative text.
        width: in inches.
    """

    png: Path
    svg: Path
    text: str
    width: float


@dataclass(frozen=True)
class SavedFigures:
    """All figures by name, and why others could not be drawn."""

    figures: Mapping[str, SavedFigure]
    problems: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for saved in self.figures.values() for path in (saved.png, saved.svg))


def save_figures(
    run_dir: Path, output: Path, results: Results, statistics: Statistics, artifacts: Path
) -> SavedFigures:
    """Draw and write every figure that the study has data for.

    `front` goes to the folder itself, the others to `figures/`.

    Args:
        run_dir: of the study, with its sample crops.
        output: the folder.
        results: the study.
        statistics: of the study.
        artifacts: with the study's auto-encoders, for the loss maps.

    Returns:
        By name: `front`, `bands`, `overview`, `anytime`, `slices`, `compute`, `loss_maps`.
    """
    saved = {"front": _save(output / "front", draw_front(results), "")}
    for name, figure, text in _figures(results, statistics):
        saved[name] = _save(output / FOLDER / name, figure, text)
    try:
        maps = loss_maps(run_dir, results, artifacts)
    except ValueError as error:
        return SavedFigures(saved, (f"The loss maps could not be drawn: {error}.",))
    if maps:
        saved["loss_maps"] = _save(output / FOLDER / "loss_maps", draw_loss_maps(maps), _maps_text(maps))
    return SavedFigures(saved, ())


def _save(place: Path, figure: Figure, text: str) -> SavedFigure:
    png, svg = place.with_suffix(".png"), place.with_suffix(".svg")
    save_figure(figure, png, "png")
    figure.set_layout_engine("none")  # the layout is done, and takes as long as drawing
    save_figure(figure, svg, "svg")
    return SavedFigure(png, svg, text, float(figure.get_figwidth()))


def _figures(results: Results, statistics: Statistics) -> Iterator[tuple[str, Figure, str]]:
    main = _main_groups(results, statistics)
    if main is not None and statistics.bands[main.path]:
        yield "bands", draw_bands(main, statistics.bands[main.path], results.goals), bands_text(main)
        yield "overview", draw_overview(results, main, statistics.bands[main.path]), overview_text(main)
    if len(results.points):
        yield "anytime", draw_anytime(results, main), anytime_text(main)
    if ranked_settings(results, statistics.importances):
        yield "slices", draw_slices(results, statistics.importances), slices_text(results, statistics)
    if compute_parts(results):
        yield "compute", draw_compute(results), _compute_text(results)


def _maps_text(maps: tuple[LossMaps, ...]) -> str:
    means = list_text(f"{each.pixel.mean():.4f} and {each.aesop.mean():.4f} ({each.title})" for each in maps)
    return f"HR, the point's crop, and maps of the pixel loss and the AESOP loss. Mean pixel and AESOP loss: {means}."


def _main_groups(results: Results, statistics: Statistics) -> GroupComparison | None:
    return statistics.groups[results.groups[0]] if results.groups else None


def bands_text(comparison: GroupComparison) -> str:
    """Return the caption of the bands."""
    surfaces = (
        " Broken lines: reached by all seeds (dashed), by half of them (dash-dotted), by any of them (dotted)."
        if any(len(group.seeds) > 1 for group in comparison.groups)
        else ""
    )
    return (
        f"The front of each {path_label(comparison.path)} with its pointwise 95% band over the {comparison.images} "
        "validation images, by bootstrap. The effect of an image on all points alike is subtracted: bands show how far "
        f"fronts may move against each other.{surfaces}"
    )


def overview_text(comparison: GroupComparison) -> str:
    """Return the caption of the overview."""
    return (
        f"Left: the trials of each {path_label(comparison.path)} with bicubic interpolation, the fidelity generator "
        "and interpolations with it. Right: the trials, each group's front, and its band over the validation images."
    )


def anytime_text(comparison: GroupComparison | None) -> str:
    """Return the caption of the anytime curves."""
    whole = "Hypervolume of all points against the cost of the study."
    if comparison is None or len(comparison.groups) < 2:
        return whole
    return (
        f"{whole} Right: of each {path_label(comparison.path)} as if it had been alone and had paid for its upstream "
        "stages; up to the dotted line all groups can be compared."
    )


def slices_text(results: Results, statistics: Statistics) -> str:
    """Return the caption of the slices: what they are, and which setting explains each objective best."""
    explained = []
    for objective in results.objectives[:2]:
        shares = statistics.importances.get(objective.metric, {})
        best = max(shares, key=lambda name: shares[name], default=None)
        if best is not None and math.isfinite(shares[best]):
            explained.append(f"{path_label(best)} explains {shares[best]:.0%} of {metric_name(objective)}")
    what = "The last point of each trial against its sampled settings."
    if not explained:
        return f"{what} There are too few trials to estimate how much each setting explains."
    return (
        f"{what} By fANOVA over settings that all trials have, {list_text(explained)}. With few trials this is rough, "
        "and settings that the search preferred have more trials than others."
    )


def _compute_text(results: Results) -> str:
    parts = compute_parts(results)
    return f"Device time: {list_text(f'{duration_text(seconds)} for {name}' for name, seconds in parts.items())}."
