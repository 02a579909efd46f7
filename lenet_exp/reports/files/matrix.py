"""Makes a matrix of results for a paper: flags along the rows and the columns, and an accuracy in
each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
HTML_HEAD = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Results</title>'
    f"<style>{STYLE}</style>"
)
Values = tuple[str, ...]
Cells = dict[tuple[Values, Values], Group]


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
    cells: Cells
    best: list[Group]
    ranks: dict[Values, float]
    first: Comparison

    def caption(self, mark: str) -> str:
        """Describe the cells and the mark of the configurations that could be the best."""
        metric = self.first.metric
        text = f"{capital(self.first.epoch)} validation {metric.name}"
        if metric.percent:
            text += " in %"

        runs = [group.n for group in self.cells.values() if group.n]
        most = max(runs, default=0)
        if most > 1:
            fewest = min(runs)
            counts = f"{most}" if fewest == most else f"{fewest} to {most}"
            text += f", mean ± standard deviation over {counts} runs"
        text += "."

        if self.first.part:
            text += f" Shown: {self.first.part}."
        if self.best:
            side = "row" if DATASET in self.rows else "column"
            text += (
                f" {mark}: could be the best of its {side} "
                "(95% confidence, corrected for all configurations on the same dataset)."
            )
        return text

    def table(self, plain: Callable[[str], str], marked: str) -> list[list[str]]:
        """Return the cells of the table, first its head.

        Args:
            plain: function that escapes text.
            marked: format of the configurations that could be the best.
        """
        columns = _ordered(column for _, column in self.cells)
        head = [*map(short, self.rows), *_titles(columns)]
        if self.ranks:
            head.append("mean rank")

        table = [list(map(plain, head))]
        for row in _ordered(row for row, _ in self.cells):
            cells = [plain(rounded(value)) for value in row]
            for column in columns:
                group = self.cells.get((row, column))
                text = plain(_text(group))
                cells.append(marked.format(text) if group in self.best else text)
            if self.ranks:
                rank = self.ranks.get(row)
                cells.append("-" if rank is None else f"{rank:.2f}")
            table.append(cells)
        return table

    def text(self, kind: str) -> str:
        """Return the matrix as the content of a file with the suffix `.html`, `.md`, `.tex`, or
        `.csv`.
        """
        if kind == ".csv":
            return self._csv()
        if kind == ".tex":
            return self._tex()
        if kind == ".md":
            return self._markdown()
        return self._html()

    def _csv(self) -> str:
        head, *rows = self.table(str, "{} *")
        return csv_text([dict(zip(head, row, strict=True)) for row in rows])

    def _tex(self) -> str:
        table = self.table(escaped, r"\textbf{{{}}}")
        label = "-".join([*self.rows, *self.columns])
        results = len(table[0]) - len(self.rows)
        alignment = "l" * len(self.rows) + "r" * results
        return tex_table(escaped(self.caption("Bold")), label, alignment, table)

    def _markdown(self) -> str:
        head, *rows = self.table(inline, "**{}**")
        lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
        return "\n".join([*lines, "", inline(self.caption("Bold")), ""])

    def _html(self) -> str:
        lines = []
        for row in self.table(escape, "<b>{}</b>"):
            cells = "".join(f"<td>{cell}</td>" for cell in row)
            lines.append(f"<tr>{cells}</tr>\n")
        caption = escape(self.caption("Bold"))
        return f"{HTML_HEAD}\n<table>\n{''.join(lines)}</table>\n<p>{caption}</p>\n</html>\n"


def matrix_of(comparisons: Sequence[Comparison], sides: str) -> Matrix:
    """Return the matrix of the comparisons of one or more datasets.

    Args:
        sides: the flags along the rows and the columns, such as `model,dataset` or
            `model+optimizer,dataset`.

    Raises:
        ConfigError: a flag does not differ between configurations, or a cell would have several
            configurations.
    """
    flags = [DATASET]
    for comparison in comparisons:
        flags += [flag for flag in comparison.flags if flag not in flags]
    rows, columns = _flags_of_sides(sides, flags)

    cells: Cells = {}
    best: list[Group] = []
    for comparison in comparisons:
        competing = _CompetingGroups(sides, comparison)
        for group in comparison.groups:
            row = _values(comparison, group, rows)
            column = _values(comparison, group, columns)
            if (row, column) in cells:
                left = flags if len(comparisons) > 1 else flags[1:]
                raise _several_configurations(sides, rows, columns, left)
            cells[row, column] = group
            competing.add(row if DATASET in rows else column, group)
        best += competing.best()

    ranks = {}
    if len(comparisons) >= LEAST_RANKED and columns == [DATASET]:
        ranks = _mean_ranks(cells)
    return Matrix(
        rows=rows, columns=columns, cells=cells, best=best, ranks=ranks, first=comparisons[0]
    )


def _flags_of_sides(sides: str, flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of the rows and of the columns.

    Args:
        sides: names of flags, such as `model+optimizer,dataset`.
        flags: the flags that differ between configurations.
    """
    if sides.count(",") != 1:
        raise ConfigError(
            f"matrix={sides}: must be the flags of the rows and of the columns, "
            "such as model,dataset"
        )
    rows, columns = sides.split(",")
    return (
        [find_flag("matrix", flag, flags) for flag in rows.split("+")],
        [find_flag("matrix", flag, flags) for flag in columns.split("+")],
    )


