"""Draws the rooms of the package and how often each imports which: `python -m docs.rooms` writes docs/rooms.png."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.test_layers import FILES, GRAPH, TOP_TO_BOTTOM, room

PURPOSE = {
    "commands": "one thin file a command, and the Python API",
    "hydra_plugins": "adapters: Hydra's sweeper and launcher",
    "sweeps": "a sweep from start to end; drives an executor",
    "executors": "where jobs run side by side",
    "runs": "makes jobs, opens their runs, trains them",
    "prediction": "test sets, pictures, export",
    "tracking": "MLflow, and nothing but MLflow",
    "reports": "what a person sees",
    "comparison": "what runs mean: groups, statistics, words",
    "folders": "the truth on disk, and its records",
    "training": "fit, engine, network, schedule, augmentation",
    "data": "files, readers, images, split, digests",
    "config": "schema, compose, ranges, fingerprint",
    "ground": "pool, stopping, files, outputs, addresses, seeds, machine, errors",
}
ROW = 0.5


def draw() -> Figure:
    """A row and a column for each room, top to bottom: how many imports the row's files have of the column's.

    Left of the diagonal there are none: a room imports only rooms below it.
    """
    lines = Counter[str]()
    for module, file in FILES.items():
        lines[room(module)] += file.read_text().count("\n")
    imports = Counter((room(m), room(i)) for m, found in GRAPH.items() for i in found)
    n = len(TOP_TO_BOTTOM)
    figure = Figure(figsize=(13, 6.6))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-8.6, n * ROW + 0.3)
    axes.set_ylim(n * ROW + 0.2, -1.7)
    axes.set_axis_off()
    for row, above in enumerate(TOP_TO_BOTTOM):
        y = (row + 0.5) * ROW
        axes.text(-8.4, y, above, fontsize=11, fontweight="bold", va="center")
        axes.text(-6.5, y, PURPOSE[above], fontsize=9, va="center")
        axes.text(-0.15, y, f"{lines[above]:,} lines", fontsize=9, va="center", ha="right", color="#64748b")
        axes.text(y, -0.1, above, fontsize=9, rotation=55, va="bottom", ha="left")
        for column, below in enumerate(TOP_TO_BOTTOM):
            count = imports[above, below]
            shade = "#e2e8f0" if row == column else "#dbeafe" if count else "#ffffff"
            cell = Rectangle((column * ROW, row * ROW), ROW, ROW, facecolor=shade, edgecolor="#cbd5e1", linewidth=0.6)
            axes.add_patch(cell)
            if count:
                axes.text((column + 0.5) * ROW, y, str(count), fontsize=8.5, va="center", ha="center")
    return figure


if __name__ == "__main__":
    figure = draw()
    FigureCanvasAgg(figure)
    figure.savefig(Path(__file__).parent / "rooms.png", dpi=100)
