r"""Formats a comparison as a LaTeX table for a paper: `\input{report}`, with
`\usepackage{booktabs}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.verdict import Relation, could_be_best, relation_of
from lenet_exp.errors import one_of, printable
from lenet_exp.reports.columns import Column, columns, judged_accuracy
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import more_line, shown_rows
from lenet_exp.reports.words.best_candidates import best_lines
from lenet_exp.reports.words.formatting import capital
from lenet_exp.reports.words.run_outcomes import (
    AT_CHANCE,
    COLLAPSED,
    at_chance,
    collapsed,
    diverged_on,
    unfinished,
)
from lenet_exp.reports.words.study_words import contrast_lines, dataset_lines, interaction_lines
from lenet_exp.reports.words.verdict import verdict

SIGNS: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
}
# Two of the characters -'`,?! would form a ligature. [ and * have a special meaning after the end
# of a row.
BRACED = re.compile(r"(?<=[-'`,?!])([-'`,])|^(\s*)([\[*])")


def tex(
    comparisons: Sequence[Comparison], source: RunSource, chosen: Sequence[str] | None = None
) -> str:
    """Format comparisons as LaTeX, with one table per dataset.

    A table lists the mean and standard deviation for each configuration, in bold if the
    configuration could be the best. The verdict and the results of other tests are comments above
    it.

    Args:
        chosen: names of the columns beside the flags; by default, all columns.

    Raises:
        ConfigError: there is no such column.
    """
    tables = []
    for comparison in comparisons:
        is_last = comparison is comparisons[-1]
        results = dataset_lines(comparisons) if is_last else []
        tables.append(_table(comparison, results, chosen))
    return f"% {printable(source.title)}\n% \\usepackage{{booktabs}}\n" + "\n".join(tables)


def escaped(text: str) -> str:
    """Escape text for LaTeX, so that the text is printed literally."""
    return BRACED.sub(r"\2{\1\3}", printable(text).translate(str.maketrans(SIGNS)))


def _table(
    comparison: Comparison, results_over_datasets: Sequence[str], chosen: Sequence[str] | None
) -> str:
    """Format the table of a comparison, with comments above it."""
    shown = shown_rows(comparison)
    may_be_best = could_be_best(comparison)
    columns = _columns(comparison, chosen)

    head = [escaped(column.tex) if column.name == "flag" else column.tex for column in columns]
    rows = [head]
    for position, group in enumerate(comparison.groups[:shown]):
        bold = group in may_be_best
        rows.append([_cell(column, comparison, position, bold) for column in columns])
    alignment = "".join("l" if column.name == "flag" else "r" for column in columns)

    caption = _caption(comparison, {column.name for column in columns}, shown)
    label = comparison.dataset
    if comparison.design.confirms is not None:
        label += "-confirmation"

    results = [*_results(comparison), *results_over_datasets]
    comments = "".join(f"% {printable(line)}\n" for line in results)
    return comments + tex_table(caption, label, alignment, rows)


def _columns(comparison: Comparison, chosen: Sequence[str] | None) -> list[Column]:
    """Return the flags and the chosen columns, or all columns if none are chosen."""
    every = columns(comparison, tex=True)
    if chosen is None:
        return every

    flags = [column for column in every if column.name == "flag"]
    results = {
        column.name.removesuffix("_alone"): column for column in every if column.name != "flag"
    }
    return flags + [results[one_of("columns", name, list(results))] for name in chosen]


def _results(comparison: Comparison) -> list[str]:
    """Return the verdict and the results of other tests, one per line."""
    results = []
    if len(comparison.groups) > 1:
        results = [verdict(comparison), *best_lines(comparison)]
    results += contrast_lines(comparison)
    results += interaction_lines(comparison.interactions)
    return results


def _caption(comparison: Comparison, column_names: set[str], shown: int) -> str:
    """Describe a table.

    Args:
        column_names: names of its columns.
        shown: number of its rows; the other configurations are not shown.
    """
    metric = comparison.metric
    name = escaped(metric.name)
    unit = r", in \%" if metric.percent else ""
    statistic = "mean" if comparison.race is not None else r"mean $\pm$ standard deviation"
    caption = (
        f"{capital(comparison.epoch)} validation {name} on {escaped(comparison.dataset)}{unit}: "
        f"{statistic} over $n$ seeds"
    )
    if "interval" in column_names:
        caption += r", and 95\% confidence interval (CI) of the mean."
    else:
        caption += "."

    if "lead" in column_names:
        better, worse = ("leader", "row") if metric.larger else ("row", "leader")
        points = ", in points" if metric.percent else ""
        caption += (
            f" Lead: {name} of the {better} minus that of the {worse}{points}, "
            r"with simultaneous 95\% intervals."
        )
    if could_be_best(comparison):
        caption += " Bold: could be the best."
    if column_names & {"test_alone", "test_lead"}:
        caption += " Test: accuracy of the same models on the test images."
    if comparison.part:
        caption += (
            f" Shown: {escaped(comparison.part)}; "
            "tests are corrected for all configurations of the sweep."
        )
    if any(map(at_chance, comparison.groups)):
        caption += f" At chance: {AT_CHANCE}."
    if any(map(collapsed, comparison.groups)):
        caption += f" Collapsed: {COLLAPSED}."

    not_shown = more_line(comparison, shown)
    if not_shown is not None:
        caption += f" Not shown: {escaped(not_shown)}."
    return caption


def tex_table(caption: str, label: str, alignment: str, cells: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX table, which spans both columns of a two-column paper if it has more than four
    columns.

    Args:
        label: text from which the label is made.
        alignment: alignment of each column: `l` or `r`.
        cells: the rows, first the head; texts are escaped.
    """
    environment = "table*" if len(alignment) > 4 else "table"
    label = re.sub(r"[^A-Za-z0-9.:-]+", "-", label)
    head, *rows = (f"    {' & '.join(row)} \\\\" for row in cells)
    lines = [
        rf"\begin{{{environment}}}",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        head,
        r"    \midrule",
        *rows,
        r"    \bottomrule",
        r"  \end{tabular}",
        rf"\end{{{environment}}}",
        "",
    ]
    return "\n".join(lines)


def _cell(column: Column, comparison: Comparison, position: int, bold: bool) -> str:
    """Return a cell, with minus signs instead of hyphens in numbers."""
    if column.name == "accuracy":
        return _result(comparison, position, bold)
    text = escaped(column.text(comparison, position))
    if column.name == "flag":
        return text
    return re.sub(r"-(?=\d)", "$-$", text)


def _result(comparison: Comparison, position: int, bold: bool) -> str:
    """Format the accuracy of a configuration, or state that it has none.

    Remarks such as `diverged on 1 of 3 seeds` follow in parentheses.
    """
    group = comparison.groups[position]
    if not group.n:
        return escaped(unfinished(group))

    remarks = []
    if group.diverged:
        remarks.append(diverged_on(group))
    if relation_of(comparison, position) is Relation.unstable:
        remarks.append("unstable")
    remarks += [at_chance(group), collapsed(group)]
    remarks = [remark for remark in remarks if remark]

    text = escaped(judged_accuracy(comparison, position))
    if bold:
        text = rf"\textbf{{{text}}}"
    if remarks:
        text += f" ({escaped(', '.join(remarks))})"
    return text
