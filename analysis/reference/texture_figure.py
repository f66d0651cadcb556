"""The figure of `texture_penalty.py`: the share that AESOP's loss penalises, by bottleneck."""

from fractions import Fraction
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.plots import COLOURS, MARKERS, SETTINGS
from analysis.reference.perturbations import KINDS

_OFFSET = 1.03
"""Ratio between the x positions of one auto-encoder's marks, which may be equal otherwise."""


def draw_penalties(table: pd.DataFrame, scale: int) -> Figure:
    """Draw AESOP's shares over the compression ratio, a line for each kind of perturbation; open marks: an ideal A.

    Args:
        table: of `texture_penalty.summarise`.
        scale: of downsampling; an LR image has 1 / scale^2 of the numbers.
    """
    aesop, ideal = (table[table["loss"] == loss] for loss in ("aesop", "ideal"))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(1, color="#333333", linestyle="--", linewidth=1.2, label="pixel loss")
        for place, kind in enumerate(KINDS):
            offset = _OFFSET ** (place - (len(KINDS) - 1) / 2)
            _draw_kind(axes, aesop[aesop["kind"] == kind], offset, place)
            _draw_open(axes, offset / scale**2, ideal[ideal["kind"] == kind]["share"], COLOURS[place], MARKERS[place])
        _draw_open(axes, [], [], "#777777", "o", label="ideal: A passes what downsampling keeps")
        _label_axes(axes, aesop, scale)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _draw_kind(axes: Axes, part: pd.DataFrame, offset: float, place: int) -> None:
    part = part.sort_values("compression")
    look: Any = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 5.5, "linewidth": 1.2}
    margin = (part["high"] - part["share"]).fillna(0)
    label = KINDS[part["kind"].iloc[0]]
    axes.errorbar(part["compression"] * offset, part["share"], yerr=margin, capsize=2.5, label=label, **look)


def _draw_open(axes: Axes, x: Any, y: Any, colour: str, marker: str, **more: Any) -> None:
    axes.plot(
        x, y, marker=marker, markersize=10, markerfacecolor="none", markeredgecolor=colour, linestyle="none", **more
    )


def _label_axes(axes: Axes, aesop: pd.DataFrame, scale: int) -> None:
    """Label the axes, with ticks at the bottlenecks."""
    axes.set_xscale("log")
    about = aesop.drop_duplicates(["channels", "factor"])
    names = [
        f"{each.channels:.0f} at 1/{each.factor:.0f}\n{Fraction(int(each.channels), 3 * int(each.factor) ** 2)}"
        for each in about.itertuples()
    ]
    axes.set_xticks(about["compression"], names)
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(1 / scale**2, about["compression"].min()) / 1.3, about["compression"].max() * 1.3)
    axes.set_ylim(-0.04, max(1.1, axes.get_ylim()[1]))
    axes.set_xlabel("bottleneck: channels at 1 / factor of the image's sides, and compression ratio")
    axes.set_ylabel("AESOP loss / pixel L1 of the same perturbation")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
