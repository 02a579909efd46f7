"""The figure of the interaction of two flags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import is_log, number
from lenet_exp.comparison.studies.interactions import Interaction
from lenet_exp.config.params import rounded
from lenet_exp.errors import one_of
from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.figure_layout import LINE_COLORS, FigureLayout
from lenet_exp.reports.files.metric_axis import metric_label, metric_limits, set_up_metric_axis

# Distance between the confidence intervals of neighboring lines, as a fraction of the axis.
INTERVAL_SPACING = 0.018


def interaction_of(pairs: Sequence[Interaction], flags: Sequence[str] | None) -> Interaction:
    """Return the interaction of two flags, the first of which has the lines.

    Args:
        pairs: the interactions of a comparison, strongest first.
        flags: names of the two flags; by default, those of the strongest interaction.

    Raises:
        ConfigError: the comparison has no interaction of these flags.
    """
    if flags is None:
        return pairs[0]

    by_flags = {}
    for pair in pairs:
        by_flags[_first_flags([pair.first, pair.second])] = pair
        by_flags[_first_flags([pair.second, pair.first])] = pair.swapped
    return by_flags[one_of("flags", _first_flags(flags), list(by_flags))]


def _first_flags(names: Sequence[str]) -> str:
    """Join the names of flags, without those that are zipped with another one (`optimizer with
    optimizer.lr`).
    """
    return ",".join(name.partition(" with ")[0] for name in names)


def interaction_figure(
    interaction: Interaction, comparison: Comparison, layout: FigureLayout
) -> Figure:
    """Draw the mean accuracy for each combination of two flags' values, with 95% confidence
    intervals.
    """
    title = (
        f"{comparison.dataset}: {interaction.first} and {interaction.second}, "
        "means (dots) and 95% confidence intervals (bars)"
    )
    figure, axes = layout.figure(title, 2.6 if layout.for_paper else 4.4)

    line_levels, axis_levels = interaction.levels
    positions = _positions(axis_levels)
    order = np.argsort(positions)
    middle_line = (len(line_levels) - 1) / 2
    spacing = INTERVAL_SPACING * np.ptp(positions)

    for n, level in enumerate(line_levels):
        means = np.array(interaction.means[n])
        intervals = np.array(interaction.intervals[n])  # (values of the second flag, 2)
        bars = np.abs(intervals.T - means)  # (2, values of the second flag)

        # Lines are drawn next to each other, so that their intervals do not overlap.
        x = positions + (n - middle_line) * spacing
        axes.errorbar(
            x[order],
            means[order],
            bars[:, order],
            color=LINE_COLORS(n % 10),
            marker="o",
            markersize=4,
            linewidth=1.4,
            capsize=2,
            label=no_math(rounded(level)),
        )

    axes.set_xticks(positions, [no_math(rounded(level)) for level in axis_levels])
    ends = np.array(interaction.intervals).ravel().tolist()
    limits = metric_limits(comparison.metric, ends)
    set_up_metric_axis(axes, comparison.metric, limits, metric_label(comparison))
    axes.set_xlabel(interaction.second)
    layout.add_legend(figure, interaction.first)
    return figure


def _positions(levels: Sequence[str]) -> NDArray[np.float64]:
    """Return the positions of a flag's values on an axis.

    Numbers are spaced by value, or by their logarithm if they span a wide range. If some values are
    words, all values are equally spaced.
    """
    numbers = [number(level) for level in levels]
    known = [value for value in numbers if value is not None]
    if len(known) < len(numbers):
        return np.arange(len(numbers), dtype=np.float64)
    if is_log(levels):
        return np.log10(known)
    return np.array(known)