def _several_configurations(
    sides: str, rows: Sequence[str], columns: Sequence[str], flags: Sequence[str]
) -> ConfigError:
    """Return the error for a cell with several configurations, which names a matrix without such
    cells.
    """
    left = [flag for flag in flags if flag not in rows and flag not in columns]
    return ConfigError(
        f"matrix={sides}: a cell has several configurations, which differ in {', '.join(left)}; "
        f"set matrix={'+'.join([*rows, *left])},{'+'.join(columns)}, "
        "or show one with only= or best_per="
    )


@dataclass(frozen=True)
class _CompetingGroups:
    """The configurations on one dataset, of which those in the same column compete.

    If the rows are datasets, those in the same row compete.

    Attributes:
        sides: the flags along the rows and the columns.
        groups: the configurations, keyed by the values of their column or row.
    """

    sides: str
    comparison: Comparison
    groups: dict[Values, list[Group]] = field(default_factory=dict)

    def add(self, values: Values, group: Group) -> None:
        self.groups.setdefault(values, []).append(group)

    def best(self) -> list[Group]:
        """Return the configurations that could be the best of their column or row.

        A column without a valid test has none.
        """
        best: list[Group] = []
        for groups in self.groups.values():
            part = self.comparison
            if len(self.groups) > 1:
                members = {group: [group] for group in groups}
                part = part_of(self.comparison, members, self.sides)

            is_tested = any(lead and lead.test != "none" for lead in part.leads)
            if is_tested:
                best += could_be_best(part)
        return best


def _mean_ranks(cells: Cells) -> dict[Values, float]:
    """Return the mean rank over the datasets of each row that has all datasets.

    Args:
        cells: the configurations, keyed by the values of the row and by the dataset.
    """
    datasets = list(dict.fromkeys(column for _, column in cells))
    rows = dict.fromkeys(row for row, _ in cells)
    complete = [row for row in rows if all((row, dataset) in cells for dataset in datasets)]

    groups_by_dataset = []
    for dataset in datasets:
        groups_by_dataset.append([cells[row, dataset] for row in complete])
    ranks = ranks_of(groups_by_dataset)  # (datasets, rows)
    return dict(zip(complete, ranks.mean(axis=0).tolist(), strict=True))


def _values(comparison: Comparison, group: Group, flags: Sequence[str]) -> Values:
    return tuple(comparison.dataset if flag == DATASET else group.value(flag) for flag in flags)


def _ordered(values: Iterable[Values]) -> list[Values]:
    """Return the distinct values: numbers in ascending order, and words in the order in which they
    appear.
    """
    return sorted(dict.fromkeys(values), key=_order)


def _order(values: Values) -> list[tuple[bool, float]]:
    keys = []
    for value in values:
        is_word, number, _ = value_order(value)
        keys.append((is_word, number))
    return keys


def _titles(columns: Sequence[Values]) -> list[str]:
    """Return the titles of the columns, with rounded numbers if the titles remain distinct."""
    titles = [" ".join(map(rounded, column)) for column in columns]
    if len(set(titles)) == len(titles):
        return titles
    return [" ".join(column) for column in columns]


def _text(group: Group | None) -> str:
    if group is None:
        return "-"
    if not group.n:
        return unfinished(group)
    if group.diverged:
        return f"{accuracy(group)} ({diverged_on(group)})"
    return accuracy(group)
