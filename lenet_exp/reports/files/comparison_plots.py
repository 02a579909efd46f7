"""Figures for a comparison, for use in MLflow and in papers: leaderboard, learning curves, accuracy
versus number of parameters, interaction of two flags, and search history."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from textwrap import shorten

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import is_log, number
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.part import PartOfComparison
from lenet_exp.comparison.search.summary import SearchSummary
from lenet_exp.comparison.studies.interactions import Interaction
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.errors import ConfigError, one_of
from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.plots import style
from lenet_exp.reports.words.search_history import objective_words

LEADERS = 20  # maximum number of configurations in the leaderboard figure
COLORED = 6  # maximum number of configurations whose curves all have a color
BEST_OF_MANY = 4  # number of configurations whose curves have a color, if there are more
OFFSETS = (4, -9, 14, -19, 24, -29)  # vertical positions of a label next to its point, in points
DODGE = 0.018  # distance between the error bars of neighboring lines, as a fraction of the axis
NAME, PAPER_NAME = 44, 24  # maximum number of characters in a configuration's name
WIDTH, PAPER_WIDTH = 9.0, 3.4  # in inches; a paper's column is 3.4 inches wide
PAPER_FONT = 7.5  # in points
COLOUR, EXCLUDED_COLOR, MANY_COLORS = "#2563eb", "#8b93a1", colormaps["tab10"]
# File names of the kinds of figures.
FILE_NAMES = {
    "leaderboard": "leaderboard",
    "curves": "learning_curves",
    "parameters": "accuracy_versus_parameters",
    "interaction": "interaction",
    "history": "search_history",
}

Limits = tuple[float, float]
Drawing = Callable[
    ..., Figure | None
]  # takes a comparison and, as `paper`, whether the figure is for a paper


def figures(comparison: Comparison) -> dict[str, Figure]:
    """Draw all figures that are available for a comparison, and return the figures, keyed by name."""
    if comparison.leader is None:
        return {}
    drawn = {FILE_NAMES[kind]: draw(comparison) for kind, draw in _drawings(comparison).items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


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
    figure = draw(comparison, paper=width) if comparison.leader is not None else None
    if figure is None:
        raise ConfigError(f"figure={kind}: the runs on {comparison.dataset} have no such figure")
    for axes in figure.axes:
        axes.tick_params(labelsize=PAPER_FONT)
    for text in figure.findobj(Text):
        text.set_fontsize(PAPER_FONT)
    return figure


def _drawings(comparison: Comparison, flags: Sequence[str] | None = None) -> dict[str, Drawing]:
    """Return the functions that draw the figures of a comparison, keyed by kind."""
    found: dict[str, Drawing] = {"leaderboard": leaderboard_figure, "curves": curves_figure}
    if comparison.sizes_differ:
        found["parameters"] = parameters_figure
    if comparison.interactions is not None and comparison.interactions.pairs:
        found["interaction"] = partial(
            interaction_figure, _pair(comparison.interactions.pairs, flags)
        )
    if comparison.searched is not None:
        found["history"] = partial(history_figure, comparison.searched)
    return found


def _pair(pairs: Sequence[Interaction], flags: Sequence[str] | None) -> Interaction:
    """Return the interaction of two flags, the first of which has the lines; by default, the
    strongest interaction.
    """
    if flags is None:
        return pairs[0]
    both = {_first_flags(names): its for pair in pairs for names, its in
            (((pair.first, pair.second), pair), ((pair.second, pair.first), pair.swapped))}  # fmt: skip
    return both[one_of("flags", _first_flags(flags), list(both))]


def _first_flags(names: Sequence[str]) -> str:
    """Join the names of flags, without those that are zipped with another one (`optimizer with
    optimizer.lr`).
    """
    return ",".join(name.partition(" with ")[0] for name in names)


def leaderboard_figure(comparison: Comparison, *, paper: float = 0) -> Figure:
    """Draw the accuracies of the best configurations: means with 95% confidence intervals, and
    individual seeds.

    Configurations that could be the best are blue, and all others are gray. An arrow shows a mean
    or seed that is beyond the axis, with its value.
    """
    groups, may_be_best = [g for g in comparison.groups if g.n][:LEADERS], could_be_best(comparison)
    height = 0.95 + 0.17 * len(groups) if paper else 1.35 + 0.28 * len(groups)
    values = [v for g in groups for v in [*g.accuracy.values(), *(i for i in g.interval if i == i)]]
    low, high = _most(comparison.metric, values)
    names, legend = (
        _names(comparison, groups, paper),
        {COLOUR: "could be the best", EXCLUDED_COLOR: "other"},
    )
    shown = f", best {LEADERS}" if len(groups) == LEADERS else ""
    figure, axes = _figure(f"{comparison.dataset}: leaderboard{shown}", height, paper)
    for y, group in enumerate(groups):
        color = COLOUR if group in may_be_best else EXCLUDED_COLOR
        if not math.isnan(group.interval[0]):
            axes.plot(
                group.interval,
                [y, y],
                color=color,
                linewidth=2.2,
                alpha=0.55,
                solid_capstyle="butt",
            )
        seeds = [
            v for v in group.accuracy.values() if v >= low or group.mean >= low
        ]  # the mean stands for hidden ones
        axes.plot(seeds, [y] * len(seeds), "|", color="#6b7280", markersize=5 if paper else 9)
        axes.plot(
            [group.mean],
            [y],
            "o",
            color=color,
            markersize=3.5 if paper else 5.5,
            label=legend.pop(color, None),
        )
    axes.set_yticks(range(len(groups)), names, fontsize=8.5)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    fits = max(map(len, names)) <= PAPER_NAME  # longer names leave less room for the axis
    axes.xaxis.set_major_locator(MaxNLocator((3 if fits else 2) if paper else 6))
    what = "" if paper else ": mean (dot), 95% confidence interval (bar), seeds (ticks)"
    figure.supxlabel(f"{_label(comparison)}{what}", fontsize="medium")
    _metric_axis(comparison.metric, axes, (low, high), across=True)
    _legend(figure, paper, lower=False)
    return figure


def curves_figure(comparison: Comparison, *, paper: float = 0) -> Figure | None:
    """Draw validation accuracy versus epoch for the best configurations: the mean and range over
    seeds.

    If there are more than six, the others are gray lines without ranges, as are those outside a
    part of a comparison. Return None if no curves are available.
    """
    finished = [g for g in comparison.groups if g.n]
    groups = finished[: len(finished) if len(finished) <= COLORED else BEST_OF_MANY]
    names = _names(comparison, groups, paper)
    title = f"{comparison.dataset}: mean and range over seeds, best {len(groups)}"
    figure, axes = _figure(title, 2.2 + 0.08 * len(names) if paper else 4.4, paper)
    late: list[float] = []
    every: list[float] = []
    for n, (name, group) in enumerate(zip(names, groups, strict=True)):
        curves = [curve for curve in group.curves() if len(curve)]
        if not curves:
            continue
        values = np.full((len(curves), max(map(len, curves))), np.nan)
        for row, curve in zip(values, curves, strict=True):
            row[: len(curve)] = curve
        mean = np.nanmean(values, axis=0)
        x, color = np.arange(1, len(mean) + 1), MANY_COLORS(n)
        axes.plot(
            x, mean, color=color, marker="." if len(mean) < 30 else "", linewidth=1.4, label=name
        )
        axes.fill_between(
            x, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=color, alpha=0.15, lw=0
        )
        every += values[~np.isnan(values)].tolist()
        late += mean[len(mean) // 3 :].tolist()
    if not late:
        return None
    whole, label = (
        comparison.whole if isinstance(comparison, PartOfComparison) else comparison,
        "others",
    )
    for group in [g for g in whole.groups if g.n and g not in groups][: LEADERS - len(groups)]:
        mean = np.array([*zip_longest(*group.curves(), fillvalue=np.nan)])
        if not len(mean):
            continue  # no run of this configuration has a curve
        axes.plot(
            np.arange(1, len(mean) + 1),
            np.nanmean(mean, axis=1),
            color=EXCLUDED_COLOR,
            lw=0.6,
            zorder=1,
            label=label,
        )
        label = ""
    low, high = _most(
        comparison.metric, late
    )  # without failures, but with the best epoch of each run
    low, high = (low, max(every)) if comparison.metric.larger else (min(every), high)
    edge = 0.06 * max(high - low, 1e-4)
    _metric_axis(
        comparison.metric,
        axes,
        (low - edge, high + edge),
        f"validation {comparison.metric.name}",
        last=True,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    _legend(figure, paper)
    return figure


def interaction_figure(pair: Interaction, comparison: Comparison, *, paper: float = 0) -> Figure:
    """Draw the mean accuracy for each combination of two flags' values, with 95% confidence
    intervals.
    """
    title = f"{comparison.dataset}: {pair.first} and {pair.second}, means (dots) and 95% confidence intervals (bars)"
    figure, axes = _figure(title, 2.6 if paper else 4.4, paper)
    numbers = [number(level) for level in pair.levels[1]]
    x = np.array([n for n in numbers if n is not None])
    log = len(x) == len(numbers) and is_log(pair.levels[1])
    x = np.arange(len(numbers)) if len(x) < len(numbers) else np.log10(x) if log else x
    order, apart = np.argsort(x), DODGE * np.ptp(x)
    for n, (level, means) in enumerate(zip(pair.levels[0], np.array(pair.means), strict=True)):
        at = (
            x + (n - (len(pair.means) - 1) / 2) * apart
        )  # next to each other, so that the bars do not overlap
        bars = np.abs(np.array(pair.intervals[n]).T - means)
        axes.errorbar(at[order], means[order], bars[:, order], color=MANY_COLORS(n % 10), marker="o", markersize=4,
                      linewidth=1.4, capsize=2, label=no_math(rounded(level)))  # fmt: skip
    axes.set_xticks(x, [no_math(rounded(level)) for level in pair.levels[1]])
    limits = _most(
        comparison.metric, [end for row in pair.intervals for ends in row for end in ends]
    )
    _metric_axis(comparison.metric, axes, limits, _label(comparison))
    axes.set_xlabel(pair.second)
    _legend(figure, paper, pair.first)
    return figure


def parameters_figure(comparison: Comparison, *, paper: float = 0) -> Figure | None:
    """Draw accuracy versus number of parameters, on a logarithmic axis: means with 95% confidence
    intervals, and a line through the Pareto front. Ranks stand for names that are too long.

    Return None if no number of parameters is known.
    """
    every_size = [(g, g.parameters) for g in comparison.groups if g.n and g.parameters is not None]
    sized = every_size[:LEADERS]
    if not sized:
        return None
    shown = f", best {LEADERS}" if len(sized) == LEADERS else ""
    title = f"{comparison.dataset}: mean (dot) and 95% confidence interval (bar) over seeds{shown}"
    figure, axes = _figure(title, 2.6 if paper else 4.4, paper)
    labels, sign, names = (
        [],
        comparison.metric.sign,
        _names(comparison, [g for g, _ in sized], paper),
    )
    if max(map(len, names)) > (PAPER_NAME if paper else NAME):  # too long for labels
        names = [f"#{1 + comparison.groups.index(group)}" for group, _ in sized]
    for name, (group, parameters) in zip(names, sized, strict=True):
        if not math.isnan(group.interval[0]):
            axes.plot(
                [parameters, parameters], group.interval, color=COLOUR, linewidth=2.2, alpha=0.55
            )
        axes.plot([parameters], [group.mean], "o", color=COLOUR, markersize=5.5, label=name)
        label = axes.annotate(
            name,
            (parameters, group.mean),
            (0, 0),
            textcoords="offset points",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": EXCLUDED_COLOR, "linewidth": 0.5},
        )
        labels.append(label)
    limits = _most(
        comparison.metric,
        [v for g, _ in sized for v in (g.mean, *(i for i in g.interval if i == i))],
        10,
    )
    _metric_axis(comparison.metric, axes, limits, _label(comparison), named=True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("parameters")
    _place(labels, figure, axes)
    front: list[
        tuple[int, float]
    ] = []  # networks of which no other one is both smaller and at least as good
    for group, parameters in sorted(every_size, key=lambda pair: (pair[1], -sign * pair[0].mean)):
        if not front or sign * group.mean > sign * front[-1][1]:
            front.append((parameters, group.mean))
    axes.plot(*zip(*front, strict=True), color=EXCLUDED_COLOR, linewidth=1, zorder=1)
    return figure


def history_figure(
    searched: SearchSummary, comparison: Comparison, *, paper: float = 0
) -> Figure | None:
    """Draw the best value so far in a search versus the number of epochs trained.

    Return None if no run has finished.
    """
    steps = searched.improvements
    if not steps:
        return None
    title = f"{comparison.dataset}: search ({searched.how}), best so far"
    figure, axes = _figure(title, 2.3 if paper else 3.9, paper)
    epochs, bests = [step.epochs for step in steps], [step.best for step in steps]
    axes.step(
        [*epochs, searched.epochs], [*bests, bests[-1]], where="post", color=COLOUR, linewidth=1.8
    )
    axes.plot(epochs, bests, "o", color=COLOUR, markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if searched.is_metric and comparison.metric.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("epochs trained")
    axes.set_ylabel(objective_words(searched))
    return figure


def _figure(title: str, height: float, paper: float) -> tuple[Figure, Axes]:
    height *= max(paper / PAPER_WIDTH, 1.0) ** 0.5
    figure = Figure(figsize=(paper or WIDTH, height), layout="constrained")
    axes = figure.subplots()
    style(figure, "" if paper else title)
    return figure, axes


def _label(comparison: Comparison) -> str:
    return f"{comparison.epoch} validation {comparison.metric.name}"


def _metric_axis(
    metric: Metric, axes: Axes, limits: Limits, label: str = "", *, across: bool = False, last: bool = False,
    named: bool = False,
) -> None:  # fmt: skip
    """Set up the axis of the metric. An arrow and the value show each point, or each line's last
    point, below it.

    Args:
        across: whether the metric is on the x axis.
        last: whether to draw arrows only for the last point of each line.
        named: whether to write the name of the line before the value.
    """
    axis, set_limits = (axes.xaxis, axes.set_xlim) if across else (axes.yaxis, axes.set_ylim)
    set_limits(*limits)
    if metric.percent:
        axis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axis.set_label_text(label)
    low, taken, marker = limits[0], Counter[int](), "<" if across else "v"
    along = [float(x) for line in axes.lines for x in np.asarray(line.get_xydata())[:, int(across)]]
    near = max(np.ptp(along) / 10, 1e-9)  # distance below which values are written above each other
    ha, va, dx, dy = ("left", "center", 34, 0) if across else ("center", "bottom", 0, 9)
    for line in [
        line for line in axes.lines if str(line.get_marker()) in "o.|"
    ]:  # also lines without markers
        points = np.asarray(line.get_xydata())[-1 if last else 0 :, :: -1 if across else 1]
        for at, value in points[points[:, 1] < low].tolist():
            edge, name = (low, at) if across else (at, low), f"{line.get_label()} " if named else ""
            its = taken[round(at / near)]
            axes.plot(*edge, marker, color=line.get_color(), markersize=5, clip_on=False)
            axes.annotate(f"{name}{metric.plain(value)}", edge, (dx * (its + 0.2), dy * (its + 0.7)),
                          textcoords="offset points", color=line.get_color(), fontsize=8, ha=ha, va=va, zorder=2.4,
                          bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})  # fmt: skip
            taken[round(at / near)] += 1


def _place(labels: Sequence[Annotation], figure: Figure, axes: Axes) -> None:
    """Move each label to the side of its point where it overlaps points and the labels before it
    the least.
    """
    for label in labels:
        label.set_in_layout(False)  # otherwise, long names leave no room for the axes
    figure.draw_without_rendering()
    taken = [line.get_window_extent().padded(2) for line in axes.lines]

    def overlap(label: Annotation, side: str, offset: int) -> tuple[bool, float]:
        label.set(ha=side, position=(6 if side == "left" else -6, offset))
        box = Text.get_window_extent(label)  # without the line to the point
        common = [Bbox.intersection(box, other) for other in taken]
        area = sum(both.width * both.height for both in common if both is not None)
        inside = Bbox.union([axes.bbox, box]).bounds == axes.bbox.bounds
        return not inside, area

    for label in labels:
        places = {
            (side, offset): overlap(label, side, offset)
            for offset in OFFSETS
            for side in ("left", "right")
        }
        overlap(label, *min(places, key=places.__getitem__))
        taken.append(Text.get_window_extent(label))


def _legend(figure: Figure, paper: float, title: str | None = None, *, lower: bool = True) -> None:
    loc, size = (
        f"outside {'lower' if lower else 'upper'} center" if paper else "outside right upper",
        8,
    )
    columns = 2 if paper else 1
    figure.legend(
        frameon=False, fontsize=size, title=title, title_fontsize=size, loc=loc, ncols=columns
    )  # type: ignore[call-overload]


def _names(comparison: Comparison, groups: Sequence[Group], paper: float) -> list[str]:
    most, names = PAPER_NAME if paper else NAME, [comparison.name(group) for group in groups]
    shortened = [shorten(name, most, placeholder="…") for name in names]
    return list(map(no_math, shortened if len(set(shortened)) == len(set(names)) else names))


def _most(metric: Metric, values: Sequence[float], times: float = 4) -> Limits:
    """Return axis limits that include the best value and most other values.

    Very low values are excluded, so that a few failures do not flatten the plot. If smaller is
    better, all values are included.

    Args:
        times: maximum distance of the lowest value from the best one, as a multiple of the median
            distance.
    """
    best = max(values)
    least = best - max(times * (best - float(np.median(values))), 1e-4)
    low = max(min(values), least) if metric.larger else min(values)
    margin = 0.06 * max(best - low, 1e-4)
    return low - margin, best + margin
