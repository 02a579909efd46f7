"""Pictures of a search: the history of its best, what its flags matter, slices, and the curves with those pruned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from lenet_exp.amounts import number_of
from lenet_exp.comparison.effects import number
from lenet_exp.comparison.search_importance import search_importance
from lenet_exp.comparison.searched import ABSENT, Searched, SearchedFlag, SearchedTrial
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.search_range import LEAST_RANGE, curves_range, trials_range

BEST, FINISHED, PRUNED, DIVERGED = "#dc2626", "#2563eb", "#9ca3af", "#f59e0b"
CMAP = colormaps["viridis"]
MOST_SLICES, IN_A_ROW = 12, 3
NAMES = 14  # characters of a listed value below an axis
CROWDED = 6  # listed values; from there on they are written at a slant
MARKED = 30  # epochs; longer curves go without dots
DECADES = 1.5  # of a logarithmic axis; below, 2 and 5 are written, too
MARKS = ((Outcome.pruned, PRUNED, "."), (Outcome.diverged, DIVERGED, "x"), (Outcome.finished, FINISHED, "o"))


def search_figures(searched: Searched, dataset: str) -> dict[str, Figure]:
    """The pictures that this search has something for, by name."""
    searched, title = _without_math(searched), no_math(dataset)
    found: dict[str, Callable[[Searched, str], Figure | None]] = {
        "search_history": history_figure,
        "search_curves": curves_figure,
        "search_slices": slices_figure,
        "search_importance": importance_figure,
    }
    drawn = {name: draw(searched, title) for name, draw in found.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _without_math(searched: Searched) -> Searched:
    runs = [
        replace(run, name=no_math(run.name), flags={k: no_math(v) for k, v in run.flags.items()})
        for run in searched.runs
    ]
    return replace(searched, runs=runs)


def history_figure(searched: Searched, title: str) -> Figure | None:
    """The best so far by epochs spent, and each trial's value in the order in which they were asked for."""
    steps = [step for step in searched.steps if not math.isnan(step.best)]
    if not steps:
        return None
    figure = Figure(figsize=(9, 3.9))
    grid = {"left": 0.1, "right": 0.985, "bottom": 0.14, "top": 0.82, "wspace": 0.22}
    left, right = figure.subplots(1, 2, gridspec_kw=grid)
    epochs = [step.epochs for step in steps]
    end = max(searched.epochs, epochs[-1])
    left.step([*epochs, end], [*(s.best for s in steps), steps[-1].best], where="post", color=BEST, linewidth=1.8)
    changed = [s for before, s in zip([None, *steps], steps, strict=False) if before is None or s.best != before.best]
    left.plot([s.epochs for s in changed], [s.best for s in changed], "o", color=BEST, markersize=4)
    left.set_xlabel("epochs trained")
    left.set_ylabel(_words(searched))
    left.set_title("best so far", fontsize=9.5)
    _trials(right, searched)
    right.set_xlabel("trial")
    right.set_title("each trial", fontsize=9.5)
    bests = [s.best for s in steps]
    for axes, limits in ((left, (min(bests), max(bests))), (right, trials_range(searched))):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _decorate(axes, limits, searched)
    figure.legend(*right.get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper right", ncols=4)
    figure.suptitle(f"{title}: search ({searched.how})", fontsize=11, x=0.085, ha="left")
    return figure


def _trials(axes: Axes, searched: Searched) -> None:
    limits = trials_range(searched)
    for outcome, color, marker in MARKS:
        its = [(x, _within(t, searched, limits)) for x, t in enumerate(searched.trials, 1) if t.outcome is outcome]
        if its:
            axes.plot(*zip(*its, strict=True), marker, color=color, markersize=5, label=outcome.value)
    best = searched.best
    if best is not None:
        at = [t.number for t in searched.trials].index(best.number)
        axes.plot([at + 1], [best.value], "*", color=BEST, markersize=12, label="best", zorder=4)


def curves_figure(searched: Searched, title: str) -> Figure | None:
    """The objective by epoch: pruned runs thin and grey, finished ones by colour, the best bold."""
    runs = [run for run in searched.runs if run.curve]
    best = searched.best
    if not runs or best is None:
        return None
    figure = Figure(figsize=(9, 4.2))
    axes = figure.subplots(gridspec_kw={"left": 0.085, "right": 0.975, "bottom": 0.12, "top": 0.84})
    finished = [run for run in runs if run.outcome is Outcome.finished]
    its = [run for run in searched.runs_of(best) if run.outcome is Outcome.finished]
    marker = "." if max(len(run.curve) for run in runs) < MARKED else ""
    reached = [searched.better(run.value) for run in finished]
    low, high = float(np.median(reached)), max(reached)
    for run in runs:
        x, y = range(1, len(run.curve) + 1), np.array(run.curve)
        if run.outcome is not Outcome.finished:
            axes.plot(x, y, color=PRUNED, linewidth=0.9, zorder=1, alpha=0.85, marker=marker, markersize=4)
        elif run not in its:
            height = (searched.better(run.value) - low) / max(high - low, 1e-9)
            axes.plot(x, y, color=CMAP(min(max(height, 0), 1) * 0.9), linewidth=1.2, zorder=2, marker=marker)
    for run in its:
        axes.plot(range(1, len(run.curve) + 1), run.curve, color=BEST, linewidth=2.6, zorder=3, marker=marker)
    others = len(finished) - len(its)
    ended = len(runs) - len(finished)
    axes.plot([], [], color=BEST, linewidth=2.6, label=f"best: {best.name}")
    if others:
        label = f"finished: {number_of(others, 'other')}, the brighter the better"
        axes.plot([], [], color=CMAP(0.45), linewidth=1.2, label=label)
    if ended:
        axes.plot([], [], color=PRUNED, linewidth=0.8, label=f"pruned or diverged: {ended}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _decorate(axes, curves_range(searched), searched, of_curves=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss" if searched.is_loss else "validation accuracy")
    figure.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.08, 0.935), ncols=3)
    figure.suptitle(f"{title}: the runs of the search ({searched.how})", fontsize=11, x=0.085, ha="left")
    return figure


