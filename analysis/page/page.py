"""The report as one HTML page."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.figures.crops import CropRow, crop_rows
from analysis.figures.plots import count_hidden
from analysis.formatting import COST_TEXT, count_text, duration_text, metric_name, path_label
from analysis.page.chart import Bands, chart_data
from analysis.page.tables import (
    artifact_table,
    comparison_table,
    front_table,
    group_table,
    provenance_table,
    trial_table,
)
from analysis.statistics.compute import Statistics
from analysis.statistics.findings import findings
from analysis.statistics.limits import limits
from analysis.statistics.tables import Results, sampled_paths

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        uri: its data URI.
        text: what it shows.
        width: its greatest width in rem.
    """

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
        run_dir: of the study, with the sample crops.
        results: the study.
        statistics: of the study.
        figures: by name: `front`, for browsers without scripts, and those of `bands`, `anytime`, `slices`, `compute`
            and `loss_maps` that there are.
        problems: why others are missing.
        reload_seconds: how often the page reloads itself, while its study runs.
    """
    # Autoescape is given as True: jinja's rule by file name does not cover the ending .html.j2.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    crops = crop_rows(run_dir, results)
    script = (_TEMPLATES / "chart.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        metadata=results.metadata,
        **_sentences(results, statistics, problems),
        **_tables(results, statistics),
        figures=figures,
        crops=crops,
        chart=_chart(run_dir, results, statistics, crops),
        script=script,
        script_hash=_content_hash(script),
        reload_seconds=reload_seconds,
        images={part: info.images for part, info in results.metadata.images.items()},
        config=json.dumps(results.metadata.config, indent=2, ensure_ascii=False),
    )


def _sentences(results: Results, statistics: Statistics, problems: Sequence[str]) -> dict[str, Any]:
    return {
        "findings": findings(results, statistics),
        "limits": (*limits(results, statistics), *problems),
        "cost": COST_TEXT[statistics.budget_unit],
        "figure_text": figure_text(results),
        "reuse": reuse_text(results),
        "overhead": overhead_text(results),
    }


def _tables(results: Results, statistics: Statistics) -> dict[str, Any]:
    return {
        "front": front_table(results, sampled_paths(results)),
        "groups": [group_table(results, path) for path in results.groups],
        "comparisons": [
            comparison_table(found, f"By {path_label(path)}, at equal cost")
            for path, found in statistics.comparisons.items()
            if found
        ],
        "trials": trial_table(results),
        "artifacts": artifact_table(results),
        "provenance": provenance_table(results.metadata),
    }


def _chart(run_dir: Path, results: Results, statistics: Statistics, crops: Sequence[CropRow]) -> dict[str, Any] | None:
    bands: Bands = {
        (path, value): (band.across, band.low, band.high)
        for path, of_groups in statistics.bands.items()
        for value, band in of_groups.items()
    }
    return chart_data(run_dir, results, crop_rows=crops, bands=bands)


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
    """Say how long orchestration took from sampling a trial to entering its training function."""
    trials = results.trials[results.trials["overhead_seconds"].notna()]
    if not len(trials):
        return "No trial has recorded its orchestration overhead."
    plain = trials[(trials["warm"].fillna(False) & ~trials["waited"].fillna(False)).to_numpy(dtype=bool)]
    if not len(plain):
        return f"{count_text(len(trials), 'trial')} recorded an overhead, none on a warm worker without waiting."
    seconds = plain["overhead_seconds"]
    return (
        f"Overhead from sampling a trial to entering its training function, on a warm worker and without waiting "
        f"({len(plain)} of {count_text(len(trials), 'trial')}): median {duration_text(seconds.median())}, "
        f"longest {duration_text(seconds.max())}."
    )


def figure_text(results: Results) -> str:
    """Say what the front's figure shows, and how many points lie outside it."""
    first, second = results.objectives[:2]
    thin = " Thin step lines are the fronts of each group." if results.groups else ""
    hidden = count_hidden(results)
    outside = f" Outside the region shown: {count_text(hidden, 'point')}." if hidden else ""
    return (
        f"{metric_name(first)} against {metric_name(second)} of every point. Large outlined marks are on the front of "
        f"all points (broad line).{thin} Faint lines connect the points of a trial.{outside}"
    )


def _content_hash(script: str) -> str:
    """Return how a Content-Security-Policy names a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode('utf-8')).digest()).decode('ascii')}"
