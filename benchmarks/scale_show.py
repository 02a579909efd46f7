"""Show the measurements from `scale.py` versus the number of runs, as tables and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Kept = dict[str, Any]
MILLION = 1_000_000
STYLES = ("-", "--", ":")
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
    for store in dict.fromkeys(k["store"] for k in kept):
        rows = sorted((k for k in kept if k["store"] == store), key=lambda k: k["runs"])
        sizes = [k["runs"] for k in rows]
        head = [store, *(f"{n:,} runs" for n in sizes), "one more run", "/ before", "a million"]
        print(f"\n| {' | '.join(head)} |\n| --- |{' ---: |' * (len(head) - 1)}")
        for name, cost in COSTS.items():
            values = [cost(k) for k in rows]
            print(f"| {' | '.join([name, *map(_number, values), *_growth(sizes, values, name)])} |")
    if plot is not None:
        draw(kept, plot)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


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
    unit, factor = ("ms", 1e3) if name.endswith(" s") else ("kB", 1e3)
    power = "-"
    if len(points) > 2 and points[-2][1] > points[-3][1] and v1 > v0:
        before = (v0 - points[-3][1]) / (n0 - points[-3][0])
        power = f"{each / before:.2f}"
    million = v1 + each * (MILLION - n1)
    unit_million = "s" if name.endswith(" s") else "GB"
    million = million if unit_million == "s" else million / 1e3
    return [f"{each * factor:.2f} {unit}", power, f"{million:,.0f} {unit_million}"]


def draw(kept: Sequence[Kept], path: Path) -> None:
    """Draw time and memory versus the number of runs on logarithmic axes, and save the figure.

    Each cost has a color, and each store has a line style. Gray lines show linear growth.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(12, 6), layout="constrained")
    styles = dict(zip(dict.fromkeys(k["store"] for k in kept), STYLES, strict=False))
    for axes, unit in zip(figure.subplots(1, 2), ("s", "MB"), strict=True):
        costs = {n: cost for n, cost in COSTS.items() if n.endswith(f" {unit}")}
        for i, cost in enumerate(costs.values()):
            for store, style in styles.items():
                points = [(k["runs"], cost(k)) for k in kept if k["store"] == store]
                known_points = sorted((n, v) for n, v in points if v is not None and v > 0)
                if known_points:
                    axes.plot(
                        *zip(*known_points, strict=True),
                        style,
                        marker="o",
                        markersize=4,
                        color=f"C{i % 10}",
                    )
        low, high = min(k["runs"] for k in kept), max(k["runs"] for k in kept)
        bottom, top = axes.get_ylim()
        for power in range(math.floor(math.log10(max(bottom, 0.1))), math.ceil(math.log10(top))):
            axes.plot(
                [low, high],
                [10.0**power, 10.0**power * high / low],
                color="0.88",
                linewidth=1,
                zorder=0,
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="runs in the sweep",
            ylabel={"s": "seconds", "MB": "MB"}[unit],
        )
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
    figure.savefig(path, dpi=110)
