"""The description of the MLflow run of a sweep: the verdict and the ten best configurations.

On a screen that is 1280 pixels wide, MLflow shows descriptions in a column that is 554 pixels wide. MLflow shows only
the top 100 pixels and hides the rest behind "Show more". To save space, the configurations are arranged side by side in
HTML, with tags that MLflow accepts. Markdown would need more space, because its paragraphs have margins and its tables
have a header row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from textwrap import shorten

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.reports.columns import accuracy
from lenet_exp.reports.escape import html
from lenet_exp.reports.words.phrases import verdict

MOST = 10  # maximum number of configurations
HEIGHT, LINE, ROW = 100, 18, 20  # heights in pixels: visible part, line of text, table row
GAPS = 5  # number of characters in a rank, including the spaces around it
NAME = 60  # maximum number of characters in a configuration's name
WIDTH = 84  # number of characters per line in the column
NO_BREAK = "\N{NO-BREAK SPACE}"

Links = Callable[[Group], str | None]


def final_description(comparisons: Sequence[Comparison], links: Links, report: str) -> str:
    """Return the description for a sweep that has ended.

    Args:
        links: function that returns the address of a configuration's best run.
        report: address of the full report.
    """
    several = len(comparisons) > 1
    said = [f"{c.dataset}: {verdict(c)}" if several else verdict(c) for c in comparisons]
    rows = _rows(f"{line} report" for line in said)
    heads = [f'<b>{html(line)}</b> <a href="{escape(report)}">report</a>' for line in said]
    return "".join(_block(*pair, rows, links) for pair in zip(heads, comparisons, strict=True))


def _rows(heads: Iterable[str]) -> int:
    """Return the number of table rows that fit below these heads in the visible part of the description."""
    lines = [math.ceil(len(head) / WIDTH) for head in heads]
    return max(1, (HEIGHT - LINE * sum(lines)) // (ROW * max(1, len(lines))))


def _block(head: str, comparison: Comparison, rows: int, links: Links) -> str:
    """Format the best configurations as an HTML table, to be read column by column.

    If the configurations have long names, the table lists fewer of them.
    """
    known = [g for g in comparison.groups if g.n or g.diverged][:MOST]
    texts = [(shorten(comparison.name(g), NAME, placeholder="…"), accuracy(g) if g.n else "diverged") for g in known]
    widest = max((len(name) + len(value) + GAPS for name, value in texts), default=1)
    shown = min(len(known), rows * max(1, WIDTH // widest))
    table = [
        "".join(_cells(n, known[n], *texts[n], links) for n in range(row, shown, rows))
        for row in range(min(rows, shown))
    ]
    rows_of_html = "\n".join(f"<tr>{cells}</tr>" for cells in table)
    return f"<div>{head}</div>\n" + (f"<table>\n{rows_of_html}\n</table>\n" if table else "")


def _cells(position: int, group: Group, name: str, value: str, links: Links) -> str:
    link, shown = links(group), _spaced(value)
    if link is not None:
        shown = f'<a href="{escape(link)}">{shown}</a>'
    return f"<td>{position + 1}{NO_BREAK}</td><td>{_spaced(name)}{NO_BREAK}</td><td>{shown}{3 * NO_BREAK}</td>"


def _spaced(text: str) -> str:
    """Replace spaces with no-break spaces, so that MLflow does not split `90.92 ± 0.21` across two lines."""
    return html(text).replace(" ", NO_BREAK)
