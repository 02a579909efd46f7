"""Measure how accuracy grows with the number of parameters: networks found by searches, trained
with ten seeds each.

Like `benchmarks.results`, this trains and tests the runs that benchmarks/manifest.json lacks. It
then writes the table benchmarks/frontier.md and the figure docs/reference/frontier.png.
benchmarks/search.md describes the searches.

    python -m benchmarks.frontier

The eleven LeNets in the table took two and a half hours on two busy cores, the convolutional
network an hour. Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from statistics import mean, stdev
from typing import TYPE_CHECKING

from benchmarks.manifest import MANIFEST, NAMES, ROOT, Runs, manifest
from benchmarks.measure import positive
from benchmarks.recipes import FRONTIER, NEW_SEEDS, RECIPES
from benchmarks.results import complete, parameters, results_cells
from lenet_exp.api import compose
from lenet_exp.files import write_atomic
from lenet_exp.reports.files.plots import png
from lenet_exp.training.network import network_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = MANIFEST.with_name("frontier.md")
FIGURE = ROOT / "docs" / "reference" / "frontier.png"
DATASETS = ("mnist", "fashion_mnist")


HEAD = (
    "| dataset | parameters | multiply-adds | channels | kernel | units | epochs "
    "| best validation, % | test, % | sampling error | n |",
    "| --- | ---: | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
)


def main() -> None:
    """Train the networks, and write the table and the figure."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--workers", type=positive, help="runs side by side (default: one a core)")
    options.add_argument(
        "--networks", nargs="+", default=[r.name for r in FRONTIER], help="default: all"
    )
    options.add_argument(
        "--as-is", action="store_true", help="train nothing: show the runs in the manifest"
    )
    arguments = options.parse_args()

    for row in FRONTIER:
        if row.name in arguments.networks and not arguments.as_is:
            complete(row, arguments.workers)
    runs_by_row = manifest()
    TABLE.write_text("\n".join(table(runs_by_row)) + "\n")
    write_atomic(FIGURE, png(figure(runs_by_row)))
    print(TABLE.read_text())


def table(runs_by_row: Mapping[str, Runs]) -> list[str]:
    """Return the table of the networks in the manifest in Markdown."""
    lines = [*HEAD]
    for row in FRONTIER:
        if row.key not in runs_by_row:
            continue
        config = compose(row.overrides)
        model = config.model
        size = network_size(config)
        cells = [
            NAMES[row.dataset],
            f"{size.parameters:,}",
            f"{size.multiply_adds:,}",
            ", ".join(map(str, model.get("channels", ()))),
            f"{model['kernel_size']}x{model['kernel_size']}",
            ", ".join(map(str, model.get("units", ()))),
            str(config.num_epoch),
            *results_cells(runs_by_row[row.key]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def figure(runs_by_row: Mapping[str, Runs]) -> Figure:
    """Draw the test error of the networks and recipes versus their number of parameters, for each
    dataset.

    Bars show the standard deviation over seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    lenets = [row for row in FRONTIER if row.engine == "native"]
    recipes = [row for row in RECIPES if row.seeds == NEW_SEEDS]
    convnets = [row for row in (*RECIPES, *FRONTIER) if row.engine == "torch"]
    series = (
        ("LeNet-5, 40 epochs, 50,000 images", "C0o-", lenets),
        ("LeNet-5, recipes, 58,000 images", "C1s", recipes),
        ("convnet, 59,000 images", "C2^-", convnets),
    )

    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, dataset in zip(drawn.subplots(1, len(DATASETS)), DATASETS, strict=True):
        for label, style, rows in series:
            points = []  # number of parameters, mean error, and standard deviation
            for row in rows:
                if row.dataset == dataset and row.key in runs_by_row:
                    percentages = errors(runs_by_row[row.key])
                    points.append((parameters(row), mean(percentages), stdev(percentages)))
            points.sort(key=lambda point: point[0])
            axes.errorbar(
                [number for number, _, _ in points],
                [error for _, error, _ in points],
                [deviation for _, _, deviation in points],
                fmt=style,
                capsize=3,
                label=label,
            )

        axes.set(
            xscale="log",
            yscale="log",
            title=NAMES[dataset],
            xlabel="parameters",
            ylabel="test error, %",
        )
        for axis, subs in ((axes.xaxis, (1, 3)), (axes.yaxis, (1, 1.5, 2, 3, 4, 6, 8))):
            axis.set_major_locator(LogLocator(subs=subs, numticks=20))
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    return drawn


def errors(runs: Runs) -> list[float]:
    """Return the test error of each run, in percent."""
    return [100 * (1 - float(run["test_accuracy"])) for run in runs.values()]


if __name__ == "__main__":
    main()
