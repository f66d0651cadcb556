"""Figures at the size that a paper prints them."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis.figures.plots import SETTINGS, save_figure

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
"""Widths in inches at most conferences of the field."""
_WIDTH_OF_AN_ENTRY = 1.6


def for_paper(figure: Figure, width: float, height: float, *, font: float = 8) -> Figure:
    """Give a figure a size in inches and text of `font` points; lines and marks shrink with the text.

    It then needs no scaling in the paper, and its text is as large as the paper's.

    Returns:
        The same figure.
    """
    share = font / SETTINGS["font.size"]
    figure.set_size_inches(width, height)
    for text in figure.findobj(Text):
        text.set_fontsize(text.get_fontsize() * share)
    for line in figure.findobj(Line2D):
        line.set_linewidth(line.get_linewidth() * share)
        line.set_markersize(line.get_markersize() * share)
    _fold_legend(figure, max(1, int(width / (_WIDTH_OF_AN_ENTRY * share))), font - 1)
    return figure


def _fold_legend(figure: Figure, columns: int, font: float) -> None:
    """Replace the legend below the figure by one with at most `columns` columns."""
    for legend in list(figure.legends):
        handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
        legend.remove()
        figure.legend(
            handles=[handle for handle in handles if handle is not None],
            labels=labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=font,
        )


def save_both(figure: Figure, folder: Path, name: str) -> Sequence[Path]:
    """Write a figure as SVG and as PNG into a folder, which is created if needed."""
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    save_figure(figure, svg, "svg")
    save_figure(figure, png, "png")
    return svg, png
