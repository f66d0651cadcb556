"""The tables of the report, as text cells, and the page that holds them."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.figures.crops import crop_rows
from analysis.figures.plots import count_hidden
from analysis.formatting import (
    COST_TEXT,
    NOTHING,
    count_text,
    duration_text,
    metric_name,
    metric_text,
    number_text,
    path_heads,
    path_label,
    short_text,
)
from analysis.journal import StudyFacts
from analysis.page.chart import Bands, chart_data
from analysis.statistics.compute import Statistics
from analysis.statistics.dominance import Comparison
from analysis.statistics.findings import findings, limits
from analysis.statistics.fronts import front_of, group_fronts, group_values, is_interpolation
from analysis.statistics.tables import Results, metric_columns, sampled_paths

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table ready to print: a caption, column heads and rows of text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure of the page: its data URI, what it shows, in words, and its greatest width in rem."""

    uri: str
    text: str
    width: float


def render_page(
    run_dir: Path,
    results: Results,
    statistics: Statistics,
    *,
    figures: Mapping[str, PageFigure],
    problems: Sequence[str] = (),
    reload_seconds: int | None = None,
) -> str:
    """Render the report as one HTML page that loads nothing and runs one script: ours, by its hash.

    Args:
        run_dir: where the sample crops lie.
        results: the study.
        statistics: what was reckoned of it.
        figures: by name: `front`, for readers whose browser runs no scripts; `bands`, `course`, `slices`, `compute` and
            `loss_maps`, those that there are.
        problems: why others are not there.
        reload_seconds: how often the page shall load itself anew, while its study runs.
    """
    # Autoescape is given as True, not chosen by file name: the usual rule does not know the ending .html.j2.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    facts = results.facts
    crops = crop_rows(run_dir, results)
    script = (_TEMPLATES / "chart.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        facts=facts,
        findings=findings(results, statistics),
        limits=(*limits(results, statistics), *problems),
        cost=COST_TEXT[statistics.budget_unit],
        figures=figures,
        figure_text=figure_text(results),
        front=front_table(results, sampled_paths(results)),
        groups=[group_table(results, path) for path in facts.groups],
        comparisons=[
            comparison_table(found, f"By {path_label(path)}, at equal cost")
            for path, found in statistics.comparisons.items()
            if found
        ],
        crops=crops,
        chart=chart_data(run_dir, results, crop_rows=crops, bands=_chart_bands(statistics)),
        script=script,
        script_hash=_content_hash(script),
        reload_seconds=reload_seconds,
        trials=trial_table(results),
        artifacts=artifact_table(results),
        reuse=reuse_text(results),
        overhead=overhead_text(results),
        provenance=provenance_table(facts),
        images={part: facts.data.get(part, {}).get("images", []) for part in ("train", "val")},
        config=json.dumps(facts.config, indent=2, ensure_ascii=False),
    )


def _chart_bands(statistics: Statistics) -> Bands:
    return {
        (path, value): (band.across, band.low, band.high)
        for path, bands in statistics.bands.items()
        for value, band in bands.items()
    }


def front_table(results: Results, paths: Sequence[str]) -> TextTable:
    """The front, highest fidelity first: which point, its config at these paths, every metric."""
    facts, front = results.facts, front_of(results.points, results.facts)
    metrics = metric_columns(results)
    settings = {path: group_values(front, path) for path in paths}
    interpolated = bool(is_interpolation(front).any())
    rows = [
        (
            *_point_cells(point),
            *([_blend_text(point)] if interpolated else []),
            *(_setting_text(point, settings[path][index]) for path in paths),
            *(metric_text(point[metric]) for metric in metrics),
        )
        for index, point in front.iterrows()
    ]
    return TextTable(
        caption="The front",
        columns=(
            "trial",
            "iteration",
            *(["interpolation"] if interpolated else []),
            *path_heads(paths),
            *(metric_head(facts, metric) for metric in metrics),
        ),
        rows=tuple(rows),
    )


