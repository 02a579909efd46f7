"""Figures for a comparison, for use in MLflow and in papers: leaderboard, learning curves, accuracy
versus number of parameters, interaction of two flags, and search history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.text import Text

from lenet_exp.comparison.compare import Comparison
from lenet_exp.errors import ConfigError, one_of
from lenet_exp.reports.files.curves_plot import curves_figure
from lenet_exp.reports.files.figure_layout import PAPER_WIDTH, FigureLayout
from lenet_exp.reports.files.history_plot import history_figure
from lenet_exp.reports.files.interaction_plot import interaction_figure, interaction_of
from lenet_exp.reports.files.leaderboard_plot import leaderboard_figure
from lenet_exp.reports.files.parameters_plot import parameters_figure

PAPER_FONT = 7.5  # in points

# File names of the kinds of figures.
FILE_NAMES = {
    "leaderboard": "leaderboard",
    "curves": "learning_curves",
    "parameters": "accuracy_versus_parameters",
    "interaction": "interaction",
    "history": "search_history",
}

Drawing = Callable[[Comparison, FigureLayout], Figure | None]


def figures(comparison: Comparison) -> dict[str, Figure]:
    """Draw all figures that are available for a comparison, and return the figures, keyed by
    name.
    """
    if comparison.leader is None:
        return {}

    drawn = {}
    for kind, draw in _drawings(comparison).items():
        figure = draw(comparison, FigureLayout())
        if figure is not None:
            drawn[FILE_NAMES[kind]] = figure
    return drawn


def paper_figure(
    comparison: Comparison,
    kind: str,
    width: float = PAPER_WIDTH,
    flags: Sequence[str] | None = None,
) -> Figure:
    """Draw one figure for a paper, by default at the width of a column, with fonts of 7.5 points
    and without a title.

    Args:
        kind: `leaderboard`, `curves`, `parameters`, `interaction` (of the two flags that interact
            most), or `history`.
        width: width of the figure in inches.
        flags: for an interaction, the flag of the lines and the flag of the axis.

    Raises:
        ConfigError: the comparison does not have this figure; the message lists those that it has.
    """
    drawings = _drawings(comparison, flags)
    if kind == "parameters" and kind not in drawings:
        raise ConfigError("figure=parameters: all networks have the same number of parameters")
    draw = drawings[one_of("figure", kind, list(drawings))]

    figure = None
    if comparison.leader is not None:
        figure = draw(comparison, FigureLayout(width, for_paper=True))
    if figure is None:
        raise ConfigError(f"figure={kind}: the runs on {comparison.dataset} have no such figure")

    for axes in figure.axes:
        axes.tick_params(labelsize=PAPER_FONT)
    for text in figure.findobj(Text):
        text.set_fontsize(PAPER_FONT)
    return figure


def _drawings(comparison: Comparison, flags: Sequence[str] | None = None) -> dict[str, Drawing]:
    """Return the functions that draw the figures of a comparison, keyed by kind."""
    drawings: dict[str, Drawing] = {"leaderboard": leaderboard_figure, "curves": curves_figure}
    if comparison.sizes_differ:
        drawings["parameters"] = parameters_figure

    interactions = comparison.interactions
    if interactions is not None and interactions.pairs:
        interaction = interaction_of(interactions.pairs, flags)
        drawings["interaction"] = partial(interaction_figure, interaction)
    if comparison.searched is not None:
        drawings["history"] = partial(history_figure, comparison.searched)
    return drawings
