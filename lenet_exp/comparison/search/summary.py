"""Summarizes a search for reports: its flags, runs, and trials."""

from __future__ import annotations

import json
import math
import shlex
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.comparison.group import ABSENT
from lenet_exp.comparison.runs import configuration
from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.metric import Metric
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.schema import Objective
from lenet_exp.config.space import Choice, flag_of
from lenet_exp.folders.config_dir import config_dir_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_plan import SweepPlan


@dataclass(frozen=True)
class SearchedFlag:
    """A flag that was searched.

    Attributes:
        choice: whether the flag was searched over listed values rather than a range.
        log: whether a range was searched on a logarithmic scale.
    """

    name: str
    choice: bool
    log: bool


@dataclass(frozen=True)
class SearchedRun:
    """A run of a search.

    Attributes:
        trial: number of the trial that the run belongs to, or of the first such trial if several
            trials share the run.
        name: name of the job.
        dataset: name of the dataset.
        configuration: text that is equal for runs that differ only in their seed.
        flags: the value of each searched flag, as text; `-` if the flag has no effect.
        outcome: outcome of the run. With a target accuracy, a run counts as finished if it reached
            the target, and as pruned if it ended before reaching the target.
        value: value of the objective after the last epoch; NaN if there is no value yet.
        curve: value of the metric after each epoch, or validation loss if the loss is the
            objective.
        epoch_ends: time at which each epoch ended, in milliseconds since 1970.
        ended: time at which the run ended, in milliseconds since 1970; 0 if it has not ended.
        overrides: all overrides from which the run was composed.
    """

    trial: int
    name: str
    dataset: str
    configuration: str
    flags: dict[str, str]
    outcome: Outcome
    value: float
    curve: list[float]
    epoch_ends: list[int]
    ended: int
    overrides: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SearchedTrial:
    """A configuration, with a summary of its runs (one per seed).

    Attributes:
        number: number of the trial.
        name: name of the first run.
        flags: the value of each searched flag, as text.
        outcome: outcome of the trial: finished if any run finished; otherwise, the outcome of the
            first run.
        value: mean value of the objective over the finished runs; NaN if no run finished.
        so_far: best value of the objective over all runs, including unfinished runs; NaN if no run
            has a value.
        finished: number of finished runs.
        epochs: number of epochs in the longest run.
    """

    number: int
    name: str
    flags: dict[str, str]
    outcome: Outcome
    value: float
    so_far: float
    finished: int
    epochs: int


@dataclass(frozen=True)
class SearchStep:
    """The state of a search at the end of a run.

    Attributes:
        epochs: number of epochs trained for the search up to that time, including epochs of running
            trials.
        best: value of the best configuration so far; NaN if no run has finished.
        named: name of the best configuration so far; empty if no run has finished.
    """

    epochs: int
    best: float
    named: str


@dataclass(frozen=True)
class SearchSummary:
    """The flags, runs, and trials of a search.

    Attributes:
        how: the sampler, the pruner, and the objective if it is not accuracy; for example, `tpe,
            asha`.
        objective: the objective. For a Pareto front, all values are those of the first objective,
            accuracy.
        flags: the searched flags.
        runs: the runs, in the order in which they were requested.
        begun: time at which the search was first started, in milliseconds since 1970. Epochs that
            were trained before this time are not counted.
        target: the target accuracy (a fraction); None if there is no target.
        cost: second objective of a Pareto front; empty if there is none.
        config_dir: command-line arguments that specify the folder of the user's own options; empty
            if the user has no such folder.
        metric: metric of the runs.
    """

    how: str
    objective: Objective
    flags: list[SearchedFlag]
    runs: list[SearchedRun]
    begun: int
    target: float | None = None
    metric: Metric = field(default_factory=Metric)
    cost: str = ""
    config_dir: list[str] = field(default_factory=list)

    @property
    def is_loss(self) -> bool:
        """Whether the objective is the loss."""
        return self.objective is Objective.loss

    @property
    def is_metric(self) -> bool:
        """Whether the objective's values are those of the metric, by default accuracies as
        fractions.
        """
        return self.objective in {Objective.accuracy, Objective.front}

    def better(self, value: float) -> float:
        """Return a number that is higher for better values."""
        return value * SearchObjective(self.objective, metric=self.metric).sign

    def of(self, dataset: str) -> SearchSummary:
        """Return a summary of the runs that were trained on one dataset."""
        return replace(self, runs=[run for run in self.runs if run.dataset == dataset])

    @cached_property
    def trials(self) -> list[SearchedTrial]:
        """The trials, in the order in which they were requested."""
        found: dict[str, list[SearchedRun]] = {}
        for run in self.runs:
            found.setdefault(run.configuration, []).append(run)
        return [self._trial(its) for its in found.values()]

    @property
    def ended(self) -> list[SearchedTrial]:
        """The trials with a finished, pruned, or diverged run."""
        return [
            t
            for t in self.trials
            if t.outcome in {Outcome.finished, Outcome.pruned, Outcome.diverged}
        ]

    @cached_property
    def best(self) -> SearchedTrial | None:
        """The trial with the best mean among the trials with the most finished runs; None if no run
        finished.
        """
        finished = [t for t in self.trials if t.finished]
        return max(
            finished, key=lambda t: (t.finished, self.better(t.value), -t.number), default=None
        )

    @property
    def best_command(self) -> str | None:
        """The command that trains the best trial, with values in full precision; None if no trial
        has finished.
        """
        if self.best is None:
            return None
        overrides = next(run.overrides for run in self.runs if run.trial == self.best.number)
        own = [o for o in overrides if not o.lstrip("+").startswith(("sweep.", "seed="))]
        return shlex.join(["lenet-train", *self.config_dir, *own])

    @cached_property
    def steps(self) -> list[SearchStep]:
        """The state of the search at the end of each run, in chronological order."""
        ends = sorted(end for run in self.runs for end in run.epoch_ends if end >= self.begun)
        found: list[SearchStep] = []
        first: dict[str, SearchedRun] = {}
        values: dict[str, list[float]] = {}
        best, rank = SearchStep(0, math.nan, ""), (0, 0.0, 0)  # ranked as in `best`
        for run in sorted(self.runs, key=lambda run: (max(run.ended, self.begun), run.trial)):
            if not run.ended:
                continue
            its = first.setdefault(run.configuration, run)
            if run.outcome is Outcome.finished:
                known = values.setdefault(run.configuration, [])
                known.append(run.value)
                mean = statistics.fmean(known)
                if (now := (len(known), self.better(mean), -its.trial)) > rank:
                    best, rank = SearchStep(0, mean, its.name), now
            found.append(replace(best, epochs=bisect_right(ends, run.ended)))
        return found

    @property
    def improvements(self) -> list[SearchStep]:
        """The steps at which the best value changed."""
        known = [step for step in self.steps if not math.isnan(step.best)]
        return [step for n, step in enumerate(known) if n == 0 or step.best != known[n - 1].best]

    @property
    def epochs(self) -> int:
        """The number of epochs trained for the search."""
        return sum(self.spent.values())

    @property
    def spent(self) -> dict[str, int]:
        """The number of epochs trained for the search, keyed by the outcome of the run. The values
        add up to `epochs`."""
        found: dict[str, int] = {}
        for run in self.runs:
            epochs = sum(end >= self.begun for end in run.epoch_ends)
            found[run.outcome.value] = found.get(run.outcome.value, 0) + epochs
        return found

    def _trial(self, runs: Sequence[SearchedRun]) -> SearchedTrial:
        first, finished = runs[0], [run.value for run in runs if run.outcome is Outcome.finished]
        known = [run.value for run in runs if not math.isnan(run.value)]
        return SearchedTrial(
            number=first.trial,
            name=first.name,
            flags=first.flags,
            outcome=Outcome.finished if finished else first.outcome,
            value=statistics.fmean(finished) if finished else math.nan,
            so_far=max(known, key=self.better, default=math.nan),
            finished=len(finished),
            epochs=max(len(run.curve) for run in runs),
        )


