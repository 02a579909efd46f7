"""Pictures of a comparison, for MLflow: each a PNG to look at, to mail or to put into a document."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import number
from lenet_exp.comparison.group import Group
from lenet_exp.config.names import rounded
from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.search_plots import search_figures

LEADERS, CURVES, LINES, NAMED = 20, 10, 200, 5  # groups that a picture can hold
CELLS = 24  # values that a heat map can hold in a row
MOST_EMPTY = 2 / 3  # of a heat map's cells, where a search drew the values; its slices show them
SINGLE, MANY_COLORS = "#2563eb", colormaps["tab10"]
WIDE_RANGE = 20  # of a number's values; from there on its axis is logarithmic
CMAP = colormaps["viridis"]
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}


def figures(comparison: Comparison) -> dict[str, Figure]:
    """The pictures that this comparison has something for, by name."""
    if comparison.leader is None:
        return {}
    comparison = _without_math(comparison)
    found: dict[str, Callable[[Comparison], Figure | None]] = {
        "leaderboard": leaderboard_figure,
        "learning_curves": curves_figure,
        "heat_map": heat_map_figure,
        "parallel_coordinates": parallel_figure,
        "seconds_and_accuracy": seconds_figure,
    }
    drawn = {name: draw(comparison) for name, draw in found.items()}
    found_figures = {name: figure for name, figure in drawn.items() if figure is not None}
    if comparison.searched is not None:
        found_figures |= search_figures(comparison.searched, comparison.dataset)
    return found_figures


def _without_math(comparison: Comparison) -> Comparison:
    flags = list(map(no_math, comparison.flags))
    groups = [
        replace(group, flags={no_math(k): no_math(v) for k, v in group.flags.items()}) for group in comparison.groups
    ]
    return replace(comparison, dataset=no_math(comparison.dataset), groups=groups, flags=flags)


def leaderboard_figure(comparison: Comparison) -> Figure:
    """The best groups: mean with its 95 % interval, and each seed."""
    groups = _with_runs(comparison)[:LEADERS]
    height = 1.1 + 0.28 * len(groups)
    names = [_cut(comparison.name(g), 48) for g in groups]
    figure, axes = _figure(height, left=0.03 + _width(names), bottom=0.62 / height, top=1 - 0.42 / height)
    for y, group in enumerate(groups):
        low, high = group.interval
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=SINGLE, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
        axes.plot(list(group.accuracy.values()), [y] * group.n, "|", color="#9ca3af", markersize=9)
        axes.plot([group.mean], [y], "o", color=SINGLE, markersize=5.5)
    axes.set_yticks(range(len(groups)), names, fontsize=8.5)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel(f"{comparison.by} validation accuracy: mean (dot), 95 % interval (bar), seeds (ticks)")
    _clip_to_most(axes, [v for g in groups for v in [*g.accuracy.values(), *(i for i in g.interval if i == i)]])
    shown = "" if len(groups) == len(_with_runs(comparison)) else f", the best {LEADERS}"
    figure.suptitle(f"{comparison.dataset}: leaderboard{shown}", fontsize=11)
    return figure


def curves_figure(comparison: Comparison) -> Figure | None:
    """Validation accuracy by epoch of the ten best groups: mean over seeds, and the range of the seeds."""
    groups = _with_runs(comparison)[:CURVES]
    names = [_cut(comparison.name(group), 44) for group in groups]
    figure, axes = _figure(4.4, left=0.095, right=0.94 - _width(names), bottom=0.11, top=0.91)
    final = []
    for n, group in enumerate(groups):
        curves = [np.asarray(curve) for curve in group.curves() if len(curve)]
        if not curves:
            continue
        epochs = max(map(len, curves))
        values = np.full((len(curves), epochs), np.nan)
        for row, curve in zip(values, curves, strict=True):
            row[: len(curve)] = curve
        x, color = np.arange(1, epochs + 1), MANY_COLORS(n)
        mean = np.nanmean(values, axis=0)
        marker = "." if epochs < 30 else ""
        axes.plot(x, mean, color=color, marker=marker, linewidth=1.4, label=names[n])
        if len(curves) > 1:
            axes.fill_between(x, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=color, alpha=0.15, lw=0)
        final.append(mean[len(mean) // 3 :])
    if not final:
        return None
    _clip_to_most(axes, np.concatenate(final).tolist(), "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.suptitle(f"{comparison.dataset}: mean and range over seeds, best {len(final)}", fontsize=11)
    return figure


def heat_map_figure(comparison: Comparison) -> Figure | None:
    """Mean accuracy over the two flags that explain most; None where there are no two."""
    ordered = {e.flag: _ordered(comparison, e.flag) for e in comparison.effects.flags}
    named = [flag for flag, values in ordered.items() if 2 <= len(values) <= CELLS]
    if len(named) < 2:
        return None
    rows, columns = ordered[named[0]], ordered[named[1]]
    cells: dict[tuple[str, str], list[float]] = {}
    for group in _with_runs(comparison):
        cells.setdefault((group.flags.get(named[0], "-"), group.flags.get(named[1], "-")), []).append(group.mean)
    values = np.array([[np.mean(cells[r, c]) if (r, c) in cells else np.nan for c in columns] for r in rows])
    if np.isnan(values).all() or (comparison.searched is not None and np.isnan(values).mean() > MOST_EMPTY):
        return None
    height = 1.4 + 0.42 * len(rows)
    figure, axes = _figure(height, left=0.16, bottom=0.75 / height, top=1 - 0.45 / height)
    floor = np.nanmax(values) - 3 * max(float(np.nanmax(values) - np.nanmedian(values)), 1e-6)
    shown = axes.imshow(values, cmap=CMAP, aspect="auto", vmin=max(floor, float(np.nanmin(values))))
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "black" if float(shown.norm(value)) > 0.6 else "white"  # type: ignore[arg-type]
            axes.text(j, i, f"{value * 100:.2f}", ha="center", va="center", color=color, fontsize=8.5)
    axes.set_xticks(range(len(columns)), columns, fontsize=8.5)
    axes.set_yticks(range(len(rows)), rows, fontsize=8.5)
    axes.set_xlabel(named[1])
    axes.set_ylabel(named[0])
    axes.grid(visible=False)
    over = " (mean over the other flags)" if len(comparison.flags) > 2 else ""
    figure.suptitle(f"{comparison.dataset}: {comparison.by} validation accuracy, %{over}", fontsize=11)
    return figure


def parallel_figure(comparison: Comparison) -> Figure | None:
    """One line a group through its values to its accuracy; None with fewer than two flags."""
    flags = [e.flag for e in comparison.effects.flags][:8]
    groups = _with_runs(comparison)[:LINES]
    if len(flags) < 2 or len(groups) < 2:
        return None
    figure, axes = _figure(4.2, left=0.06, bottom=0.1, top=0.86)
    places = [_places(comparison, flag) for flag in flags]
    low, high = _most([g.mean for g in groups])
    for rank, group in reversed(list(enumerate(groups))):  # the best on top
        height = min(max((group.mean - low) / max(high - low, 1e-9), 0), 1)
        beside = 0.04 * (0.5 - rank / len(groups))  # lines of the same values stay apart
        y = [places[i][group.flags.get(flag, "-")] + beside for i, flag in enumerate(flags)]
        axes.plot([*range(len(flags)), len(flags)], [*y, height], color=CMAP(height), linewidth=1.5, alpha=0.85)
    for x, flag in enumerate(flags):
        axes.axvline(x, color="#d1d5db", linewidth=1, zorder=0)
        for value, place in _thinned(places[x]):
            axes.annotate(
                rounded(value),
                (x, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox=BEHIND_TEXT,
            )
        axes.annotate(flag, (x, 1.08), ha="center", fontsize=8.5, annotation_clip=False)
    axes.axvline(len(flags), color="#d1d5db", linewidth=1, zorder=0)
    for mark in (0.0, 0.5, 1.0):
        text = f"{(low + mark * (high - low)) * 100:.2f} %"
        axes.annotate(text, (len(flags), mark), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.annotate(f"{comparison.by} val", (len(flags), 1.08), ha="center", fontsize=8.5, annotation_clip=False)
    axes.set_xlim(-0.1, len(flags) + 0.35)
    axes.set_ylim(-0.06, 1.04)
    axes.set_axis_off()
    figure.suptitle(f"{comparison.dataset}: configurations by accuracy", fontsize=11)
    return figure


def seconds_figure(comparison: Comparison) -> Figure | None:
    """Accuracy against seconds of training to it, one dot a group; the best five named."""
    groups = [g for g in _with_runs(comparison) if not math.isnan(g.seconds_to_best)]
    if len(groups) < 2:
        return None
    names = [_cut(comparison.name(group), 44) for group in groups[:NAMED]]
    figure, axes = _figure(4.2, left=0.095, right=0.94 - _width(names), bottom=0.12, top=0.91)
    for n, group in enumerate(groups):
        color = MANY_COLORS(n) if n < NAMED else "#9ca3af"
        spread = group.sd if group.n > 1 else None
        axes.errorbar(
            [group.seconds_to_best], [group.mean], yerr=spread, fmt="o", color=color, markersize=5, elinewidth=1
        )
        if n < NAMED:
            axes.plot([], [], "o", color=color, label=names[n])
    seconds = [g.seconds_to_best for g in groups]
    if max(seconds) > WIDE_RANGE * min(seconds) > 0:
        axes.set_xscale("log")
    _clip_to_most(axes, [g.mean for g in groups], "y")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("seconds of training to the best epoch (mean)")
    axes.set_ylabel(f"{comparison.by} validation accuracy")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.suptitle(f"{comparison.dataset}: accuracy and what it takes", fontsize=11)
    return figure


def _figure(height: float, *, left: float, bottom: float, top: float, right: float = 0.975) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, height))
    axes = figure.subplots(gridspec_kw={"left": left, "right": right, "bottom": bottom, "top": top})
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _width(names: Sequence[str]) -> float:
    """About what the longest name takes of a figure's width."""
    return 0.0088 * max(map(len, names), default=0)


