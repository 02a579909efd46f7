"""Formats comparisons as Markdown, for MLflow and for pull requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.reports.columns import columns
from lenet_exp.reports.escape import as_line, code, inline
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import effect_lines, more_line, shown_rows, title_of
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.formatting import capital
from lenet_exp.reports.words.next_steps import next_command, next_step, notes
from lenet_exp.reports.words.study_words import dataset_lines
from lenet_exp.reports.words.verdict import verdict

ROWS = 100


def markdown(comparisons: Sequence[Comparison], source: RunSource, rows: int = ROWS) -> str:
    """Format the verdict, leaderboard, and effects of each comparison as Markdown.

    Args:
        source: source of the runs in the comparisons.
        rows: maximum number of rows in each leaderboard.
    """
    parts = [_part(comparison, source.command, rows) for comparison in comparisons]
    parts += ["".join(f"- {as_line(line)}\n" for line in dataset_lines(comparisons))]
    return "\n".join([*filter(None, parts), f"Created by {code(source.title)}\n"])


def _part(comparison: Comparison, command: str | None, most: int) -> str:
    lines = [f"**{inline(verdict(comparison))}**"]
    if said := best_lines(comparison):
        lines.append(inline(" ".join(said)))
    command = next_command(comparison, command)
    if (step := next_step(comparison, command)) is not None:
        lines.append(f"Next: {inline(step)}")
    if command is not None:
        lines.append(code(command))
    lines += [f"{inline(capital(note))}." for note in notes(comparison)]
    shown, cols = shown_rows(comparison, most), columns(comparison)
    rows = [_row(c.title for c in cols), "|" + " --- |" * len(cols)]
    rows += [_row(c.text(comparison, n) for c in cols) for n in range(shown)]
    lines += [as_line(title_of(comparison)), "\n".join(rows)]
    if (more := more_line(comparison, shown)) is not None:
        lines.append(more)
    lines.append("\n".join(f"- {as_line(line)}" for line in effect_lines(comparison)))
    return "\n\n".join(filter(None, lines)) + "\n"


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(map(inline, values)) + " |"
