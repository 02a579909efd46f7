"""The description of the MLflow run of a sweep: the verdict and the ten best configurations.

MLflow shows only the top 100 pixels of a description and hides the rest behind "Show more".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from textwrap import shorten

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.reports.columns import accuracy
from lenet_exp.reports.escape import html
from lenet_exp.reports.words.verdict import verdict

MOST_CONFIGURATIONS = 10
NAME_LENGTH = 60  # maximum number of characters in a configuration's name
NO_BREAK = "\N{NO-BREAK SPACE}"

Links = Callable[[Group], str | None]


def final_description(comparisons: Sequence[Comparison], links: Links, report: str) -> str:
    """Return the description for a sweep that has ended, as HTML with tags that MLflow accepts.

    Args:
        links: function that returns the address of a configuration's best run.
        report: address of the full report.
    """
    lines = []
    for comparison in comparisons:
        result = verdict(comparison)
        if len(comparisons) > 1:
            result = f"{comparison.dataset}: {result}"
        lines.append(f'<b>{html(result)}</b> <a href="{escape(report)}">report</a>')

        with_result = [group for group in comparison.groups if group.n or group.diverged]
        configurations = [
            _configuration(comparison, group, links) for group in with_result[:MOST_CONFIGURATIONS]
        ]
        if configurations:
            lines.append(", ".join(configurations))
    return "".join(f"<div>{line}</div>\n" for line in lines)


def _configuration(comparison: Comparison, group: Group, links: Links) -> str:
    """Format a configuration as its name, which links to its best run, and its accuracy, without
    line breaks.
    """
    name = _spaced(shorten(comparison.name(group), NAME_LENGTH, placeholder="…"))
    address = links(group)
    if address is not None:
        name = f'<a href="{escape(address)}">{name}</a>'
    result = accuracy(group) if group.n else "diverged"
    return f"{name}{NO_BREAK}{_spaced(result)}"


def _spaced(text: str) -> str:
    """Replace spaces with no-break spaces, so that MLflow does not split `90.92 ± 0.21` across two
    lines.
    """
    return html(text).replace(" ", NO_BREAK)