def group_table(results: Results, path: str) -> TextTable:
    """The groups of trials that share a value: their front, its hypervolume, and what they cost."""
    rows = [
        (
            short_text(group.value),
            str(group.trials),
            str(group.points),
            str(len(group.front)),
            metric_text(group.hypervolume),
            duration_text(group.seconds_per_iteration),
            duration_text(group.device_seconds),
        )
        for group in group_fronts(results.points, results.facts, path)
    ]
    heads = ("trials", "points", "on own front", "hypervolume", "time per iteration", "device time")
    return TextTable(caption=f"By {path_label(path)}", columns=(path_label(path), *heads), rows=tuple(rows))


def comparison_table(comparisons: Sequence[Comparison], caption: str = "Groups at equal budget") -> TextTable:
    """The same for people: the difference with its interval, and how sure it is."""
    rows = tuple(
        (
            f"{short_text(each.one)} against {short_text(each.other)}",
            metric_text(each.volumes[0]),
            metric_text(each.volumes[1]),
            f"{each.difference.estimate:+.3g}",
            _range(each),
            percent(each.difference.positive),
            percent(each.dominates),
            percent(each.dominated),
        )
        for each in comparisons
    )
    heads = ("hypervolume of the first", "of the second", "difference", "95% interval", "first larger")
    return TextTable(caption=caption, columns=("pair", *heads, "first dominates", "second dominates"), rows=rows)


def trial_table(results: Results) -> TextTable:
    """Every trial: its state with the cause, what was sampled, its best values."""
    trials, objectives = results.trials, results.facts.objectives
    params = [column for column in trials if column.startswith("param.")]
    rows = [
        (
            str(trial["trial"]),
            trial["state"],
            _cell(trial["cause"]),
            *(_cell(trial[column]) for column in params),
            str(trial["points"]),
            *(
                metric_text(trial[f"best.{objective.metric}"]) if trial["points"] else NOTHING
                for objective in objectives
            ),
            duration_text(_seconds(trial["device_seconds"])),
        )
        for _, trial in trials.iterrows()
    ]
    heads = (
        "trial",
        "state",
        "cause",
        *path_heads([column.removeprefix("param.") for column in params]),
        "points",
    )
    best = tuple(f"best {metric_name(objective)}" for objective in objectives)
    return TextTable(
        caption="State, settings and best values of every trial",
        columns=(*heads, *best, "device time"),
        rows=tuple(rows),
    )


def artifact_table(results: Results) -> TextTable:
    """Every shared artifact: how often it was trained, how many trials use it, what it cost."""
    rows = [
        (
            artifact["key"],
            artifact["stage"],
            artifact["state"],
            _cell(artifact["cause"]),
            str(artifact["trained"]),
            str(artifact["uses"]),
            _cell(artifact["iterations"]),
            duration_text(_seconds(artifact["device_seconds"])),
        )
        for _, artifact in results.artifacts.iterrows()
    ]
    heads = ("artifact", "stage", "state", "cause", "trained here", "uses", "iterations", "device time")
    return TextTable(caption="Shared artifacts", columns=heads, rows=tuple(rows))


def reuse_text(results: Results) -> str:
    """Say how many artifacts were trained and how often they were used."""
    artifacts = results.artifacts
    if not len(artifacts):
        return "No shared artifact has been made yet."
    trained, complete = artifacts["trained"], artifacts["state"] == "COMPLETE"
    here, found, again = (
        int((trained > 0).sum()),
        int(((trained == 0) & complete).sum()),
        int((trained > 1).sum()),
    )
    uses = count_text(int(artifacts["uses"].sum()), "use")
    conclusion = f"{again} of them trained more than once!" if again else "None was trained twice."
    size = count_text(len(artifacts), "artifact")
    return f"{size}: {here} trained in this study, {found} reused from another; {uses} by trials. {conclusion}"


