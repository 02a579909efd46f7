"""The history of a search."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.search.summary import SearchSummary
from lenet_exp.reports.files.figure_layout import BEST_COLOR, FigureLayout
from lenet_exp.reports.words.search_history import objective_words


def history_figure(
    searched: SearchSummary, comparison: Comparison, layout: FigureLayout
) -> Figure | None:
    """Draw the best value so far in a search versus the number of epochs trained.

    Return None if no run has finished.
    """
    steps = searched.improvements
    if not steps:
        return None
    epochs = [step.epochs for step in steps]
    bests = [step.best for step in steps]

    title = f"{comparison.dataset}: search ({searched.how}), best so far"
    figure, axes = layout.figure(title, 2.3 if layout.for_paper else 3.9)
    axes.step(
        [*epochs, searched.epochs],
        [*bests, bests[-1]],
        where="post",
        color=BEST_COLOR,
        linewidth=1.8,
    )
    axes.plot(epochs, bests, "o", color=BEST_COLOR, markersize=4)

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if searched.is_metric and comparison.metric.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("epochs trained")
    axes.set_ylabel(objective_words(searched))
    return figure