def _with_runs(comparison: Comparison) -> list[Group]:
    return [g for g in comparison.groups if g.n]


def _ordered(comparison: Comparison, flag: str) -> list[str]:
    """A flag's values: numbers by size, then words in the order of the leaderboard."""
    values = list(dict.fromkeys(g.flags.get(flag, "-") for g in _with_runs(comparison)))
    numbers = sorted((v for v in values if number(v) is not None), key=float)
    return numbers + [v for v in values if number(v) is None]


def _places(comparison: Comparison, flag: str) -> dict[str, float]:
    """Where on its axis, from 0 to 1, each value of a flag stands; numbers by size."""
    values = _ordered(comparison, flag)
    known = [number(v) for v in values]
    numbers = [n for n in known if n is not None]
    words = len(values) - len(numbers)
    if len(numbers) > 2 and words <= 1:
        at = np.array(numbers, dtype=float)
        if at.min() > 0 and at.max() / at.min() > WIDE_RANGE:
            at = np.log(at)
        beyond = 0.12 * words  # where the flag does not matter, at the foot
        places = beyond + (1 - beyond) * (at - at.min()) / (at.max() - at.min())
        return dict(zip(values, [*places.tolist(), 0.0][: len(values)], strict=True))
    return {value: i / max(len(values) - 1, 1) for i, value in enumerate(values)}


def _thinned(places: dict[str, float]) -> list[tuple[str, float]]:
    """The values that can be written beside an axis without touching."""
    found: list[tuple[str, float]] = []
    for value, y in sorted(places.items(), key=lambda item: item[1]):
        if not found or y - found[-1][1] > 0.045:
            found.append((value, y))
    return found


def _most(values: Sequence[float]) -> tuple[float, float]:
    """Range of an axis that a few failures at chance don't flatten: from the best down to where most are."""
    best, middle = max(values), float(np.median(values))
    reach = max(4 * (best - middle), 1e-4)
    return max(min(values), best - reach), best


def _clip_to_most(axes: Axes, values: Sequence[float], axis: str = "x") -> None:
    low, high = _most(values)
    margin = 0.06 * max(high - low, 1e-4)
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low - margin, high + margin)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
