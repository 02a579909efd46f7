"""Sizes, colors, legends, and names of configurations in the figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.reports.escape import no_math
from lenet_exp.reports.files.plots import style

# Widths of figures in inches; a column of a paper is 3.4 inches wide.
WIDTH = 9.0
PAPER_WIDTH = 3.4

# Maximum number of characters in a configuration's name.
NAME_LENGTH = 44
PAPER_NAME_LENGTH = 24

# Maximum number of configurations in a figure.
MOST_CONFIGURATIONS = 20

BEST_COLOR = "#2563eb"
EXCLUDED_COLOR = "#8b93a1"
LINE_COLORS = colormaps["tab10"]

LEGEND_FONT = 8  # in points


@dataclass(frozen=True)
class FigureLayout:
    """The layout of a figure.

    Attributes:
        width: width in inches.
        for_paper: whether the figure is for a paper. Such a figure has no title, short names, and
            a legend below or above the axes instead of beside them.
    """

    width: float = WIDTH
    for_paper: bool = False

    @property
    def name_length(self) -> int:
        """The maximum number of characters in a configuration's name."""
        return PAPER_NAME_LENGTH if self.for_paper else NAME_LENGTH

    def figure(self, title: str, height: float) -> tuple[Figure, Axes]:
        """Return an empty figure and its axes.

        Args:
            height: height in inches. A figure for a paper that is wider than a column is also
                higher.
        """
        if self.for_paper:
            title = ""
            height *= max(self.width / PAPER_WIDTH, 1.0) ** 0.5
        figure = Figure(figsize=(self.width, height), layout="constrained")
        axes = figure.subplots()
        style(figure, title)
        return figure, axes

    def names(self, comparison: Comparison, groups: Sequence[Group]) -> list[str]:
        """Return the names of configurations, which are shortened if they remain distinct."""
        names = [comparison.name(group) for group in groups]
        shortened = [shorten(name, self.name_length, placeholder="…") for name in names]
        if len(set(shortened)) == len(set(names)):
            names = shortened
        return list(map(no_math, names))

    def add_legend(self, figure: Figure, title: str | None = None, *, below: bool = True) -> None:
        """Add a legend outside the axes.

        Args:
            below: whether the legend of a figure for a paper is below the axes, not above them.
        """
        if not self.for_paper:
            place = "outside right upper"
        elif below:
            place = "outside lower center"
        else:
            place = "outside upper center"
        figure.legend(
            frameon=False,
            fontsize=LEGEND_FONT,
            title=title,
            title_fontsize=LEGEND_FONT,
            loc=place,
            ncols=2 if self.for_paper else 1,
        )  # type: ignore[call-overload]
