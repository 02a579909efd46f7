"""Formats a comparison as a table for the terminal, and provides titles, cells, and records for other reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics import Difference
from lenet_exp.comparison.studies.datasets import across_datasets
from lenet_exp.comparison.verdict import relation_of
from lenet_exp.config.names import rounded
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.interaction_words import interaction_lines
from lenet_exp.reports.next_steps import cautions, next_step, notes
from lenet_exp.reports.phrases import best_lines, outcomes, remark, verdict
from lenet_exp.reports.search_words import search_lines
from lenet_exp.reports.study_words import dataset_lines, numeric_lines
from lenet_exp.reports.terminal.plain import PlainTable, wide_console

Cell = str | float | bool | None
TERMINAL_ROWS = 50
SEARCH_ROWS = 20  # maximum number of rows for a search, because most of its configurations were pruned
PARAMETERS, MULTIPLY_ADDS = "parameters", "multiply-adds"  # columns that are shown if the networks differ in size
AGAINST, TEST = WORDS = "vs. leader", "test, %"  # columns with wrapped text
LEAST_WORDS = 26  # minimum width of these columns, in characters


def records(comparison: Comparison) -> list[dict[str, Cell]]:
    """Return the results of a comparison as a list with one dict per configuration.

    Values of flags are strings. Accuracies are fractions, and durations are in seconds. Unknown numbers are NaN.
    """
    found, may_be_best = [], comparison.not_excluded
    pruned = any(group.outcomes.get(Outcome.pruned) for group in comparison.groups)
    told = [outcome for outcome in list(Outcome)[1:] if pruned or outcome is not Outcome.pruned]
    for position, group in enumerate(comparison.groups):
        lead = comparison.leads[position]
        low, high = group.interval
        row: dict[str, Cell] = {"dataset": comparison.dataset, "rank": position + 1}
        row |= dict(zip(comparison.flags, comparison.values(group), strict=True))
        row |= {
            "n": group.n,
            "mean": group.mean,
            "sd": group.sd,
            "low": low,
            "high": high,
            "best_epoch": group.best_epoch,
            "seconds_to_best": group.seconds_to_best,
            "parameters": math.nan if group.parameters is None else group.parameters,
            "multiply_adds": math.nan if group.multiply_adds is None else group.multiply_adds,
            "runs": len(group.runs),
        }
        row |= {outcome.replace(" ", "_"): group.outcomes.get(outcome, 0) for outcome in told}
        row |= behind("behind", lead)
        if comparison.margin is not None:
            its = comparison.equivalences[position]
            row |= {"equivalent": its.shown if its else None, "equivalence_p": its.p if its else math.nan}
        row |= {
            "p": lead.p if lead else math.nan,
            "test": lead.test if lead else "",
            "differs": lead.differs if lead else None,
            "relation": relation_of(comparison, position).value,
            "not_excluded": any(group is left for left in may_be_best),
            "verdict": remark(comparison, position),
            "run_ids": " ".join(map(_run_id, group.finished)),
        }
        if comparison.tested:
            on_test = comparison.tested[position]
            row |= {"test_n": on_test.n, "test_mean": on_test.mean, "test_sd": on_test.sd}
            row |= behind("test_behind", comparison.test_leads[position])
        found.append(row)
    return found


def ranked_records(comparisons: Sequence[Comparison]) -> list[list[dict[str, Cell]]]:
    """Return the records of several comparisons, with the configurations' ranks over the datasets of a grid."""
    tables = [records(comparison) for comparison in comparisons]
    if (found := across_datasets(comparisons)) is None:
        return tables
    places = {id(group): place for groups in found.groups for place, group in enumerate(groups)}
    test = found.rank_test
    for comparison, rows in zip(comparisons, tables, strict=True):
        for group, row in zip(comparison.groups, rows, strict=True):
            place = places.get(id(group))
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
    """Return the MLflow run ID, for use in `trained_model=runs:/`, or the ID of the run folder if no store contains the
    run."""
    return next(iter(run.mlflow_runs().values()), run.id)


