"""Prints a comparison as a table in the terminal, with the verdict, the next step, and the effects
of flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.reports.columns import Column, columns, signed
from lenet_exp.reports.terminal.plain import PlainTable, wide_console
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.next_steps import cautions, next_step, notes
from lenet_exp.reports.words.run_outcomes import outcomes
from lenet_exp.reports.words.search_history import search_lines
from lenet_exp.reports.words.study_words import contrast_lines, dataset_lines, interaction_lines
from lenet_exp.reports.words.verdict import verdict

TERMINAL_ROWS = 50
MOST_VALUES = 20  # maximum number of values of a flag whose effects are listed
SEARCH_ROWS = (
    20  # maximum number of rows for a search, because most of its configurations were pruned
)
LEAST_WORDS = 26  # minimum width of columns with wrapped text, in characters


def shown_rows(comparison: Comparison, most: int | None = None) -> int:
    """Return the number of configurations that a table shows.

    Args:
        most: maximum number of rows; None for no limit.
    """
    rows = len(comparison.groups)
    if comparison.searched is not None:
        rows = min(sum(g.n > 0 for g in comparison.groups) or rows, SEARCH_ROWS)
    return rows if most is None else min(rows, most)


def more_line(comparison: Comparison, shown: int) -> str | None:
    """Return a line with the number of rows that a table does not show, or None if the table shows
    all rows.
    """
    rest = comparison.groups[shown:]
    if not rest:
        return None
    how = f" ({outcomes(rest)})" if comparison.searched is not None else ""
    return f"{len(rest)} more{how}"


def effect_lines(comparison: Comparison) -> list[str]:
    """Return lines about effects of flags, seed-to-seed variation, and interactions.

    For a search, return the search's history and the importance of flags instead. Effects would be
    biased, because pruning determines which trials finish, or because the results determined the
    part of a comparison.
    """
    if comparison.searched is not None:
        return search_lines(comparison.searched)
    found = comparison.effects
    if comparison.part:
        return []
    if found.aliased:
        return [f"effects of individual flags cannot be estimated: {found.no_shares}"]
    lines = [_effect_line(effect, comparison.metric) for effect in found.flags]
    if lines and found.no_shares is not None:
        lines.append(f"fractions of the variance cannot be estimated: {found.no_shares}")
    elif lines:
        rest = ""
        if found.interactions is None:
            rest = "; the fractions overlap, because combinations differ in their number of runs"
        elif len(found.flags) > 1:
            rest = f"; interactions {found.interactions:.0%}"
        lines.append(f"seeds and the rest {found.seeds:.0%} of the variance{rest}")
    return [*lines, *contrast_lines(comparison), *interaction_lines(comparison.interactions)]


def _effect_line(effect: Effect, metric: Metric) -> str:
    levels = []
    for level in effect.levels:
        lost = (
            f", {level.runs - level.finished} of {level.runs} unfinished"
            if level.finished < level.runs
            else ""
        )
        levels.append(f"{rounded(level.value)} {signed(level.effect, metric)}{lost}")
    share = "" if math.isnan(effect.share) else f" {effect.share:.0%} of the variance"
    return f"{effect.flag}{share}; averages: {first_of(levels, MOST_VALUES, '; ')}"


def print_comparison(comparison: Comparison, *, details: bool = False) -> None:
    """Print a comparison to stdout: the table, the verdict, and the next step.

    Args:
        details: whether to print the effects of flags, interactions, and notes, too. The history of
            a search is always printed.
    """
    console, shown = wide_console(), columns(comparison)
    cells = [
        [c.text(comparison, n) for c in shown] for n in range(shown_rows(comparison, TERMINAL_ROWS))
    ]
    table, fitting = PlainTable(), _fitting(shown, cells, console.width)
    for column in (shown[i] for i in fitting):
        left = column.wraps or column.name == "flag"
        table.add_column(
            column.title, justify="left" if left else "right", no_wrap=not column.wraps
        )
    for row in cells:
        table.add_row(*(row[i] for i in fitting))
    console.print(title_of(comparison))
    console.print(table)
    if (more := more_line(comparison, len(cells))) is not None:
        console.lines(f"{more}; to list them, run: lenet-compare output=report.csv")
    print_verdict(comparison, details=details)
    if details or comparison.searched is not None:
        console.lines(*(f"  {line}" for line in effect_lines(comparison)))
    elif len(comparison.groups) > 2 and comparison.leader is not None and not comparison.part:
        which = (
            f"lenet-compare sweep={its} details=true"
            if (its := comparison.design.sweep)
            else "add details=true"
        )
        console.lines(f"effects of flags and notes: {which}")


def print_datasets(comparisons: Sequence[Comparison]) -> None:
    """Print the comparison of the configurations over all datasets, if there are several datasets."""
    wide_console().lines(*dataset_lines(comparisons))


def _fitting(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[int]:
    """Return the indices of the columns to show, without the least important ones if the table is
    too wide.
    """
    widths = []
    for i, column in enumerate(columns):
        longest = max(len(text) for text in [column.title, *(row[i] for row in cells)])
        widths.append(LEAST_WORDS if column.wraps else 3 + longest)

    by_importance = []
    for i, column in enumerate(columns):
        if column.importance is not None:
            by_importance.append((column.importance, i))

    fitting = list(range(len(columns)))
    for _, i in sorted(by_importance):
        if sum(widths[i] for i in fitting) <= width:
            break
        fitting.remove(i)
    return fitting


def print_verdict(comparison: Comparison, *, details: bool = False) -> None:
    """Print the verdict and the next step, if there are several configurations.

    Args:
        details: whether to print all notes, not only those that change how the verdict is to be
            read.
    """
    if len(comparison.groups) < 2:
        return
    step = next_step(comparison)
    steps = [f"next: {step}"] if step is not None else []
    caveats = [f"note: {note}" for note in (notes if details else cautions)(comparison)]
    wide_console().lines(verdict(comparison), *best_lines(comparison), *steps, *caveats)


def title_of(comparison: Comparison) -> str:
    """Return the title of a comparison, such as `mnist: 12 runs, 4 configurations (11 finished, 1
    diverged)`.
    """
    again = comparison.num_runs - sum(group.replicates for group in comparison.groups)
    runs = number_of(comparison.num_runs, "run") + (
        f" ({number_of(again, 'duplicate')})" if again else ""
    )
    groups = f"{number_of(len(comparison.groups), 'configuration')} ({outcomes(comparison.groups)})"
    return f"{comparison.dataset}: {runs}, {groups}{f'; shown: {comparison.part}' if comparison.part else ''}"