def overhead_text(results: Results) -> str:
    """Say how long the orchestration took from sampling a trial to entering its training function."""
    trials = results.trials[results.trials["overhead_seconds"].notna()]
    if not len(trials):
        return "No trial has recorded its orchestration overhead."
    plain = trials[(trials["warm"].fillna(False) & ~trials["waited"].fillna(False)).to_numpy(dtype=bool)]
    if not len(plain):
        return f"{count_text(len(trials), 'trial')} recorded an overhead, none on a warm worker without waiting."
    seconds = plain["overhead_seconds"]
    return (
        f"From sampled to the training function entered, on a warm worker and without waiting "
        f"({len(plain)} of {count_text(len(trials), 'trial')}): median {duration_text(seconds.median())}, "
        f"longest {duration_text(seconds.max())}."
    )


def provenance_table(facts: StudyFacts) -> TextTable:
    """Where the numbers come from."""
    rows = (
        ("study", facts.name),
        ("search space", facts.space),
        ("recipe", facts.recipe),
        ("size", facts.size),
        ("task", facts.task),
        ("seed", str(facts.seed)),
        ("code version", facts.code_version),
        *((f"{part} data", _data_text(facts.data.get(part, {}))) for part in ("train", "val")),
    )
    return TextTable(caption="Study and data", columns=("what", "value"), rows=rows)


def _content_hash(script: str) -> str:
    """How a Content-Security-Policy names a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}"


def _data_text(data: Mapping[str, Any]) -> str:
    images = count_text(len(data.get("images", ())), "image")
    return f"{data.get('name', 'unnamed')}, {images}, fingerprint {data.get('fingerprint', NOTHING)}"


def figure_text(results: Results) -> str:
    """What the front's figure shows, and what lies outside it."""
    first, second = results.facts.objectives[:2]
    thin = " Thin step lines are the fronts of each group." if results.facts.groups else ""
    hidden = count_hidden(results.points, results.facts)
    outside = f" Outside the region shown: {count_text(hidden, 'point')}." if hidden else ""
    return (
        f"{metric_name(first)} against {metric_name(second)} of every point. Large outlined marks are on the "
        f"front of all points, the broad line.{thin} Faint lines follow a trial's iterations.{outside}"
    )


def _point_cells(point: pd.Series) -> tuple[str, str]:
    return ("fidelity", NOTHING) if pd.isna(point["trial"]) else (str(point["trial"]), _cell(point["iteration"]))


def _blend_text(point: pd.Series) -> str:
    """What an interpolation is of, for a table: "50% in weights, rest fidelity"."""
    if point["kind"] != "interpolation":
        return NOTHING
    return f"{point['interpolation.share']:.0%} in {point['interpolation.space']}, rest {short_text(point['interpolation.with'])}"


def _setting_text(point: pd.Series, value: str) -> str:
    # A fidelity generator knows nothing of what a study varies after it, whatever its config's defaults say.
    return NOTHING if pd.isna(point["trial"]) else short_text(value)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return NOTHING
    if isinstance(value, str):
        return short_text(value, 300)
    return number_text(value if isinstance(value, int | bool) else float(value))


def _seconds(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def metric_head(facts: StudyFacts, metric: str) -> str:
    """A metric's column head: an objective's name with its unit, another's own name."""
    named: Iterable[str] = (
        f"{metric_name(objective)} [{objective.unit}]" if objective.unit else metric_name(objective)
        for objective in facts.objectives
        if objective.metric == metric
    )
    return next(iter(named), short_text(metric))


def _range(each: Comparison) -> str:
    low, high = each.difference.low, each.difference.high
    return f"{low:+.3g} to {high:+.3g}" if math.isfinite(low) and math.isfinite(high) else NOTHING


def percent(share: float) -> str:
    """A probability; those that a thousand draws cannot tell from 0 or 1 as bounds."""
    if math.isnan(share):
        return NOTHING
    return "> 99.9%" if share > 0.999 else "< 0.1%" if share < 0.001 else f"{share:.1%}"