def heads(comparison: Comparison) -> list[str]:
    """Return the column titles of the table.

    The titles include network sizes if the networks differ in size, and `test, %` if a run has a test result.
    """
    flags = [short(flag) for flag in comparison.flags]
    test = [TEST] if comparison.tested else []
    sizes = [PARAMETERS, MULTIPLY_ADDS] if comparison.sizes_differ else []
    return ["#", *flags, f"{comparison.by} val, %", "95% CI", "n", "epoch", "seconds", *sizes, *test, AGAINST]


def cells(comparison: Comparison, position: int) -> list[str]:
    """Return the cells of the table row for the configuration at a position in the ranking."""
    group = comparison.groups[position]
    return [
        str(position + 1),
        *map(rounded, comparison.values(group)),
        accuracy(group),
        interval(group),
        str(group.n),
        _number(group.best_epoch, ".0f"),
        _number(group.seconds_to_best, ".1f"),
        *(sizes(group) if comparison.sizes_differ else []),
        *([on_test(comparison, position)] if comparison.tested else []),
        remark(comparison, position),
    ]


def sizes(group: Group) -> list[str]:
    """Return the numbers of parameters and multiply-adds: `61,706` and `416,520`."""
    return ["-" if n is None else f"{n:,}" for n in (group.parameters, group.multiply_adds)]


def on_test(comparison: Comparison, position: int) -> str:
    """Format the test accuracy of a configuration, and the leader's lead over that configuration.

    For example: `97.64 ± 0.30 (n = 3); lead +0.34 (-0.10 to +0.78)`.
    """
    lead = comparison.test_leads[position]
    return tested(comparison.tested[position]) + (f"; lead {difference(lead)}" if lead else "")


def tested(its: Group) -> str:
    """Format the test accuracy of a configuration with its number of tested runs: `97.64 ± 0.30 (n = 3)`."""
    return accuracy(its) + (f" (n = {its.n})" if its.n else "")


def difference(lead: Difference | None) -> str:
    """Format the leader's lead in percentage points with its confidence interval: `+0.34 (-0.10 to +0.78)`."""
    if lead is None:
        return "-"
    return signed(lead.points) + (f" ({signed(lead.low)} to {signed(lead.high)})" if lead.shown else "")


def accuracy(group: Group) -> str:
    """Format the accuracy of a configuration: `90.92 ± 0.21`, or `90.92` if it has only one seed."""
    if not group.n:
        return "-"
    return f"{group.mean * 100:.2f}" + (f" ± {group.sd * 100:.2f}" if group.n > 1 else "")


def interval(group: Group) -> str:
    """Format the confidence interval of a configuration: `90.66 to 91.18`, or `-` if it has only one seed."""
    low, high = group.interval
    return "-" if math.isnan(low) else f"{low * 100:.2f} to {high * 100:.2f}"


def short(flag: str) -> str:
    """Return the last part of a flag's name, or the full name if that part alone is unclear."""
    group, _, leaf = flag.rpartition(".")
    return leaf if group in {"model", "optimizer", "regularization", "activation", "training", "augmentation"} else flag


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
    """Return a line with the number of rows that a table does not show, or None if the table shows all rows."""
    rest = comparison.groups[shown:]
    if not rest:
        return None
    how = f" ({outcomes(rest)})" if comparison.searched is not None else ""
    return f"{len(rest)} more{how}"


def effect_lines(comparison: Comparison) -> list[str]:
    """Return lines about effects of flags, seed-to-seed variation, interactions, and the best values of numeric flags.

    For a search, return the search's history and the importance of flags instead. Effects would be biased, because
    pruning determines which trials finish.
    """
    if comparison.searched is not None:
        return search_lines(comparison.searched)
    found = comparison.effects
    if found.aliased:
        return [f"effects of individual flags cannot be estimated: {found.no_shares}"]
    lines = [_effect_line(effect) for effect in found.flags]
    if lines and found.no_shares is not None:
        lines.append(f"fractions of the variance cannot be estimated: {found.no_shares}")
    elif lines:
        rest = ""
        if found.interactions is None:
            rest = "; the fractions overlap, because combinations differ in their number of runs"
        elif len(found.flags) > 1:
            rest = f"; interactions {found.interactions:.0%}"
        lines.append(f"seeds {found.seeds:.0%} of the variance{rest}")
    return [*lines, *interaction_lines(comparison.interactions), *numeric_lines(comparison)]