def searched(plan: SweepPlan, results: Sequence[JobResult]) -> SearchSummary | None:
    """Return a summary of a search; None if the sweep is a grid.

    Args:
        plan: plan of the sweep.
        results: results of the sweep's jobs, in order.
    """
    if plan.search is None:
        return None
    objective, target = Objective(plan.search.objective), plan.search.target
    flags, metric = _flags(plan), Metric.of(results[0].job.config.metric) if results else Metric()
    first: dict[str, JobResult] = {}
    for result in results:
        first.setdefault(result.job.run, result)
    runs = [
        _run(result, flags, SearchObjective(objective, target, metric=metric))
        for result in first.values()
    ]
    begun = (
        min((r.record.created_ms for r in results if r.record), default=0)
        if plan.remade
        else plan.created_ms
    )
    parts = [plan.search.sampler, plan.search.pruner, plan.search.objective]
    how = ", ".join(part for part in parts if part not in {"none", Objective.accuracy.value})
    cost, own = plan.search.cost if objective is Objective.front else "", config_dir_of(plan)
    summary = SearchSummary(how, objective, flags, runs, begun=begun, target=target, metric=metric)
    return replace(summary, cost=cost, config_dir=own)


def _flags(plan: SweepPlan) -> list[SearchedFlag]:
    """Return the searched flags, as spelled in the sweep's command."""
    groups = set(config_groups())
    parsed = [
        o for o in OverridesParser.create().parse_overrides(plan.overrides) if o.is_sweep_override()
    ]
    spaces = {flag.name: flag.values for flag in (flag_of(override, groups) for override in parsed)}
    named = [(name, spaces.get(name)) for name in (swept.lstrip("+") for swept in plan.swept)]
    return [
        SearchedFlag(
            name, values is None or isinstance(values, Choice), bool(getattr(values, "log", False))
        )
        for name, values in named
    ]


def _run(result: JobResult, flags: Sequence[SearchedFlag], aim: SearchObjective) -> SearchedRun:
    job, epochs = result.job, result.job.folder.history().epochs
    swept = {flag.lstrip("+"): text for flag, text in job.swept.items()}
    values, (outcome, _) = aim.values(epochs), aim.trial_result(result.outcome, epochs)
    return SearchedRun(
        trial=job.trial_number,
        name=job.name,
        dataset=job.config.dataset.name,
        configuration=json.dumps(configuration(job.config), sort_keys=True),
        flags={flag.name: swept.get(flag.name, ABSENT) for flag in flags},
        outcome=outcome,
        value=values[0] if values is not None else math.nan,
        curve=[
            epoch.val_loss if aim.objective is Objective.loss else epoch.value for epoch in epochs
        ],
        epoch_ends=[epoch.time_ms for epoch in epochs],
        ended=result.record.ended_ms if result.record is not None else 0,
        overrides=job.overrides,
    )
