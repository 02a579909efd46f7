"""Show the measurements from `scale.py` versus the number of runs, as tables and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kept = dict[str, Any]
MILLION = 1_000_000
STYLES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
COSTS: dict[str, Callable[[Kept], float | None]] = {
    "jobs made, CPU s": lambda k: k["phases"]["jobs"],
    "dry run, CPU s": lambda k: k["commands"]["dry run"]["cpu"],
    "runs delivered, and the end, CPU s": lambda k: k["phases"]["runs"] + k["phases"]["end"],
    "its workers, CPU s": lambda k: k["phases"]["workers"],
    "the same line again, CPU s": lambda k: k["commands"]["again"]["cpu"],
    "lenet-compare, CPU s": lambda k: k["commands"]["compare"]["cpu"],
    "lenet-sweep status, CPU s": lambda k: k["commands"]["status"]["cpu"],
    "lenet-sweep list, CPU s": lambda k: k["commands"]["list"]["cpu"],
    "lenet-sync, CPU s": lambda k: k["commands"]["sync"]["cpu"],
    "sorted page, s": lambda k: k["page"],
    "memory of the sweep, MB": lambda k: k["commands"]["sweep"]["memory"],
    "memory of the same line, MB": lambda k: k["commands"]["again"]["memory"],
    "run folders, MB": lambda k: k["bytes"]["runs"] / 1e6,
    "sweep folder, MB": lambda k: k["bytes"]["sweeps"] / 1e6,
    "MLflow's artifacts, MB": lambda k: k["bytes"]["mlartifacts"] / 1e6,
    "MLflow's database, MB": lambda k: k["bytes"]["mlflow.db"] / 1e6 or None,
}


def show(kept: Sequence[Kept], plot: Path | None) -> None:
    """Print a Markdown table for each store, with a row for each cost, and plot the costs if `plot`
    is not None.

    Each row includes the growth of the cost and an extrapolation to a million runs.
    """
    for store in _stores(kept):
        measured = [k for k in kept if k["store"] == store]
        measured.sort(key=lambda k: k["runs"])
        sizes = [k["runs"] for k in measured]
        columns = [f"{size:,} runs" for size in sizes]
        heads = [store, *columns, "one more run", "/ before", "a million"]
        print(f"\n| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}")
        for name, cost in COSTS.items():
            values = [cost(k) for k in measured]
            cells = [name, *map(_number, values), *_growth(sizes, values, name)]
            print(f"| {' | '.join(cells)} |")
    if plot is not None:
        draw(kept, plot)


def _stores(kept: Sequence[Kept]) -> list[str]:
    return list(dict.fromkeys(k["store"] for k in kept))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 100:
        return f"{value:,.1f}"
    return f"{value:,.0f}"


def _growth(sizes: Sequence[int], values: Sequence[float | None], name: str) -> list[str]:
    """Return three table cells that describe how a cost grows with the number of runs.

    The cells contain the cost per additional run between the two largest sizes, its ratio to the
    cost per additional run between the previous sizes, and the extrapolated cost for a million
    runs.
    """
    points = [(n, v) for n, v in zip(sizes, values, strict=True) if v is not None]
    if len(points) < 2:
        return ["-", "-", "-"]
    (n0, v0), (n1, v1) = points[-2:]
    each = (v1 - v0) / (n1 - n0)
    million = v1 + each * (MILLION - n1)

    ratio = "-"
    if len(points) > 2:
        earlier_n, earlier_v = points[-3]
        if v0 > earlier_v and v1 > v0:
            earlier_each = (v0 - earlier_v) / (n0 - earlier_n)
            ratio = f"{each / earlier_each:.2f}"

    if name.endswith(" s"):
        return [f"{each * 1e3:.2f} ms", ratio, f"{million:,.0f} s"]
    return [f"{each * 1e3:.2f} kB", ratio, f"{million / 1e3:,.0f} GB"]


def draw(kept: Sequence[Kept], path: Path) -> None:
    """Draw time and memory versus the number of runs on logarithmic axes, and save the figure.

    Each cost has a color, and each store has a line style. Gray lines show linear growth.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    _draw_costs(time_axes, kept, "s", label="seconds")
    _draw_costs(memory_axes, kept, "MB", label="MB")
    figure.savefig(path, dpi=110)


def _draw_costs(axes: Axes, kept: Sequence[Kept], unit: str, label: str) -> None:
    """Draw the costs that have this unit."""
    from matplotlib.lines import Line2D

    styles = dict(zip(_stores(kept), STYLES, strict=False))
    costs = {name: cost for name, cost in COSTS.items() if name.endswith(f" {unit}")}
    for i, cost in enumerate(costs.values()):
        for store, style in styles.items():
            points = _points(kept, store, cost)
            if points:
                runs, values = zip(*points, strict=True)
                axes.plot(runs, values, style, marker="o", markersize=4, color=f"C{i % 10}")

    bottom, top = axes.get_ylim()
    _draw_linear_growth(axes, kept, (bottom, top))
    axes.set(xscale="log", yscale="log", xlabel="runs in the sweep", ylabel=label)
    axes.set_ylim(max(bottom, 0.1), 1.5 * top)

    lines = [Line2D([], [], color=f"C{i % 10}") for i in range(len(costs))]
    names = [name.removesuffix(unit).rstrip(", ") for name in costs]
    lines += [Line2D([], [], color="0.3", linestyle=style) for style in styles.values()]
    axes.legend(
        lines,
        [*names, *styles],
        fontsize=7,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=3,
    )


def _points(
    kept: Sequence[Kept], store: str, cost: Callable[[Kept], float | None]
) -> list[tuple[int, float]]:
    """Return the numbers of runs, in ascending order, and the positive costs of a store."""
    points = []
    for k in kept:
        if k["store"] == store:
            value = cost(k)
            if value is not None and value > 0:
                points.append((k["runs"], value))
    return sorted(points)


def _draw_linear_growth(axes: Axes, kept: Sequence[Kept], limits: tuple[float, float]) -> None:
    """Draw a gray line from each power of ten within the limits."""
    low = min(k["runs"] for k in kept)
    high = max(k["runs"] for k in kept)
    bottom, top = limits
    first_power = math.floor(math.log10(max(bottom, 0.1)))
    end_power = math.ceil(math.log10(top))
    for power in range(first_power, end_power):
        start = 10.0**power
        axes.plot([low, high], [start, start * high / low], color="0.88", linewidth=1, zorder=0)
