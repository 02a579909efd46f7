"""Measure how accuracy grows with the number of parameters: networks found by searches, trained with ten seeds each.

Like `benchmarks.results`, this trains and tests the runs that benchmarks/manifest.json lacks. It then writes the table
benchmarks/frontier.md and the figure docs/explanation/frontier.png. benchmarks/search.md describes the searches.

    python -m benchmarks.frontier

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from statistics import mean, stdev
from typing import TYPE_CHECKING

from benchmarks.manifest import MANIFEST, NAMES, ROOT, Runs, manifest
from benchmarks.measure import positive
from benchmarks.recipes import FRONTIER, RECIPES
from benchmarks.results import complete, parameters, results_cells
from lenet_exp.api import compose
from lenet_exp.files import write_atomic
from lenet_exp.reports.files.plots import png
from lenet_exp.training.network import network_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = MANIFEST.with_name("frontier.md")
FIGURE = ROOT / "docs" / "explanation" / "frontier.png"
LENET = {"mnist": "mnist_best", "fashion_mnist": "fashion_best"}  # recipes for LeNet-5, which the figure marks


def main() -> None:
    """Train the networks, and write the table and the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workers", type=positive, help="runs side by side (default: one a core)")
    options.add_argument("--networks", nargs="+", default=[r.name for r in FRONTIER], help="default: all")
    options.add_argument("--as-is", action="store_true", help="train nothing: show the runs in the manifest")
    asked = options.parse_args()
    for row in FRONTIER:
        if row.name in asked.networks and not asked.as_is:
            complete(row, asked.workers)
    kept = manifest()
    TABLE.write_text("\n".join(table(kept)) + "\n")
    write_atomic(FIGURE, png(figure(kept)))
    print(TABLE.read_text())


def table(kept: Mapping[str, Runs]) -> list[str]:
    """Return the table of the networks in the manifest in Markdown."""
    lines = [
        "| dataset | parameters | multiply-adds | channels | kernel | units | epochs | best validation, % | test, % | "
        "sampling error | n |",
        "| --- | ---: | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (row for row in FRONTIER if row.key in kept):
        config = compose(row.overrides)
        model, size = config.model, network_size(config)
        lists = [", ".join(map(str, model[name])) for name in ("channels", "units")]
        cells = [NAMES[row.dataset], f"{size.parameters:,}", f"{size.multiply_adds:,}", lists[0]]
        cells += [f"{model['kernel_size']}x{model['kernel_size']}", lists[1], str(config.num_epoch)]
        lines.append(f"| {' | '.join([*cells, *results_cells(kept[row.key])])} |")
    return lines


def figure(kept: Mapping[str, Runs]) -> Figure:
    """Draw the test error of the networks versus their number of parameters, for each dataset."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (dataset, lenet) in zip(drawn.subplots(1, len(LENET)), LENET.items(), strict=True):
        for label, style, rows in (
            ("networks found by the search", "C0o-", [row for row in FRONTIER if row.dataset == dataset]),
            ("LeNet-5", "C1s", [row for row in RECIPES if row.name == lenet]),
        ):
            known = sorted((parameters(row), errors(kept[row.key])) for row in rows if row.key in kept)
            x, y = [n for n, _ in known], [mean(its) for _, its in known]
            axes.errorbar(x, y, [stdev(its) for _, its in known], fmt=style, capsize=3, label=label)
        axes.set(xscale="log", yscale="log", title=NAMES[dataset], xlabel="parameters", ylabel="test error, %")
        for which in ("major", "minor"):
            getattr(axes.yaxis, f"set_{which}_formatter")(ScalarFormatter())
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    return drawn


def errors(runs: Runs) -> list[float]:
    """Return the test error of each run, in percent."""
    return [100 * (1 - float(run["test_accuracy"])) for run in runs.values()]


if __name__ == "__main__":
    main()
