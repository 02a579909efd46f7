"""Variants of Rich's console and table that print untrusted text, such as parameters and names,
literally.
"""

from __future__ import annotations

import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lenet_exp.errors import printable

WIDE = 240  # width in characters, in which all columns of a table fit


class PlainConsole(Console):
    """A console on stdout without markup, so that `[affine,flip]` is printed literally."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects without terminal control characters."""
        super().print(*map(_literal, objects), **options)

    def lines(self, *lines: str) -> None:
        """Print lines of text, each of them unbroken."""
        for line in lines:
            self.print(line, soft_wrap=True)


class PlainTable(Table):
    """A table without markup, with a horizontal line below the column titles."""

    def __init__(self, title: str | None = None) -> None:
        super().__init__(title=title, box=SIMPLE_HEAD, pad_edge=False)

    def add_column(self, header: Any = "", *others: Any, **options: Any) -> None:
        """Add a column with a title that is printed literally."""
        super().add_column(_literal(header), *others, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of cells that are printed literally."""
        super().add_row(*map(_literal, cells), **options)


def wide_console() -> PlainConsole:
    """Return a console on stdout that is wide enough for all columns of a table if stdout is not a
    terminal.
    """
    if sys.stdout.isatty():
        return PlainConsole()
    return PlainConsole(width=WIDE)


def _literal(part: Any) -> Any:
    """Remove control characters from text; return other objects unchanged."""
    return printable(part) if isinstance(part, str) else part
