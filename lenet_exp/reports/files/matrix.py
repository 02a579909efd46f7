"""Makes a matrix of results for a paper: flags along the rows and the columns, and an accuracy in
each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.conditions import find_flag
from lenet_exp.comparison.effects import value_order
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.part import part_of
from lenet_exp.comparison.studies.datasets import ranks_of
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.config.params import rounded
from lenet_exp.errors import ConfigError
from lenet_exp.reports.columns import accuracy, short
from lenet_exp.reports.escape import csv_text, inline
from lenet_exp.reports.files.comparison_tex import escaped, tex_table
from lenet_exp.reports.words.formatting import capital
from lenet_exp.reports.words.run_outcomes import diverged_on, unfinished

DATASET = "dataset"
LEAST_RANKED = 3  # minimum number of datasets for mean ranks
STYLE = "body { font-family: sans-serif } td { padding: .2em 1em; text-align: right }"
Values = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix of results.

    Attributes:
        rows, columns: the flags along each side.
        cells: the configurations, keyed by their values of the flags of the rows and of the
            columns.
        best: the configurations that could be the best of their column (or of their row, if the
            rows are datasets).
        ranks: mean ranks over the datasets, keyed by row; empty if there are fewer than three
            datasets.
        first: the comparison of the first dataset.
    """

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[Values, Values], Group]
    best: list[Group]
    ranks: dict[Values, float]
    first: Comparison

    def caption(self, mark: str) -> str:
        """Describe the cells and the mark of the configurations that could be the best."""
        counts = [group.n for group in self.cells.values() if group.n] or [0]
        fewest, most, metric = min(counts), max(counts), self.first.metric
        what = f"{capital(self.first.epoch)} validation {metric.name}{' in %' * metric.percent}"
        over = (
            f", mean ± standard deviation over {f'{fewest} to ' * (fewest < most)}{most} runs"
            if most > 1
            else ""
        )
        part = f" Shown: {self.first.part}." if self.first.part else ""
        side = "row" if DATASET in self.rows else "column"
        tests = "95% confidence, corrected for all configurations on the same dataset"
        return f"{what}{over}.{part}" + (
            f" {mark}: could be the best of its {side} ({tests})." if self.best else ""
        )

    def table(self, plain: Callable[[str], str], marked: str) -> list[list[str]]:
        """Return the cells of the table, first its head.

        Args:
            plain: function that escapes text.
            marked: format of the configurations that could be the best.
        """
        columns = _ordered(column for _, column in self.cells)
        titles = [" ".join(map(rounded, column)) for column in columns]
        titles = (
            titles if len({*titles}) == len(titles) else [" ".join(column) for column in columns]
        )
        head = [*map(short, self.rows), *titles, *(["mean rank"] if self.ranks else [])]
        table = [list(map(plain, head))]
        for row in _ordered(row for row, _ in self.cells):
            groups = [self.cells.get((row, column)) for column in columns]
            cells = [
                (marked if group in self.best else "{}").format(plain(_text(group)))
                for group in groups
            ]
            rank = [f"{self.ranks[row]:.2f}" if row in self.ranks else "-"] if self.ranks else []
            table.append([*(plain(rounded(value)) for value in row), *cells, *rank])
        return table

    def text(self, kind: str) -> str:
        """Return the matrix as the content of a file with the suffix `.html`, `.md`, `.tex`, or
        `.csv`.
        """
        if kind == ".csv":
            head, *rows = self.table(str, "{} *")
            return csv_text([dict(zip(head, row, strict=True)) for row in rows])
        if kind == ".tex":
            table, label = (
                self.table(escaped, r"\textbf{{{}}}"),
                "-".join([*self.rows, *self.columns]),
            )
            kinds = "l" * len(self.rows) + "r" * (len(table[0]) - len(self.rows))
            return tex_table(escaped(self.caption("Bold")), label, kinds, table)
        if kind == ".md":
            table = self.table(inline, "**{}**")
            lines = [
                f"| {' | '.join(row)} |" for row in [table[0], ["---"] * len(table[0]), *table[1:]]
            ]
            return "\n".join([*lines, "", inline(self.caption("Bold")), ""])
        cells = [[f"<td>{cell}</td>" for cell in row] for row in self.table(escape, "<b>{}</b>")]
        body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in cells)
        top = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Results</title><style>{STYLE}</style>'
        return f"{top}\n<table>\n{body}</table>\n<p>{escape(self.caption('Bold'))}</p>\n</html>\n"


def matrix_of(comparisons: Sequence[Comparison], asked: str) -> Matrix:
    """Return the matrix of the comparisons of one or more datasets.

    Args:
        asked: the flags along the rows and the columns, such as `model,dataset` or
            `model+optimizer,dataset`.

    Raises:
        ConfigError: a flag does not differ between configurations, or a cell would have several
            configurations.
    """
    flags = list(dict.fromkeys([DATASET, *(flag for c in comparisons for flag in c.flags)]))
    if asked.count(",") != 1:
        raise ConfigError(
            f"matrix={asked}: must be the flags of the rows and of the columns, such as model,dataset"
        )
    sides = [
        [find_flag("matrix", flag, flags) for flag in side.split("+")] for side in asked.split(",")
    ]
    rows, columns = sides
    cells: dict[tuple[Values, Values], Group] = {}
    best: list[Group] = []
    for comparison in comparisons:
        parts: dict[Values, list[Group]] = {}
        for group in comparison.groups:
            row, column = (_values(comparison, group, side) for side in sides)
            if cells.setdefault((row, column), group) is not group:
                left = [
                    flag for flag in flags[len(comparisons) < 2 :] if flag not in (*rows, *columns)
                ]
                raise ConfigError(
                    f"matrix={asked}: a cell has several configurations, which differ in {', '.join(left)}; set "
                    f"matrix={'+'.join([*rows, *left])},{'+'.join(columns)}, or show one with only= or best_per="
                )
            parts.setdefault(row if DATASET in rows else column, []).append(group)
        for groups in parts.values():
            members = {group: [group] for group in groups}
            part = part_of(comparison, members, asked) if len(parts) > 1 else comparison
            best += (
                could_be_best(part)
                if any(lead and lead.test != "none" for lead in part.leads)
                else []
            )
    ranks: dict[Values, float] = {}
    if len(comparisons) >= LEAST_RANKED and columns == [DATASET]:
        datasets = list(dict.fromkeys(column for _, column in cells))
        known = dict.fromkeys(row for row, _ in cells)
        complete = [row for row in known if all((row, column) in cells for column in datasets)]
        of_rows = ranks_of([[cells[row, column] for row in complete] for column in datasets])
        ranks = dict(zip(complete, of_rows.mean(axis=0).tolist(), strict=True))
    return Matrix(
        rows=rows, columns=columns, cells=cells, best=best, ranks=ranks, first=comparisons[0]
    )


def _values(comparison: Comparison, group: Group, flags: Sequence[str]) -> Values:
    return tuple(comparison.dataset if flag == DATASET else group.value(flag) for flag in flags)


def _ordered(values: Iterable[Values]) -> list[Values]:
    """Return the distinct values: numbers in ascending order, and words in the order in which they
    appear.
    """
    return sorted(dict.fromkeys(values), key=lambda its: [value_order(value)[:2] for value in its])


def _text(group: Group | None) -> str:
    if group is None or not group.n:
        return unfinished(group) if group is not None else "-"
    return f"{accuracy(group)} ({diverged_on(group)})" if group.diverged else accuracy(group)
