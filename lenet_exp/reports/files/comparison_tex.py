r"""Formats a comparison as a LaTeX table for a paper: `\input{report}`, with
`\usepackage{booktabs}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.verdict import Relation, could_be_best, relation_of
from lenet_exp.errors import one_of, printable
from lenet_exp.reports.columns import Column, accuracy, columns
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
    made_by = printable(source.title)
    tables = [
        _table(c, dataset_lines(comparisons) if c is comparisons[-1] else [], chosen)
        for c in comparisons
    ]
    return f"% {made_by}\n% \\usepackage{{booktabs}}\n" + "\n".join(tables)


def escaped(text: str) -> str:
    """Escape text for LaTeX, so that the text is printed literally."""
    return BRACED.sub(r"\2{\1\3}", printable(text).translate(str.maketrans(SIGNS)))


def _table(
    comparison: Comparison, over_datasets: Sequence[str], chosen: Sequence[str] | None
) -> str:
    shown, may_be_best, cols = (
        shown_rows(comparison),
        could_be_best(comparison),
        columns(comparison, tex=True),
    )
    known = {column.name.removesuffix("_alone"): column for column in cols if column.name != "flag"}
    if chosen is not None:
        cols = [c for c in cols if c.name == "flag"] + [
            known[one_of("columns", name, list(known))] for name in chosen
        ]
    names = {column.name for column in cols}
    name = escaped(comparison.metric.name)
    unit, points = (r", in \%", ", in points") if comparison.metric.percent else ("", "")
    said = (
        rf"{capital(comparison.epoch)} validation {name} on {escaped(comparison.dataset)}{unit}: "
    )
    said += r"mean $\pm$ standard deviation over $n$ seeds"
    said += r", and 95\% confidence interval (CI) of the mean." if "interval" in names else "."
    sides = ("leader", "row") if comparison.metric.larger else ("row", "leader")
    if "lead" in names:
        lead = rf"{name} of the {sides[0]} minus that of the {sides[1]}{points}, with simultaneous 95\% intervals"
        said += f" Lead: {lead}."
    if may_be_best:
        said += " Bold: could be the best."
    if names & {"test_alone", "test_lead"}:
        said += " Test: accuracy of the same models on the test images."
    if comparison.part:
        said += f" Shown: {escaped(comparison.part)}; tests are corrected for all configurations of the sweep."
    if any(map(at_chance, comparison.groups)):
        said += f" At chance: {AT_CHANCE}."
    if any(map(collapsed, comparison.groups)):
        said += f" Collapsed: {COLLAPSED}."
    told = [verdict(comparison), *best_lines(comparison)] if len(comparison.groups) > 1 else []
    told += [
        *contrast_lines(comparison),
        *interaction_lines(comparison.interactions),
        *over_datasets,
    ]
    if (more := more_line(comparison, shown)) is not None:
        said += f" Not shown: {escaped(more)}."
    heads = [escaped(c.tex) if c.name == "flag" else c.tex for c in cols]
    rows = [
        [_cell(column, comparison, position, group in may_be_best) for column in cols]
        for position, group in enumerate(comparison.groups[:shown])
    ]
    kinds = "".join("l" if c.name == "flag" else "r" for c in cols)
    label = f"{comparison.dataset}{'' if comparison.design.confirms is None else '-confirmation'}"
    return "".join(f"% {printable(line)}\n" for line in told) + tex_table(
        said, label, kinds, [heads, *rows]
    )


def tex_table(caption: str, label: str, kinds: str, cells: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX table, which spans both columns of a two-column paper if it has more than four
    columns.

    Args:
        label: text from which the label is made.
        kinds: alignment of each column: `l` or `r`.
        cells: the rows, first the head; texts are escaped.
    """
    table = "table*" if len(kinds) > 4 else "table"
    head, *rows = (f"    {' & '.join(row)} \\\\" for row in cells)
    lines = [
        rf"\begin{{{table}}}",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9.:-]+', '-', label)}}}",
        rf"  \begin{{tabular}}{{{kinds}}}",
        r"    \toprule",
        head,
        r"    \midrule",
        *rows,
        r"    \bottomrule",
        r"  \end{tabular}",
        rf"\end{{{table}}}",
        "",
    ]
    return "\n".join(lines)


def _cell(column: Column, comparison: Comparison, position: int, bold: bool) -> str:
    """Return a cell, with minus signs instead of hyphens in numbers."""
    if column.name == "accuracy":
        return _reached(comparison.groups[position], bold, relation_of(comparison, position))
    text = escaped(column.text(comparison, position))
    return text if column.name == "flag" else re.sub(r"-(?=\d)", "$-$", text)


def _reached(group: Group, bold: bool, relation: Relation) -> str:
    """Format the accuracy of a configuration, or state that it diverged, is unstable, is at chance,
    or has none.
    """
    reached = escaped(accuracy(group))
    if not group.n:
        return escaped(unfinished(group))
    unstable = "unstable" * (relation is Relation.unstable)
    diverged = diverged_on(group) if group.diverged else ""
    why = ", ".join(filter(None, [diverged, unstable, at_chance(group), collapsed(group)]))
    return (rf"\textbf{{{reached}}}" if bold else reached) + (f" ({escaped(why)})" if why else "")