def slices_figure(searched: Searched, title: str) -> Figure | None:
    """The objective over each searched flag, on the scale on which it was searched."""
    flags = [f for f in searched.flags if len({t.flags[f.name] for t in searched.trials} - {ABSENT}) > 1]
    if not flags or searched.best is None:
        return None
    shown = flags[:MOST_SLICES]
    columns = min(IN_A_ROW, len(shown))
    rows = -(-len(shown) // columns)
    height = 1.1 + 2.7 * rows
    grid = {"left": 0.085, "right": 0.985, "bottom": 0.95 / height, "top": 1 - 0.6 / height}
    grid |= {"wspace": 0.12, "hspace": 0.5}
    figure = Figure(figsize=(9, height))
    cells = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    for n, (axes, flag) in enumerate(zip(cells.flat, shown, strict=False)):
        _slice(axes, searched, flag)
        _decorate(axes, trials_range(searched), searched)
        axes.set_xlabel(flag.name)
        if n % columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(_words(searched))
    for axes in list(cells.flat)[len(shown) :]:
        axes.set_axis_off()
    ended = {t.outcome for t in searched.trials}
    marks = [*(m for m in MARKS if m[0] in ended), ("best", BEST, "*")]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, label=str(name)) for name, color, marker in marks
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="upper right", ncols=4)
    more = f", {len(flags) - len(shown)} flags more" if len(flags) > len(shown) else ""
    figure.suptitle(f"{title}: slices of the search{more}", fontsize=11, x=0.085, ha="left")
    return figure


def _slice(axes: Axes, searched: Searched, flag: SearchedFlag) -> None:
    its = [t for t in searched.trials if t.flags[flag.name] != ABSENT]
    x = _places(axes, its, flag)
    limits = trials_range(searched)
    for outcome, color, marker in MARKS:
        chosen = [(x[t.number], _within(t, searched, limits)) for t in its if t.outcome is outcome]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), marker, color=color, markersize=5)
    best = searched.best
    if best is not None and best.number in x:
        axes.plot([x[best.number]], [best.value], "*", color=BEST, markersize=12, zorder=4)


