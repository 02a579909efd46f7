"""Prints a comparison as a table in the terminal, with the verdict, the next step, and the effects
of flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.amounts import first_of, number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect, Effects
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

TERMINAL_ROWS = 50  # maximum number of rows
MOST_VALUES = 20  # maximum number of values of a flag whose effects are listed

# The maximum number of rows for a search, because most of its configurations were pruned.
SEARCH_ROWS = 20

LEAST_WORDS = 26  # minimum width of columns with wrapped text, in characters


def shown_rows(comparison: Comparison, most: int | None = None) -> int:
    """Return the number of configurations that a table shows.

    Args:
        most: maximum number of rows; None for no limit.
    """
    rows = len(comparison.groups)
    if comparison.searched is not None:
        with_result = sum(group.n > 0 for group in comparison.groups)
        rows = min(with_result or rows, SEARCH_ROWS)
    return rows if most is None else min(rows, most)


def more_line(comparison: Comparison, shown: int) -> str | None:
    """Return a line with the number of rows that a table does not show, or None if the table shows
    all rows.
    """
    others = comparison.groups[shown:]
    if not others:
        return None
    if comparison.searched is None:
        return f"{len(others)} more"
    return f"{len(others)} more ({outcomes(others)})"


def effect_lines(comparison: Comparison) -> list[str]:
    """Return lines about effects of flags, seed-to-seed variation, and interactions.

    For a search, return the search's history and the importance of flags instead. Effects would be
    biased, because pruning determines which trials finish, or because the results determined the
    part of a comparison.
    """
    if comparison.searched is not None:
        return search_lines(comparison.searched)
    if comparison.part:
        return []
    effects = comparison.effects
    if effects.aliased:
        return [f"effects of individual flags cannot be estimated: {effects.no_shares}"]

    lines = [_effect_line(effect, comparison.metric) for effect in effects.flags]
    if lines:
        lines.append(_variance_line(effects))
    return [*lines, *contrast_lines(comparison), *interaction_lines(comparison.interactions)]


def _variance_line(effects: Effects) -> str:
    """Describe the fractions of the variance that are not due to a single flag."""
    if effects.no_shares is not None:
        return f"fractions of the variance cannot be estimated: {effects.no_shares}"

    line = f"seeds and the rest {effects.seeds:.0%} of the variance"
    if effects.interactions is None:
        reason = "because combinations differ in their number of runs"
        return f"{line}; the fractions overlap, {reason}"
    if len(effects.flags) > 1:
        return f"{line}; interactions {effects.interactions:.0%}"
    return line


def _effect_line(effect: Effect, metric: Metric) -> str:
    """Describe the effect of a flag: `activation 40% of the variance; averages: selu +0.21, relu
    -0.21`.
    """
    levels = []
    for level in effect.levels:
        text = f"{rounded(level.value)} {signed(level.effect, metric)}"
        num_unfinished = level.runs - level.finished
        if num_unfinished > 0:
            text += f", {num_unfinished} of {level.runs} unfinished"
        levels.append(text)

    name = effect.flag
    if not math.isnan(effect.share):
        name += f" {effect.share:.0%} of the variance"
    return f"{name}; averages: {first_of(levels, MOST_VALUES, '; ')}"


def print_comparison(comparison: Comparison, *, details: bool = False) -> None:
    """Print a comparison to stdout: the table, the verdict, and the next step.

    Args:
        details: whether to print the effects of flags, interactions, and notes, too. The history of
            a search is always printed.
    """
    console = wide_console()
    console.print(title_of(comparison))
    num_rows = shown_rows(comparison, TERMINAL_ROWS)
    console.print(_table(comparison, num_rows, console.width, details=details))
    more = more_line(comparison, num_rows)
    if more is not None:
        console.lines(f"{more}; to list them, run: lenet-compare output=report.csv")
    print_verdict(comparison, details=details)

    if details or comparison.searched is not None:
        console.lines(*(f"  {line}" for line in effect_lines(comparison)))
    elif _has_details(comparison):
        sweep = comparison.design.sweep
        how = f"lenet-compare sweep={sweep} details=true" if sweep else "add details=true"
        console.lines(f"effects of flags and notes: {how}")


def _has_details(comparison: Comparison) -> bool:
    """Return whether a comparison has effects of flags that are worth a line of their own."""
    if comparison.part or comparison.leader is None:
        return False
    return len(comparison.groups) > 2


def _table(comparison: Comparison, num_rows: int, width: int, *, details: bool) -> PlainTable:
    """Return the first rows of a comparison's table.

    Args:
        width: width of the terminal in characters.
        details: whether to show the columns with details.
    """
    all_columns = columns(comparison, details=details)
    cells = []
    for position in range(num_rows):
        cells.append([column.text(comparison, position) for column in all_columns])

    fitting = _fitting(all_columns, cells, width)
    table = PlainTable()
    for i in fitting:
        column = all_columns[i]
        is_left = column.wraps or column.name == "flag"
        justify = "left" if is_left else "right"
        table.add_column(column.title, justify=justify, no_wrap=not column.wraps)
    for row in cells:
        table.add_row(*(row[i] for i in fitting))
    return table


def print_datasets(comparisons: Sequence[Comparison]) -> None:
    """Print the comparison of the configurations over all datasets, if there are several."""
    wide_console().lines(*dataset_lines(comparisons))


def _fitting(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[int]:
    """Return the indices of the columns to show, without the least important ones if the table is
    too wide.
    """
    widths = []
    for i, column in enumerate(columns):
        texts = [column.title, *(row[i] for row in cells)]
        longest = max(map(len, texts))
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

    lines = [verdict(comparison), *best_lines(comparison)]
    step = next_step(comparison)
    if step is not None:
        lines.append(f"next: {step}")
    caveats = notes(comparison) if details else cautions(comparison)
    lines += [f"note: {caveat}" for caveat in caveats]
    wide_console().lines(*lines)


def title_of(comparison: Comparison) -> str:
    """Return the title of a comparison, such as `mnist: 12 runs, 4 configurations (11 finished, 1
    diverged)`.
    """
    groups = comparison.groups_with_all_runs
    runs = number_of(comparison.num_runs, "run")
    num_duplicates = comparison.num_runs - sum(group.replicates for group in groups)
    if num_duplicates:
        runs += f" ({number_of(num_duplicates, 'duplicate')})"

    configurations = f"{number_of(len(groups), 'configuration')} ({outcomes(groups)})"
    title = f"{comparison.dataset}: {runs}, {configurations}"
    return f"{title}; shown: {comparison.part}" if comparison.part else title
