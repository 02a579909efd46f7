"""A comparison as one pastes it into a pull request: the verdict, a short table, the lines to type."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.comparison.advice import next_command, next_step
from lenet_exp.comparison.brief import brief
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.words import verdict
from lenet_exp.config.names import rounded
from lenet_exp.reports.escape import as_line, code, inline
from lenet_exp.reports.search_lines import search_lines
from lenet_exp.reports.source import Source
from lenet_exp.reports.terminal.leaderboard import accuracy, more_line, short, shown_rows, title_of

ROWS = 10  # of each table; the page has all


def pull_request(comparisons: Sequence[Comparison], source: Source) -> str:
    """As Markdown."""
    parts = [_part(comparison, source) for comparison in comparisons]
    return "\n".join([*parts, f"Made by {code(source.title)}\n"])


def _part(comparison: Comparison, source: Source) -> str:
    lines = [f"**{inline(verdict(comparison))}**", ""]
    shown = shown_rows(comparison, ROWS)
    titles = ["#", *map(short, comparison.flags), f"{comparison.by} val, %", "n", "verdict"]
    numbers = 1 + len(comparison.flags)
    rule = [" ---: " if i in {0, numbers, numbers + 1} else " --- " for i in range(len(titles))]
    lines += [_row(titles), f"|{'|'.join(rule)}|"]
    for position, group in enumerate(comparison.groups[:shown]):
        values = map(rounded, comparison.values(group))
        lines.append(_row([str(position + 1), *values, accuracy(group), str(group.n), brief(comparison, position)]))
    lines.append("")
    if (more := more_line(comparison, shown)) is not None:
        lines += [f"{more}.", ""]
    lines += [f"{as_line(title_of(comparison))}; validation accuracy, mean ± standard deviation over seeds.", ""]
    if comparison.searched is not None:
        lines += [*(f"- {as_line(line)}" for line in search_lines(comparison.searched)), ""]
    step, command = next_step(comparison), next_command(comparison, source.command)
    if command is not None:
        lines += [f"Next: {code(command)}", ""]
    elif step is not None:
        lines += [f"Next: {inline(step)}", ""]
    return "\n".join(lines)


def _row(values: Sequence[str]) -> str:
    return "| " + " | ".join(map(inline, values)) + " |"
