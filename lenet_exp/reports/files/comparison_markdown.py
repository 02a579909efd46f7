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
    results_over_datasets = dataset_lines(comparisons)
    if results_over_datasets:
        parts.append("".join(f"- {as_line(line)}\n" for line in results_over_datasets))
    parts.append(f"Created by {code(source.title)}\n")
    return "\n".join(parts)


def _part(comparison: Comparison, source_command: str | None, most_rows: int) -> str:
    """Format one comparison as paragraphs."""
    paragraphs = [f"**{inline(verdict(comparison))}**"]
    candidates = best_lines(comparison)
    if candidates:
        paragraphs.append(inline(" ".join(candidates)))

    command = next_command(comparison, source_command)
    step = next_step(comparison, command)
    if step is not None:
        paragraphs.append(f"Next: {inline(step)}")
    if command is not None:
        paragraphs.append(code(command))
    paragraphs += [f"{inline(capital(note))}." for note in notes(comparison)]

    shown = shown_rows(comparison, most_rows)
    paragraphs.append(as_line(title_of(comparison)))
    paragraphs.append(_table(comparison, shown))
    not_shown = more_line(comparison, shown)
    if not_shown is not None:
        paragraphs.append(not_shown)

    paragraphs.append("\n".join(f"- {as_line(line)}" for line in effect_lines(comparison)))
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _table(comparison: Comparison, shown: int) -> str:
    """Format the first rows of a leaderboard."""
    shown_columns = columns(comparison)
    rows = [
        _row(column.title for column in shown_columns),
        "|" + " --- |" * len(shown_columns),
    ]
    for position in range(shown):
        rows.append(_row(column.text(comparison, position) for column in shown_columns))
    return "\n".join(rows)


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(map(inline, values)) + " |"