def _effect_line(effect: Effect) -> str:
    levels = []
    for level in effect.levels:
        lost = f", {level.runs - level.finished} of {level.runs} unfinished" if level.finished < level.runs else ""
        levels.append(f"{rounded(level.value)} {signed(level.effect)}{lost}")
    share = "" if math.isnan(effect.share) else f" {effect.share:.0%} of the variance"
    return f"{effect.flag}{share}: {'; '.join(levels)}"


def print_comparison(comparison: Comparison, *, details: bool = False) -> None:
    """Print a comparison to stdout: the table, the verdict, and the next step.

    Args:
        details: whether to print the effects of flags, interactions, best values, and notes, too. The history of a
            search is always printed.
    """
    console = wide_console()
    titles = heads(comparison)
    rows = [cells(comparison, position) for position in range(shown_rows(comparison, TERMINAL_ROWS))]
    table = PlainTable()
    for i in (shown := _fitting(titles, rows, console.width)):
        left = titles[i] in WORDS or 1 <= i <= len(comparison.flags)
        table.add_column(titles[i], justify="left" if left else "right", no_wrap=titles[i] not in WORDS)
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    console.print(title_of(comparison))
    console.print(table)
    if (more := more_line(comparison, len(rows))) is not None:
        console.print(f"{more}; to list them, run: lenet-compare output=report.csv", soft_wrap=True)
    print_verdict(comparison, details=details)
    if details or comparison.searched is not None:
        for line in effect_lines(comparison):
            console.print(f"  {line}", soft_wrap=True)
    elif len(comparison.groups) > 2 and comparison.leader is not None:
        which = f" sweep={comparison.design.sweep}" if comparison.design is not None and comparison.design.sweep else ""
        console.print(f"effects of flags and notes: lenet-compare{which} details=true", soft_wrap=True)


def print_datasets(comparisons: Sequence[Comparison]) -> None:
    """Print the comparison of the configurations over all datasets, if there are several datasets."""
    console = wide_console()
    for line in dataset_lines(comparisons):
        console.print(line, soft_wrap=True)


def _fitting(titles: list[str], rows: list[list[str]], width: int) -> list[int]:
    """Return the indices of the columns that fit the width, without less important columns if necessary."""
    shown = list(range(len(titles)))
    taken = [3 + max(len(row[i]) for row in [titles, *rows]) for i in shown]
    taken = [LEAST_WORDS if titles[i] in WORDS else taken[i] for i in shown]
    for title in (MULTIPLY_ADDS, "seconds", "epoch", PARAMETERS, "95% CI"):
        if title in titles and sum(taken[i] for i in shown) > width:
            shown.remove(titles.index(title))
    return shown


def print_verdict(comparison: Comparison, *, details: bool = False) -> None:
    """Print the verdict and the next step, if there are several configurations or versions of the user's code.

    Args:
        details: whether to print all notes, not only those that change how the verdict is to be read.
    """
    if len(comparison.groups) < 2 and not comparison.mixed_code:
        return
    console = wide_console()
    console.print(verdict(comparison), soft_wrap=True)
    for line in best_lines(comparison):
        console.print(line, soft_wrap=True)
    if (step := next_step(comparison)) is not None:
        console.print(f"next: {step}", soft_wrap=True)
    for note in notes(comparison) if details else cautions(comparison):
        console.print(f"note: {note}", soft_wrap=True)


def title_of(comparison: Comparison) -> str:
    """Return the title of a comparison, such as `mnist: 12 runs, 4 configurations (11 finished, 1 diverged)`."""
    many = f"{number_of(comparison.num_runs, 'run')}, {number_of(len(comparison.groups), 'configuration')}"
    return f"{comparison.dataset}: {many} ({outcomes(comparison.groups)})"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def signed(effect: float) -> str:
    """Format an effect in percentage points: `+0.21`."""
    return "-" if math.isnan(effect) else f"{effect * 100:+.2f}"
