"""The columns of a comparison's tables: their titles, their cells, and the formats that have them.

To add a column to the terminal, the HTML report, Markdown, or LaTeX, add it to `COLUMNS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.verdict import has_bounds, relation_of
from lenet_exp.config.class_groups import VERSION
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.reports.words.formatting import ACCURACY
from lenet_exp.reports.words.remarks import against_leader, remark

# The groups of which the last part of a flag's name is clear.
CLEAR_GROUPS = {"model", "optimizer", "regularization", "activation", "training", "augmentation"}


@dataclass(frozen=True)
class Column:
    """A column of a table with one row per configuration.

    Attributes:
        name: name of the column, which is also its CSS class in the HTML report.
        title: title in the terminal, in HTML, and in Markdown; empty if only LaTeX has the column.
        text: function that returns the cell for the configuration at a position in the ranking.
        tex: title in LaTeX; empty if LaTeX does not have the column.
        hint: explanation that the HTML report shows with the title.
        is_shown: function that returns whether the tables of a comparison contain the column.
        is_detail: whether the terminal shows the column only with `details=true`.
        wraps: whether cells contain text that can be wrapped.
        importance: order in which columns are left out if the terminal is too narrow: the lowest
            first; a column with the default value is never left out.
    """

    name: str
    title: str
    text: Callable[[Comparison, int], str]
    tex: str = ""
    hint: str = ""
    is_shown: Callable[[Comparison], object] = lambda comparison: True
    is_detail: bool = False
    wraps: bool = False
    importance: int | None = None


def columns(comparison: Comparison, *, tex: bool = False, details: bool = True) -> list[Column]:
    """Return the columns of a comparison's table: its rank (except in LaTeX), the flags that
    differ, and the results.

    Args:
        tex: whether to return the columns of the LaTeX table.
        details: whether to return the columns with details, too.
    """
    results = []
    for column in COLUMNS:
        title = column.tex if tex else column.title
        is_requested = details or not column.is_detail
        if title and is_requested and column.is_shown(comparison):
            results.append(_with_titles(column, comparison))

    flags = []
    for number, flag in enumerate(comparison.flags):
        name = short(flag)
        flags.append(Column("flag", name, partial(_value, number), name, hint=flag))
    if tex:
        return [*flags, *results]
    rank, *others = results
    return [rank, *flags, *others]


def _with_titles(column: Column, comparison: Comparison) -> Column:
    """Return a column with the name, the epoch, and the unit of the metric in its titles."""
    metric = comparison.metric
    words = {
        "by": comparison.epoch,
        "label": metric.label,
        "name": metric.name.replace("_", " "),
    }
    unit = ", %" if metric.percent else ""
    tex_unit = r", \%" if metric.percent else ""
    return replace(
        column,
        title=column.title.format(unit=unit, **words),
        tex=column.tex.format(unit=tex_unit, **words),
    )


def on_test(comparison: Comparison, position: int) -> str:
    """Format the test accuracy of a configuration, and the leader's lead over that configuration.

    For example: `97.64 ± 0.30 (n = 3); lead +0.34 (-0.10 to +0.78)`.
    """
    text = tested(comparison.on_test_set[position])
    lead = comparison.test_leads[position]
    return text if lead is None else f"{text}; lead {difference(lead)}"


def tested(group: Group) -> str:
    """Format the test accuracy of a configuration with its number of tested runs: `97.64 ± 0.30 (n
    = 3)`.
    """
    return f"{accuracy(group)} (n = {group.n})" if group.n else accuracy(group)


def difference(lead: Difference | None, metric: Metric = ACCURACY) -> str:
    """Format the leader's lead in percentage points with its confidence interval: `+0.34 (-0.10 to
    +0.78)`.
    """
    if lead is None:
        return "-"

    text = signed(lead.points, metric)
    if metric.percent and not lead.has_narrow_interval:
        return text
    return f"{text} ({signed(lead.low, metric)} to {signed(lead.high, metric)})"


def accuracy(group: Group) -> str:
    """Format the accuracy of a configuration: `90.92 ± 0.21`, or `90.92` if it has one seed."""
    if not group.n:
        return "-"
    mean = group.metric.number(group.mean)
    return mean if group.n == 1 else f"{mean} ± {group.metric.number(group.sd)}"


def interval(group: Group) -> str:
    """Format the confidence interval of a configuration: `90.66 to 91.18`, or `-` if it has only
    one seed.
    """
    low, high = group.interval
    if math.isnan(low):
        return "-"
    return f"{group.metric.number(low)} to {group.metric.number(high)}"


def short(flag: str) -> str:
    """Return the last part of a flag's name, or the full name if that part alone is unclear.

    For example: `lr` for `optimizer.lr`, but `dataset.val_size`.
    """
    name = flag.removesuffix(".own")
    group, _, last_part = name.rpartition(".")
    is_version = last_part == VERSION and group != "model"
    if group not in CLEAR_GROUPS or is_version:
        return name
    return last_part


def signed(effect: float, metric: Metric = ACCURACY) -> str:
    """Format an effect in percentage points: `+0.21`."""
    return "-" if math.isnan(effect) else metric.number(effect, "+")


def _number(value: float, number_format: str) -> str:
    return "-" if math.isnan(value) else format(value, number_format)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _value(number: int, comparison: Comparison, position: int) -> str:
    """Format the value of one of the flags that differ."""
    return rounded(comparison.values(comparison.groups[position])[number])


def _of_group(text: Callable[[Group], str]) -> Callable[[Comparison, int], str]:
    """Return a function for `Column.text` whose cells depend only on the configuration."""
    return lambda comparison, position: text(comparison.groups[position])


def judged_accuracy(comparison: Comparison, position: int) -> str:
    """Format the accuracy of a configuration.

    In a race, it is the mean over all seeds that were judged, without a standard deviation, because
    the number of seeds depends on the results.
    """
    group = comparison.judged_group(position)
    if comparison.race is None or not group.n:
        return accuracy(group)
    return group.metric.number(group.mean)


def _n(comparison: Comparison, position: int) -> str:
    return str(comparison.judged_group(position).n)


def _rank(comparison: Comparison, position: int) -> str:
    return str(position + 1)


def _lead(comparison: Comparison, position: int) -> str:
    return difference(comparison.leads[position], comparison.metric)


def _tested_alone(comparison: Comparison, position: int) -> str:
    return tested(comparison.on_test_set[position])


def _test_lead(comparison: Comparison, position: int) -> str:
    return difference(comparison.test_leads[position])


def _best_epoch(group: Group) -> str:
    return _number(group.best_epoch, ".0f")


def _seconds_to_best(group: Group) -> str:
    return _number(group.seconds_to_best, ".1f")


def _parameters(group: Group) -> str:
    return _count(group.size.get("parameters"))


def _multiply_adds(group: Group) -> str:
    return _count(group.size.get("multiply_adds"))


def _in_all_pairs(comparison: Comparison, position: int) -> str:
    """Format the result of the test of a configuration against the leader."""
    lead = comparison.leads[position]
    if lead is None:
        return "-"
    return against_leader(
        comparison, comparison.groups[position], lead, relation_of(comparison, position)
    )


def _has_remarks(comparison: Comparison) -> bool:
    return len(comparison.groups) > 1 or bool(remark(comparison, 0))


def _has_fixed_seeds(comparison: Comparison) -> bool:
    """Return whether the number of seeds did not depend on results, as it does in a race."""
    return comparison.race is None


SIZES_DIFFER = attrgetter("sizes_differ")
IS_TESTED = attrgetter("on_test_set")

COLUMNS = (
    Column("rank", "#", _rank),
    Column(
        "accuracy",
        "{by} val{label}{unit}",
        judged_accuracy,
        "{name}{unit}",
        hint="mean ± standard deviation; with sweep.within, the mean",
    ),
    Column(
        "interval",
        "95% CI",
        _of_group(interval),
        r"95\% CI",
        hint="confidence interval of the mean",
        is_shown=_has_fixed_seeds,
        importance=5,
    ),
    Column("n", "n", _n, "$n$"),
    Column(
        "epoch",
        "epoch",
        _of_group(_best_epoch),
        hint="best epoch",
        importance=3,
    ),
    Column(
        "seconds",
        "seconds",
        _of_group(_seconds_to_best),
        hint="training time to the best epoch",
        importance=2,
    ),
    Column(
        "parameters",
        "parameters",
        _of_group(_parameters),
        "parameters",
        is_shown=SIZES_DIFFER,
        importance=4,
    ),
    Column(
        "multiply_adds",
        "multiply-adds",
        _of_group(_multiply_adds),
        hint="multiply-adds per image, in convolutions and linear layers",
        is_shown=SIZES_DIFFER,
        importance=1,
    ),
    Column("lead", "", _lead, "lead", is_shown=_has_fixed_seeds),
    Column(
        "test",
        "test, %",
        on_test,
        hint="test accuracy and the leader's lead",
        is_shown=IS_TESTED,
        wraps=True,
    ),
    Column(
        "test_alone",
        "",
        _tested_alone,
        r"test, \%",
        is_shown=IS_TESTED,
    ),
    Column(
        "test_lead",
        "",
        _test_lead,
        "test lead",
        is_shown=IS_TESTED,
    ),
    Column(
        "verdict",
        "vs. leader",
        remark,
        is_shown=_has_remarks,
        wraps=True,
    ),
    Column(
        "pairs",
        "test of all pairs",
        _in_all_pairs,
        hint="difference from the leader, corrected for all pairs of configurations",
        is_shown=has_bounds,
        is_detail=True,
        wraps=True,
    ),
)
