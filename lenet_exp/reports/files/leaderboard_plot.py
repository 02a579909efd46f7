"""The leaderboard figure of a comparison."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.reports.files.figure_layout import (
    BEST_COLOR,
    EXCLUDED_COLOR,
    MOST_CONFIGURATIONS,
    PAPER_NAME_LENGTH,
    FigureLayout,
)
from lenet_exp.reports.files.metric_axis import metric_label, metric_limits, set_up_metric_axis
from lenet_exp.reports.words.race_words import listed_seeds_words

SEED_COLOR = "#6b7280"


def leaderboard_figure(comparison: Comparison, layout: FigureLayout) -> Figure:
    """Draw the accuracies of the best configurations: means with 95% confidence intervals, and
    individual seeds.

    Configurations that could be the best are blue, and all others are gray. An arrow shows a mean
    or seed that is beyond the axis, with its value.
    """
    groups = [group for group in comparison.groups if group.n][:MOST_CONFIGURATIONS]
    may_be_best = could_be_best(comparison)
    names = layout.names(comparison, groups)

    values: list[float] = []
    for group in groups:
        values += group.accuracy.values()
        values += [end for end in group.interval if not math.isnan(end)]
    limits = metric_limits(comparison.metric, values)
    low = limits[0]

    title = f"{comparison.dataset}: leaderboard"
    if len(groups) == MOST_CONFIGURATIONS:
        title += f", best {MOST_CONFIGURATIONS}"
    title += listed_seeds_words(comparison)
    if layout.for_paper:
        height = 0.95 + 0.17 * len(groups)
        seed_size, dot_size = 5.0, 3.5
    else:
        height = 1.35 + 0.28 * len(groups)
        seed_size, dot_size = 9.0, 5.5
    figure, axes = layout.figure(title, height)

    # The legend has the first dot of each color.
    labels = {BEST_COLOR: "could be the best", EXCLUDED_COLOR: "other"}
    for y, group in enumerate(groups):
        color = BEST_COLOR if group in may_be_best else EXCLUDED_COLOR
        if not math.isnan(group.interval[0]):
            axes.plot(
                group.interval,
                [y, y],
                color=color,
                linewidth=2.2,
                alpha=0.55,
                solid_capstyle="butt",
            )

        # If the mean is beyond the axis, its arrow also stands for the seeds beyond the axis.
        seeds = list(group.accuracy.values())
        if group.mean < low:
            seeds = [value for value in seeds if value >= low]
        axes.plot(seeds, [y] * len(seeds), "|", color=SEED_COLOR, markersize=seed_size)
        label = labels.pop(color, None)
        axes.plot([group.mean], [y], "o", color=color, markersize=dot_size, label=label)

    axes.set_yticks(range(len(groups)), names, fontsize=8.5)
    axes.set_ylim(len(groups) - 0.4, -0.6)

    # Long names leave less room for the axis.
    longest = max(map(len, names))
    if not layout.for_paper:
        most_ticks = 6
    elif longest <= PAPER_NAME_LENGTH:
        most_ticks = 3
    else:
        most_ticks = 2
    axes.xaxis.set_major_locator(MaxNLocator(most_ticks))

    label = metric_label(comparison)
    if not layout.for_paper:
        label += ": mean (dot), 95% confidence interval (bar), seeds (ticks)"
    figure.supxlabel(label, fontsize="medium")
    set_up_metric_axis(axes, comparison.metric, limits, "", across=True)
    layout.add_legend(figure, below=False)
    return figure
