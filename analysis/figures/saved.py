"""The report's figures as files: PNG to look at, SVG for papers."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures.loss_maps import LossMaps, draw_loss_maps, loss_maps
from analysis.figures.overview import draw_overview
from analysis.figures.plots import draw_front, save_figure
from analysis.figures.study import compute_parts, draw_bands, draw_compute, draw_course, draw_slices, ranked_settings
from analysis.formatting import duration_text, list_text, metric_name, path_label
from analysis.page.exports import replace_file
from analysis.statistics.compute import Statistics
from analysis.statistics.groups import GroupComparison
from analysis.statistics.tables import Results

FOLDER = "figures"


@dataclass(frozen=True)
class SavedFigure:
    """Where a figure is, what it shows, for those who cannot see it, and how wide it is in inches."""

    png: Path
    svg: Path
    text: str
    width: float


@dataclass(frozen=True)
class SavedFigures:
    """All figures by name, and why any could not be drawn."""

    figures: Mapping[str, SavedFigure]
    problems: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they are."""
        return tuple(path for saved in self.figures.values() for path in (saved.png, saved.svg))


def save_figures(run_dir: Path, out: Path, results: Results, statistics: Statistics, artifacts: Path) -> SavedFigures:
    """Draw and write every figure that there is something for.

    `front` lies in the folder itself, the others in `figures/`.

    Args:
        run_dir: of the study, with its sample crops.
        out: the folder.
        results: the study.
        statistics: what was reckoned of it.
        artifacts: with the study's auto-encoders, for the loss maps.

    Returns:
        By name: `front`, `bands`, `overview`, `course`, `slices`, `compute`, `loss_maps`.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    saved = {"front": _save(out / "front", draw_front(results.points, results.facts), "")}
    for name, figure, text in _figures(results, statistics):
        saved[name] = _save(out / FOLDER / name, figure, text)
    try:
        maps = loss_maps(run_dir, results, artifacts)
    except ValueError as error:
        return SavedFigures(saved, (f"The loss maps could not be drawn: {error}.",))
    if maps:
        saved["loss_maps"] = _save(out / FOLDER / "loss_maps", draw_loss_maps(maps), _maps_text(maps))
    return SavedFigures(saved, ())


def _save(place: Path, figure: Figure, text: str) -> SavedFigure:
    png, svg = place.with_suffix(".png"), place.with_suffix(".svg")
    replace_file(png, lambda path: save_figure(figure, path, "png"))
    figure.set_layout_engine("none")  # everything has its place now: to find it takes as long as to draw
    replace_file(svg, lambda path: save_figure(figure, path, "svg"))
    return SavedFigure(png, svg, text, float(figure.get_figwidth()))


def _figures(results: Results, statistics: Statistics) -> Iterator[tuple[str, Figure, str]]:
    main = _main_contest(results, statistics)
    if main is not None and statistics.bands[main.path]:
        yield "bands", draw_bands(main, statistics.bands[main.path], results.facts), bands_text(main)
        yield "overview", draw_overview(results, main, statistics.bands[main.path]), overview_text(main)
    if len(results.points):
        yield "course", draw_course(results, main), course_text(main)
    if ranked_settings(results, statistics.shares):
        yield "slices", draw_slices(results, statistics.shares), slices_text(results, statistics)
    if compute_parts(results):
        yield "compute", draw_compute(results), _compute_text(results)


def _maps_text(maps: tuple[LossMaps, ...]) -> str:
    means = list_text(f"{each.pixel.mean():.4f} and {each.aesop.mean():.4f} ({each.title})" for each in maps)
    return f"HR, the point's crop, and where either loss is high. Mean pixel and AESOP loss: {means}."


def _main_contest(results: Results, statistics: Statistics) -> GroupComparison | None:
    return statistics.contests[results.facts.groups[0]] if results.facts.groups else None


def bands_text(contest: GroupComparison) -> str:
    """What the bands of a contest are."""
    surfaces = (
        " Broken lines: what all seeds (dashed), half of them (dash-dotted) and any of them (dotted) reach."
        if any(len(group.seeds) > 1 for group in contest.groups)
        else ""
    )
    return (
        f"Each {path_label(contest.path)}'s front with its pointwise 95% band over the {contest.images} held-out "
        "images, by bootstrap, less what an image does to all points alike (some images are hard for all): bands say "
        f"how far fronts may move against each other.{surfaces}"
    )


def overview_text(contest: GroupComparison) -> str:
    """What the two halves of the overview show."""
    return (
        f"Left: the runs of each {path_label(contest.path)} beside bicubic interpolation, the fidelity generator and "
        "interpolations with it. Right: the runs, each group's front, and its band over the held-out images."
    )


def course_text(contest: GroupComparison | None) -> str:
    """What the curves of hypervolume against cost are."""
    whole = "How the hypervolume of all points grew with what the study spent."
    if contest is None or len(contest.groups) < 2:
        return whole
    return (
        f"{whole} Right: the same for each {path_label(contest.path)} as if it had been alone and had paid for what it "
        "starts from; up to the dotted line all can be compared."
    )


def slices_text(results: Results, statistics: Statistics) -> str:
    """What slices are, and what explains the objectives best."""
    told = []
    for objective in results.facts.objectives[:2]:
        shares = statistics.shares.get(objective.metric, {})
        best = max(shares, key=lambda name: shares[name], default=None)
        if best is not None and math.isfinite(shares[best]):
            told.append(f"{path_label(best)} explains {shares[best]:.0%} of {metric_name(objective)}")
    what = "The last point of each trial against what was sampled for it."
    if not told:
        return f"{what} There are too few trials to say how much each setting explains."
    return (
        f"{what} By fANOVA over settings that all trials have, {list_text(told)}. Of few trials that is rough, and a "
        "search that prefers some settings shows the others less."
    )


def _compute_text(results: Results) -> str:
    parts = compute_parts(results)
    return f"Device time: {list_text(f'{duration_text(seconds)} for {name}' for name, seconds in parts.items())}."
