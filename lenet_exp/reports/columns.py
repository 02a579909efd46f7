"""The columns of a comparison's tables: their titles, their cells, and the formats that have them.

To add a column to the terminal, the HTML report, Markdown, or LaTeX, add it to `COLUMNS`. To add a
field to CSV, JSON, and the Python API, add it to `records`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.studies.datasets import across_datasets
from lenet_exp.comparison.verdict import relation_of
from lenet_exp.config.class_groups import VERSION
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.folders.records import SIZES, Outcome
from lenet_exp.reports.words.remarks import remark

ACCURACY = Metric()
Cell = str | float | bool | None
ADDS = "multiply-adds per image, in convolutions and linear layers"


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
    wraps: bool = False
    importance: int | None = None


def columns(comparison: Comparison, *, tex: bool = False) -> list[Column]:
    """Return the columns of a comparison's table: its rank (except in LaTeX), the flags that
    differ, and the results.

    Args:
        tex: whether to return the columns of the LaTeX table.
    """
    shown = [c for c in COLUMNS if (c.tex if tex else c.title) and c.is_shown(comparison)]
    names = enumerate((flag, short(flag)) for flag in comparison.flags)
    flags = [
        Column("flag", name, partial(_value, number), name, hint=flag)
        for number, (flag, name) in names
    ]
    metric = comparison.metric
    said = {"by": comparison.epoch, "label": metric.label, "name": metric.name.replace("_", " ")}
    unit, tex_unit = (", %", r", \%") if metric.percent else ("", "")
    titles = [
        (c.title.format(unit=unit, **said), c.tex.format(unit=tex_unit, **said)) for c in shown
    ]
    results = [
        replace(c, title=title, tex=in_tex)
        for c, (title, in_tex) in zip(shown, titles, strict=True)
    ]
    rank = [] if tex else [results.pop(0)]
    return [*rank, *flags, *results]


def records(comparison: Comparison) -> list[dict[str, Cell]]:
    """Return the results of a comparison as a list with one dict per configuration.

    Values of flags are strings. Accuracies are fractions, and durations are in seconds. Unknown
    numbers are NaN.
    """
    found, may_be_best = [], comparison.not_excluded
    pruned = any(group.outcomes.get(Outcome.pruned) for group in comparison.groups)
    told = [outcome for outcome in list(Outcome)[1:] if pruned or outcome is not Outcome.pruned]
    for position, group in enumerate(comparison.groups):
        lead = comparison.leads[position]
        low, high = group.interval
        row: dict[str, Cell] = {
            "dataset": comparison.dataset,
            "metric": comparison.metric.name,
            "rank": position + 1,
        }
        row |= dict(zip(comparison.flags, comparison.values(group), strict=True))
        row |= {
            "n": group.n,
            "mean": group.mean,
            "sd": group.sd,
            "low": low,
            "high": high,
            "best_epoch": group.best_epoch,
            "seconds_to_best": group.seconds_to_best,
        }
        row |= {name: group.size.get(name, math.nan) for name in SIZES}
        row["runs"] = len(group.runs)
        row |= {outcome.replace(" ", "_"): group.outcomes.get(outcome, 0) for outcome in told}
        row |= behind("behind", lead)
        row |= {
            "p": lead.p if lead else math.nan,
            "test": lead.test if lead else "",
            "differs": lead.differs if lead else None,
            "relation": relation_of(comparison, position).value,
            "not_excluded": group in may_be_best,
            "verdict": remark(comparison, position),
            "run_ids": " ".join(map(_run_id, group.finished)),
        }
        if comparison.on_test_set:
            on_test = comparison.on_test_set[position]
            row |= {"test_n": on_test.n, "test_mean": on_test.mean, "test_sd": on_test.sd}
            row |= behind("test_behind", comparison.test_leads[position])
        found.append(row)
    return found


def ranked_records(comparisons: Sequence[Comparison]) -> list[list[dict[str, Cell]]]:
    """Return the records of several comparisons, with the configurations' ranks over the datasets
    of a grid.
    """
    tables = [records(comparison) for comparison in comparisons]
    if (found := across_datasets(comparisons)) is None:
        return tables
    places = {group: place for groups in found.groups for place, group in enumerate(groups)}
    test = found.rank_test
    for comparison, rows in zip(comparisons, tables, strict=True):
        for group, row in zip(comparison.groups, rows, strict=True):
            place = places.get(group)
            row["mean_rank"] = math.nan if place is None else found.ranks[place]
            row["worse_on_each"] = None if place is None else place in found.beaten
            if test is not None:
                row |= {"friedman_p": test.p, "critical_difference": test.critical}
    return tables


def behind(name: str, lead: Difference | None) -> dict[str, float]:
    """Return the leader's lead and its confidence interval as a dict whose keys begin with `name`.

    The values are fractions, or NaN if unknown.
    """
    found = lead or Difference(math.nan, 0)
    return {name: found.points, f"{name}_low": found.low, f"{name}_high": found.high}


def _run_id(run: ComparedRun) -> str:
    """Return the MLflow run ID, for use in `trained_model=runs:/`, or the ID of the run folder if
    no store contains the run."""
    return next(iter(run.mlflow_runs().values()), run.id)


def on_test(comparison: Comparison, position: int) -> str:
    """Format the test accuracy of a configuration, and the leader's lead over that configuration.

    For example: `97.64 ± 0.30 (n = 3); lead +0.34 (-0.10 to +0.78)`.
    """
    lead = comparison.test_leads[position]
    return tested(comparison.on_test_set[position]) + (f"; lead {difference(lead)}" if lead else "")


def tested(its: Group) -> str:
    """Format the test accuracy of a configuration with its number of tested runs: `97.64 ± 0.30 (n
    = 3)`.
    """
    return accuracy(its) + (f" (n = {its.n})" if its.n else "")


def difference(lead: Difference | None, metric: Metric = ACCURACY) -> str:
    """Format the leader's lead in percentage points with its confidence interval: `+0.34 (-0.10 to
    +0.78)`.
    """
    if lead is None:
        return "-"
    ends = (
        f" ({signed(lead.low, metric)} to {signed(lead.high, metric)})"
        if lead.shown or not metric.percent
        else ""
    )
    return signed(lead.points, metric) + ends


def accuracy(group: Group) -> str:
    """Format the accuracy of a configuration: `90.92 ± 0.21`, or `90.92` if it has only one seed."""
    if not group.n:
        return "-"
    number = group.metric.number
    return number(group.mean) + (f" ± {number(group.sd)}" if group.n > 1 else "")


def interval(group: Group) -> str:
    """Format the confidence interval of a configuration: `90.66 to 91.18`, or `-` if it has only
    one seed.
    """
    low, high = group.interval
    return "-" if math.isnan(low) else f"{group.metric.number(low)} to {group.metric.number(high)}"


def short(flag: str) -> str:
    """Return the last part of a flag's name, or the full name if that part alone is unclear."""
    group, _, leaf = (flag := flag.removesuffix(".own")).rpartition(".")
    if leaf == VERSION and group != "model":
        return flag
    return (
        leaf
        if group
        in {"model", "optimizer", "regularization", "activation", "training", "augmentation"}
        else flag
    )


def signed(effect: float, metric: Metric = ACCURACY) -> str:
    """Format an effect in percentage points: `+0.21`."""
    return "-" if math.isnan(effect) else metric.number(effect, "+")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _value(number: int, comparison: Comparison, position: int) -> str:
    """Format the value of one of the flags that differ."""
    return rounded(comparison.values(comparison.groups[position])[number])


def _of(text: Callable[[Group], str]) -> Callable[[Comparison, int], str]:
    return lambda comparison, position: text(comparison.groups[position])


SIZES_DIFFER, IS_TESTED = attrgetter("sizes_differ"), attrgetter("on_test_set")
COLUMNS = (
    Column("rank", "#", lambda _, position: str(position + 1)),
    Column(
        "accuracy",
        "{by} val{label}{unit}",
        _of(accuracy),
        "{name}{unit}",
        hint="mean ± standard deviation",
    ),
    Column(
        "interval",
        "95% CI",
        _of(interval),
        r"95\% CI",
        hint="confidence interval of the mean",
        importance=5,
    ),
    Column("n", "n", _of(lambda group: str(group.n)), "$n$"),
    Column(
        "epoch",
        "epoch",
        _of(lambda group: _number(group.best_epoch, ".0f")),
        hint="best epoch",
        importance=3,
    ),
    Column(
        "seconds",
        "seconds",
        _of(lambda g: _number(g.seconds_to_best, ".1f")),
        hint="training time to the best epoch",
        importance=2,
    ),
    Column(
        "parameters",
        "parameters",
        _of(lambda g: _count(g.size.get("parameters"))),
        "parameters",
        is_shown=SIZES_DIFFER,
        importance=4,
    ),
    Column(
        "multiply_adds",
        "multiply-adds",
        _of(lambda g: _count(g.size.get("multiply_adds"))),
        hint=ADDS,
        is_shown=SIZES_DIFFER,
        importance=1,
    ),
    Column("lead", "", lambda c, position: difference(c.leads[position], c.metric), "lead"),
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
        lambda c, position: tested(c.on_test_set[position]),
        r"test, \%",
        is_shown=IS_TESTED,
    ),
    Column(
        "test_lead",
        "",
        lambda c, position: difference(c.test_leads[position]),
        "test lead",
        is_shown=IS_TESTED,
    ),
    Column(
        "verdict",
        "vs. leader",
        remark,
        is_shown=lambda c: len(c.groups) > 1 or remark(c, 0),
        wraps=True,
    ),
)
