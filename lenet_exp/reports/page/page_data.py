"""Creates the data for the scripts of the HTML report: numbers, and the same phrases as in the
terminal.

Accuracies are fractions, and unknown values are NaN or None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.effects import Effect, is_log
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.search.summary import SearchedTrial, SearchSummary
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

MOST_CURVES = 1000  # maximum number of runs whose curves the page contains
# number of decimal places for the accuracies in a curve, which corresponds to 0.001 percentage
# points
DIGITS = 5


def page_data(comparison: Comparison, source: RunSource) -> dict[str, Json]:
    """Return the data for one comparison."""
    told = comparison.searched is None and not comparison.effects.aliased
    effects = [
        effect for effect in comparison.effects.flags if told and len(effect.levels) <= MOST_VALUES
    ]
    left, groups = MOST_CURVES, []
    for position, group in enumerate(comparison.groups):
        left -= len(group.finished)
        curves = list(map(_curve, group.curves())) if left >= 0 else []
        groups.append(
            _group(comparison, position, source) | {"curves": [curve for curve in curves if curve]}
        )
        if comparison.on_test_set:
            groups[-1]["test"] = comparison.on_test_set[position].mean
    return {
        "dataset": comparison.dataset,
        "metric": vars(comparison.metric),
        "by": comparison.epoch.value,
        "flags": [_flag(comparison, flag) for flag in comparison.flags],
        "sizes": comparison.sizes_differ,
        "groups": groups,
        "effects": [_effect(effect, comparison.metric) for effect in effects],
        "interactions": list(map(_interaction, comparison.interactions.pairs))
        if comparison.interactions
        else [],
        "search": _search(comparison.searched) if comparison.searched is not None else None,
    }


def _curve(values: Iterable[float]) -> list[float]:
    return [round(y, DIGITS) for y in values]


def _flag(comparison: Comparison, flag: str) -> dict[str, Json]:
    searched = comparison.searched.flags if comparison.searched is not None else []
    ranges = {f.name: f.log for f in searched if not f.choice}
    log = ranges.get(flag, is_log(g.value(flag) for g in comparison.groups))
    return {"name": flag, "short": short(flag), "log": log}


def _group(comparison: Comparison, position: int, source: RunSource) -> dict[str, Json]:
    group = comparison.groups[position]
    low, high = group.interval
    return {
        "name": comparison.name(group),
        "values": comparison.values(group),
        "shown": list(map(rounded, comparison.values(group))),
        "n": group.n,
        "mean": group.mean,
        "low": low,
        "high": high,
        "accuracy": accuracy(group),
        "interval": interval(group),
        "epoch": group.best_epoch,
        "seconds": group.seconds_to_best,
        **{name: group.size.get(name) for name in SIZES},
        "state": "" if group.stable else unfinished(group),
        "best": group in could_be_best(comparison),
        "remark": remark(comparison, position),
        "seeds": list(group.accuracy.values()),
        "runs": [_run(run, source) for run in sorted(group.runs, key=lambda run: run.replicate)],
    }


def _run(run: ComparedRun, source: RunSource) -> dict[str, Json]:
    named = f"{run.seed}" + (f", split {run.split}" if run.split else "")
    reached = run.metric.text(run.best) if run.best is not None else None
    return {"seed": named, "outcome": run.outcome, "reached": reached, "page": source.page_of(run)}


def _effect(effect: Effect, metric: Metric) -> dict[str, Json]:
    said = [
        {"value": rounded(level.value), "said": signed(level.effect, metric)}
        for level in effect.levels
    ]
    levels = [vars(level) | words for level, words in zip(effect.levels, said, strict=True)]
    share = None if math.isnan(effect.share) else f"{effect.share:.0%}"
    return {"flag": effect.flag, "share": share, "levels": levels}


def _interaction(its: Interaction) -> dict[str, Json]:
    cells = [
        [
            {"mean": mean, "low": low, "high": high}
            for mean, (low, high) in zip(means, intervals, strict=True)
        ]
        for means, intervals in zip(its.means, its.intervals, strict=True)
    ]
    values = [list(map(rounded, level)) for level in its.levels]
    return {
        "lines": its.first,
        "along": its.second,
        "values": values,
        "cells": cells,
        "said": interaction_words(its),
    }


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
        "history": [
            vars(s) | {"said": value_words(searched, s.best)} for s in searched.improvements
        ],
        "best": searched.best.number if searched.best is not None else None,
        "flags": list(map(vars, searched.flags)),
        "trials": [_trial(searched, trial) for trial in searched.trials],
        "runs": [
            {"trial": run.trial, "name": run.name, "outcome": run.outcome, "y": _curve(run.curve)}
            for run in searched.runs
        ],
    }


def _trial(searched: SearchSummary, trial: SearchedTrial) -> dict[str, Json]:
    value = trial.so_far if math.isnan(trial.value) else trial.value
    said = value_words(searched, value) if math.isfinite(value) else "-"
    return vars(trial) | {"value": value, "said": said}