def _places(axes: Axes, trials: Sequence[SearchedTrial], flag: SearchedFlag) -> dict[int, float]:
    """Where each trial stands along a flag's axis; those of a listed value beside each other."""
    numbers = {t.number: number(t.flags[flag.name]) for t in trials}
    if not flag.choice and all(n is not None for n in numbers.values()):
        if flag.log:
            axes.set_xscale("log")
            _log_ticks(axes.xaxis, [float(n) for n in numbers.values() if n is not None])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
        return {t: float(n) for t, n in numbers.items() if n is not None}
    values = sorted({t.flags[flag.name] for t in trials}, key=_order)
    names = [value if len(value) <= NAMES else f"{value[: NAMES - 1]}…" for value in values]
    slant = len(values) >= CROWDED or sum(map(len, names)) > 32
    axes.set_xticks(range(len(values)), names, fontsize=8.5, rotation=30 * slant, ha="right" if slant else "center")
    axes.set_xlim(-0.6, len(values) - 0.4)
    found, seen = {}, dict.fromkeys(values, 0)
    for t in trials:
        value = t.flags[flag.name]
        beside = (seen[value] * 0.618) % 1 - 0.5  # evenly spread, and the same each time
        found[t.number] = values.index(value) + 0.5 * beside
        seen[value] += 1
    return found


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    known = number(value)
    return known is None, known or 0.0, value


def importance_figure(searched: Searched, title: str) -> Figure | None:
    """A bar a flag; None where too few trials have ended."""
    found = search_importance(searched)
    if not found:
        return None
    height = 1.15 + 0.34 * len(found)
    figure = Figure(figsize=(9, height))
    every = max(i.trials for i in found)
    fewer = {i.flag: f" (where it matters: {number_of(i.trials, 'trial')})" for i in found if i.trials < every}
    names = [i.flag + fewer.get(i.flag, "") for i in found]
    left = 0.03 + 0.0088 * max(map(len, names))
    axes = figure.subplots(gridspec_kw={"left": left, "right": 0.95, "bottom": 0.6 / height, "top": 1 - 0.42 / height})
    axes.barh(range(len(found)), [i.share for i in found], color=FINISHED, height=0.6, alpha=0.85)
    for y, i in enumerate(found):
        axes.annotate(
            f"{i.share:.0%}", (i.share, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(found)), names, fontsize=8.5)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, max(i.share for i in found) * 1.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis="x")
    axes.set_xlabel(f"share of what tells the best fifth of {every} trials from all (PED-ANOVA)")
    figure.suptitle(f"{title}: importance of the searched flags", fontsize=11)
    return figure


def _words(searched: Searched) -> str:
    """What the objective's axis shows."""
    if searched.is_accuracy:
        return "best validation accuracy"
    return "least validation loss" if searched.is_loss else f"{searched.objective} to {searched.target:.2%}"


def _decorate(axes: Axes, limits: tuple[float, float], searched: Searched, of_curves: bool = False) -> None:
    """Scale, range and grid of the objective's axis, or of that of the curves: losses on a logarithmic one."""
    low, high = limits
    percent = searched.is_accuracy or (of_curves and not searched.is_loss)
    if searched.is_loss and low > 0:
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, limits)
        share = max((high / low) ** 0.07, 1.02)
        axes.set_ylim(low / share, high * share)
    else:
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        least = LEAST_RANGE if percent else LEAST_RANGE * max(abs(high), 1.0)
        axes.set_ylim(min(low, high - least) - 0.07 * max(high - low, least), high + 0.07 * max(high - low, least))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _log_ticks(axis: Axis, values: Sequence[float]) -> None:
    """Plain numbers, few enough not to touch."""
    near = max(values) < 10**DECADES * min(values)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if near else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _within(trial: SearchedTrial, searched: Searched, limits: tuple[float, float]) -> float:
    """Where a trial stands; at the foot one that diverged or was worse than what is shown."""
    low, high = limits
    foot = low if searched.is_accuracy else high
    value = trial.value if trial.outcome is Outcome.finished else trial.so_far
    return foot if trial.outcome is Outcome.diverged or not low <= value <= high else value
