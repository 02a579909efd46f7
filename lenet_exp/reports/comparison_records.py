"""The results of a comparison as records, for CSV, JSON, and the Python API.

To add a field, add it to `records`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.race import Candidate
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.studies.datasets import across_datasets
from lenet_exp.comparison.verdict import has_bounds, relation_of
from lenet_exp.folders.records import SIZES, Outcome
from lenet_exp.reports.words.remarks import remark

Cell = str | float | bool | None


def records(comparison: Comparison) -> list[dict[str, Cell]]:
    """Return the results of a comparison as a list with one dict per configuration.

    Values of flags are strings. Accuracies are fractions, and durations are in seconds. Unknown
    numbers are NaN.
    """
    outcomes = _counted_outcomes(comparison)
    not_excluded = comparison.not_excluded
    rows = []
    for position, group in enumerate(comparison.groups):
        row: dict[str, Cell] = {
            "dataset": comparison.dataset,
            "metric": comparison.metric.name,
            "rank": position + 1,
        }
        row |= dict(zip(comparison.flags, comparison.values(group), strict=True))
        row |= _group_fields(group)
        for outcome in outcomes:
            row[outcome.replace(" ", "_")] = group.outcomes.get(outcome, 0)

        row |= _lead_fields(comparison.leads[position])
        if comparison.race is not None:
            row |= _race_fields(comparison.race.candidates[group])
        elif has_bounds(comparison):
            row |= _bound_fields(comparison.leads[position])
        row |= {
            "relation": relation_of(comparison, position).value,
            "not_excluded": group in not_excluded,
            "verdict": remark(comparison, position),
            "run_ids": " ".join(map(_run_id, group.finished)),
        }
        if comparison.on_test_set:
            row |= _test_fields(comparison, position)
        rows.append(row)
    return rows


def _counted_outcomes(comparison: Comparison) -> list[Outcome]:
    """Return the outcomes whose runs are counted: all except finished, and pruned only if any run
    was pruned.
    """
    any_pruned = any(group.outcomes.get(Outcome.pruned) for group in comparison.groups)
    _, *others = Outcome
    return [outcome for outcome in others if any_pruned or outcome is not Outcome.pruned]


def _group_fields(group: Group) -> dict[str, Cell]:
    low, high = group.interval
    sizes = {name: group.size.get(name, math.nan) for name in SIZES}
    return {
        "n": group.n,
        "mean": group.mean,
        "sd": group.sd,
        "low": low,
        "high": high,
        "best_epoch": group.best_epoch,
        "seconds_to_best": group.seconds_to_best,
        **sizes,
        "runs": len(group.runs),
    }


def _lead_fields(lead: Difference | None) -> dict[str, Cell]:
    if lead is None:
        return {**behind("behind", None), "p": math.nan, "test": "", "differs": None}
    return {**behind("behind", lead), "p": lead.p, "test": lead.test, "differs": lead.differs}


def _bound_fields(lead: Difference | None) -> dict[str, Cell]:
    """Return how much better than the leader a configuration can be; NaN if it is not judged."""
    is_judged = lead is not None and not lead.unstable and lead.n > 1
    if lead is None or not is_judged:
        return {"bound": math.nan}
    return {"bound": lead.bound}


def _race_fields(candidate: Candidate) -> dict[str, Cell]:
    """Return the state of a configuration in a race, and the results by which it was judged."""
    return {
        "race": candidate.state.value,
        "race_n": candidate.group.n,
        "race_mean": candidate.group.mean,
        "bound": candidate.bound,
    }


def _test_fields(comparison: Comparison, position: int) -> dict[str, Cell]:
    on_test = comparison.on_test_set[position]
    lead = behind("test_behind", comparison.test_leads[position])
    return {"test_n": on_test.n, "test_mean": on_test.mean, "test_sd": on_test.sd, **lead}


def ranked_records(comparisons: Sequence[Comparison]) -> list[list[dict[str, Cell]]]:
    """Return the records of several comparisons, with the configurations' ranks over the datasets
    of a grid.
    """
    tables = [records(comparison) for comparison in comparisons]
    ranking = across_datasets(comparisons)
    if ranking is None:
        return tables

    place_of_group = {}
    for groups in ranking.groups:
        for index, group in enumerate(groups):
            place_of_group[group] = index

    for comparison, rows in zip(comparisons, tables, strict=True):
        for group, row in zip(comparison.groups, rows, strict=True):
            place = place_of_group.get(group)
            if place is None:
                row |= {"mean_rank": math.nan, "worse_on_each": None}
            else:
                row |= {
                    "mean_rank": ranking.ranks[place],
                    "worse_on_each": place in ranking.beaten,
                }
            if ranking.rank_test is not None:
                row |= {
                    "friedman_p": ranking.rank_test.p,
                    "critical_difference": ranking.rank_test.critical,
                }
    return tables


def behind(name: str, lead: Difference | None) -> dict[str, float]:
    """Return the leader's lead and its confidence interval as a dict whose keys begin with `name`.

    The values are fractions, or NaN if unknown.
    """
    known = lead or Difference(math.nan, 0)
    return {name: known.points, f"{name}_low": known.low, f"{name}_high": known.high}


def _run_id(run: ComparedRun) -> str:
    """Return the MLflow run ID, for use in `trained_model=runs:/`, or the ID of the run folder if
    no store contains the run."""
    return next(iter(run.mlflow_runs().values()), run.id)
