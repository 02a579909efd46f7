"""Draw the layers of the package and the number of imports between them.

`python -m benchmarks.layers` saves the figure as .github/layers.png.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.test_layers import FILES, GRAPH, layer

PURPOSE = {
    "commands": "one thin file per command",
    "hydra_plugins": "adapters: Hydra's sweepers and launchers",
    "api": "the Python API",
    "ui": "MLflow's user interface, links into it",
    "removal": "lenet-sweep rm",
    "confirmation": "tests a leader on new seeds",
    "searches": "plan, trials, samplers, study, seed race",
    "sweeps": "grids, and what every sweep shares",
    "runs": "make, open, train and reproduce runs",
    "prediction": "test sets, pictures, export",
    "tracking": "uploads to MLflow",
    "reports": "what a person sees",
    "executors": "local processes, Ray, Slurm",
    "comparison": "statistics and verdicts, as values",
    "folders": "run and sweep folders, their records",
    "training": "fit, networks, engines, augmentation",
    "data": "files, readers, images, split, digests",
    "config": "schema, compose, ranges, fingerprint",
    "ground": "files, errors, stopping, machine, seeds",
}
ROW = 0.5


def draw() -> Figure:
    """Draw a matrix of imports, with a row and a column for each layer, from the top layer to the
    bottom layer.

    A cell contains the number of imports in the row's layer from the column's layer. All cells to
    the left of the diagonal are empty, because a layer imports only from layers below it.
    """

    def top(module: str) -> str:
        return layer(module).partition(".")[0]

    lines = Counter[str]()
    for module, file in FILES.items():
        lines[top(module)] += file.read_text().count("\n")
    imports = Counter[tuple[str, str]]()
    for module, imported_modules in GRAPH.items():
        for imported in imported_modules:
            imports[top(module), top(imported)] += 1

    n = len(PURPOSE)
    figure = Figure(figsize=(15, 0.5 * n + 1.4))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-8.0, n * ROW + 0.5)
    axes.set_ylim(n * ROW + 0.2, -1.5)
    axes.set_axis_off()

    for row, (above, purpose) in enumerate(PURPOSE.items()):
        y = (row + 0.5) * ROW
        axes.text(-7.9, y, above, fontsize=11, fontweight="bold", va="center")
        axes.text(-5.9, y, purpose, fontsize=10, va="center")
        size = f"{lines[above]:,} lines"
        axes.text(-0.15, y, size, fontsize=9, va="center", ha="right", color="#64748b")
        axes.text(y, -0.1, above, fontsize=10, rotation=55, va="bottom", ha="left")
        for column, below in enumerate(PURPOSE):
            count = imports[above, below]
            shade = "#ffffff"
            if row == column:
                shade = "#e2e8f0"
            elif count:
                shade = "#dbeafe"
            corner = (column * ROW, row * ROW)
            cell = Rectangle(corner, ROW, ROW, facecolor=shade, edgecolor="#cbd5e1", linewidth=0.6)
            axes.add_patch(cell)
            if count:
                axes.text((column + 0.5) * ROW, y, str(count), fontsize=9, va="center", ha="center")
    return figure


if __name__ == "__main__":
    figure = draw()
    FigureCanvasAgg(figure)
    figure.savefig(Path(__file__).parents[1] / ".github" / "layers.png", dpi=100)
