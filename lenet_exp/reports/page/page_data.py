"""Creates the data for the scripts of the HTML report: numbers, and the same phrases as in the
terminal.

Accuracies are fractions, and unknown values are NaN or None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect, Level, is_log
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.search.summary import (
    SearchedRun,
    SearchedTrial,
    SearchStep,
    SearchSummary,
)
from lenet_exp.comparison.studies.interactions import Interaction
from lenet_exp.comparison.verdict import could_be_best
from lenet_exp.config.metric import Metric
from lenet_exp.config.params import rounded
from lenet_exp.files import Json
from lenet_exp.folders.records import SIZES
from lenet_exp.reports.columns import accuracy, interval, short, signed
from lenet_exp.reports.run_source import RunSource
from lenet_exp.reports.terminal.leaderboard import MOST_VALUES
from lenet_exp.reports.words.remarks import remark
from lenet_exp.reports.words.run_outcomes import unfinished
from lenet_exp.reports.words.search_history import objective_words, value_words
from lenet_exp.reports.words.study_words import interaction_words

# Maximum number of runs whose curves the page contains.
MOST_CURVES = 1000

# Number of decimal places of the accuracies in a curve, which corresponds to 0.001 percentage
# points.
DIGITS = 5


def page_data(comparison: Comparison, source: RunSource) -> dict[str, Json]:
    """Return the data for one comparison."""
    metric = comparison.metric
    interactions = []
    if comparison.interactions:
        interactions = [_interaction(pair) for pair in comparison.interactions.pairs]
    search = None
    if comparison.searched is not None:
        search = _search(comparison.searched)

    return {
        "dataset": comparison.dataset,
        "metric": vars(metric),
        "by": comparison.epoch.value,
        "listed_seeds": comparison.race.design.listed if comparison.race is not None else None,
        "flags": [_flag(comparison, flag) for flag in comparison.flags],
        "sizes": comparison.sizes_differ,
        "groups": _groups(comparison, source),
        "effects": [_effect(effect, metric) for effect in _drawn_effects(comparison)],
        "interactions": interactions,
        "search": search,
    }


def _drawn_effects(comparison: Comparison) -> list[Effect]:
    """Return the effects that the page draws: none for a search, or if they cannot be separated."""
    if comparison.searched is not None or comparison.effects.aliased:
        return []
    return [effect for effect in comparison.effects.flags if len(effect.levels) <= MOST_VALUES]


def _groups(comparison: Comparison, source: RunSource) -> list[dict[str, Json]]:
    """Return the data for each configuration, best first.

    Only the best configurations have curves if there are more than `MOST_CURVES` finished runs.
    """
    groups = []
    curves_left = MOST_CURVES
    for position, group in enumerate(comparison.groups):
        group_data = _group(comparison, position, source)

        curves_left -= len(group.finished)
        group_data["curves"] = _curves(group) if curves_left >= 0 else []

        if comparison.on_test_set:
            group_data["test"] = comparison.on_test_set[position].mean
        groups.append(group_data)
    return groups


def _curves(group: Group) -> list[list[float]]:
    """Return the curve of each finished run, without those that are unknown."""
    curves = [_curve(values) for values in group.curves()]
    return [curve for curve in curves if curve]


def _curve(values: Iterable[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]


def _flag(comparison: Comparison, flag: str) -> dict[str, Json]:
    return {"name": flag, "short": short(flag), "log": _has_log_axis(comparison, flag)}


def _has_log_axis(comparison: Comparison, flag: str) -> bool:
    """Return whether the axis of a flag is logarithmic: as a search sampled its range or, if no
    search did, as its values suggest.
    """
    if comparison.searched is not None:
        for searched_flag in comparison.searched.flags:
            if searched_flag.name == flag and not searched_flag.choice:
                return searched_flag.log
    return is_log(group.value(flag) for group in comparison.groups)


def _group(comparison: Comparison, position: int, source: RunSource) -> dict[str, Json]:
    """Return the data for a configuration, without its curves and test accuracy."""
    group = comparison.groups[position]
    values = comparison.values(group)
    low, high = group.interval
    sizes = {name: group.size.get(name) for name in SIZES}
    runs = sorted(group.runs, key=lambda run: run.replicate)
    return {
        "name": comparison.name(group),
        "values": values,
        "shown": [rounded(value) for value in values],
        "n": group.n,
        "mean": group.mean,
        "low": low,
        "high": high,
        "accuracy": accuracy(group),
        "interval": interval(group),
        "epoch": group.best_epoch,
        "seconds": group.seconds_to_best,
        **sizes,
        "state": "" if group.stable else unfinished(group),
        "best": group in could_be_best(comparison),
        "remark": remark(comparison, position),
        "seeds": list(group.accuracy.values()),
        "runs": [_run(run, source) for run in runs],
    }


def _run(run: ComparedRun, source: RunSource) -> dict[str, Json]:
    seed = f"{run.seed}, split {run.split}" if run.split else f"{run.seed}"
    reached = run.metric.text(run.best) if run.best is not None else None
    return {"seed": seed, "outcome": run.outcome, "reached": reached, "page": source.page_of(run)}


def _effect(effect: Effect, metric: Metric) -> dict[str, Json]:
    share = None if math.isnan(effect.share) else f"{effect.share:.0%}"
    levels = [_level(level, metric) for level in effect.levels]
    return {"flag": effect.flag, "share": share, "levels": levels}


def _level(level: Level, metric: Metric) -> dict[str, Json]:
    texts = {"value": rounded(level.value), "said": signed(level.effect, metric)}
    return vars(level) | texts


def _interaction(interaction: Interaction) -> dict[str, Json]:
    """Return the data for the interaction of two flags.

    Each row of `cells` belongs to a value of the first flag, and is drawn as a line along the
    values of the second flag.
    """
    cells = []
    for means, intervals in zip(interaction.means, interaction.intervals, strict=True):
        cells.append(_interaction_line(means, intervals))
    values = [[rounded(value) for value in of_flag] for of_flag in interaction.levels]
    return {
        "lines": interaction.first,
        "along": interaction.second,
        "values": values,
        "cells": cells,
        "said": interaction_words(interaction),
    }


def _interaction_line(
    means: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> list[dict[str, Json]]:
    line: list[dict[str, Json]] = []
    for mean, (low, high) in zip(means, intervals, strict=True):
        line.append({"mean": mean, "low": low, "high": high})
    return line


def _search(searched: SearchSummary) -> dict[str, Json]:
    """Return the data for the trials of a search on one dataset."""
    return {
        "how": searched.how,
        "objective": objective_words(searched),
        "cost": searched.cost,
        "percent": searched.is_metric and searched.metric.percent,
        "loss": searched.is_loss,
        "less": searched.better(1.0) < 0,
        "epochs": searched.epochs,
        "history": [_search_step(searched, step) for step in searched.improvements],
        "best": searched.best.number if searched.best is not None else None,
        "flags": [vars(flag) for flag in searched.flags],
        "trials": [_trial(searched, trial) for trial in searched.trials],
        "runs": [_searched_run(run) for run in searched.runs],
    }


def _search_step(searched: SearchSummary, step: SearchStep) -> dict[str, Json]:
    return vars(step) | {"said": value_words(searched, step.best)}


def _searched_run(run: SearchedRun) -> dict[str, Json]:
    return {"trial": run.trial, "name": run.name, "outcome": run.outcome, "y": _curve(run.curve)}


def _trial(searched: SearchSummary, trial: SearchedTrial) -> dict[str, Json]:
    """Return the data for a trial; if it has not finished, with its best value so far."""
    value = trial.so_far if math.isnan(trial.value) else trial.value
    words = value_words(searched, value) if math.isfinite(value) else "-"
    return vars(trial) | {"value": value, "said": words}
