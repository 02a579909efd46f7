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

from lenet_exp.comparison.group import ABSENT
from lenet_exp.comparison.runs import configuration
from lenet_exp.comparison.search.flags import SearchedFlag, searched_flags
from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Objective
from lenet_exp.folders.config_dir import config_dir_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_plan import SearchPlan, SweepPlan


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
        runs_by_configuration: dict[str, list[SearchedRun]] = {}
        for run in self.runs:
            runs_by_configuration.setdefault(run.configuration, []).append(run)
        return [self._trial(runs) for runs in runs_by_configuration.values()]

    @property
    def ended(self) -> list[SearchedTrial]:
        """The trials with a finished, pruned, or diverged run."""
        ended = {Outcome.finished, Outcome.pruned, Outcome.diverged}
        return [trial for trial in self.trials if trial.outcome in ended]

    @cached_property
    def best(self) -> SearchedTrial | None:
        """The trial with the best mean among the trials with the most finished runs; None if no run
        finished.
        """
        with_value = [trial for trial in self.trials if trial.finished]
        return max(with_value, key=self._rank_of_trial, default=None)

    def _rank_of_trial(self, trial: SearchedTrial) -> tuple[int, float, int]:
        return self._rank(trial.finished, trial.value, trial.number)

    def _rank(self, finished_runs: int, mean: float, number: int) -> tuple[int, float, int]:
        """Return a sort key that is higher for better trials.

        Of two trials with equal means, the earlier one is better.
        """
        return finished_runs, self.better(mean), -number

    @property
    def best_command(self) -> str | None:
        """The command that trains the best trial, with values in full precision; None if no trial
        has finished.
        """
        if self.best is None:
            return None
        overrides = next(run.overrides for run in self.runs if run.trial == self.best.number)
        omitted = ("sweep.", "seed=")
        of_configuration = [
            override for override in overrides if not override.lstrip("+").startswith(omitted)
        ]
        return shlex.join(["lenet-train", *self.config_dir, *of_configuration])

    @cached_property
    def steps(self) -> list[SearchStep]:
        """The state of the search at the end of each run, in chronological order."""
        epoch_ends = sorted(end for run in self.runs for end in run.epoch_ends if end >= self.begun)
        first_runs: dict[str, SearchedRun] = {}  # by configuration
        values: dict[str, list[float]] = {}  # of finished runs, by configuration
        best = SearchStep(0, math.nan, "")
        rank_of_best = (0, 0.0, 0)  # lower than the rank of every trial with a finished run
        steps: list[SearchStep] = []

        for run in sorted(self.runs, key=self._order_of_end):
            if not run.ended:
                continue
            first_run = first_runs.setdefault(run.configuration, run)
            if run.outcome is Outcome.finished:
                values_of_trial = values.setdefault(run.configuration, [])
                values_of_trial.append(run.value)
                mean = statistics.fmean(values_of_trial)
                rank = self._rank(len(values_of_trial), mean, first_run.trial)
                if rank > rank_of_best:
                    best = SearchStep(0, mean, first_run.name)
                    rank_of_best = rank

            epochs = bisect_right(epoch_ends, run.ended)
            steps.append(replace(best, epochs=epochs))
        return steps

    def _order_of_end(self, run: SearchedRun) -> tuple[int, int]:
        """Return a sort key that is higher for runs that ended later.

        Runs that ended before the search began are ordered by their trial.
        """
        return max(run.ended, self.begun), run.trial

    @property
    def improvements(self) -> list[SearchStep]:
        """The steps at which the best value changed."""
        improvements = []
        best = math.nan  # differs from every value
        for step in self.steps:
            if not math.isnan(step.best) and step.best != best:
                improvements.append(step)
                best = step.best
        return improvements

    @property
    def epochs(self) -> int:
        """The number of epochs trained for the search."""
        return sum(self.spent.values())

    @property
    def spent(self) -> dict[str, int]:
        """The number of epochs trained for the search, keyed by the outcome of the run.

        The values add up to `epochs`.
        """
        epochs_by_outcome: dict[str, int] = {}
        for run in self.runs:
            outcome = run.outcome.value
            epochs = sum(end >= self.begun for end in run.epoch_ends)
            epochs_by_outcome[outcome] = epochs_by_outcome.get(outcome, 0) + epochs
        return epochs_by_outcome

    def _trial(self, runs: Sequence[SearchedRun]) -> SearchedTrial:
        """Return a summary of the runs of one configuration."""
        first_run = runs[0]
        final_values = [run.value for run in runs if run.outcome is Outcome.finished]
        outcome = first_run.outcome
        mean = math.nan
        if final_values:
            outcome = Outcome.finished
            mean = statistics.fmean(final_values)

        values_so_far = [run.value for run in runs if not math.isnan(run.value)]
        return SearchedTrial(
            number=first_run.trial,
            name=first_run.name,
            flags=first_run.flags,
            outcome=outcome,
            value=mean,
            so_far=max(values_so_far, key=self.better, default=math.nan),
            finished=len(final_values),
            epochs=max(len(run.curve) for run in runs),
        )


def searched(plan: SweepPlan, results: Sequence[JobResult]) -> SearchSummary | None:
    """Return a summary of a search; None if the sweep is a grid.

    Args:
        plan: plan of the sweep.
        results: results of the sweep's jobs, in order.
    """
    search = plan.search
    if search is None:
        return None
    objective = Objective(search.objective)
    flags = searched_flags(plan)
    metric = Metric.of(results[0].job.config.metric) if results else Metric()
    search_objective = SearchObjective(objective, search.target, metric=metric)

    first_results: dict[str, JobResult] = {}  # by run, which several trials can share
    for result in results:
        first_results.setdefault(result.job.run, result)
    runs = [_run(result, flags, search_objective) for result in first_results.values()]

    return SearchSummary(
        _how(search),
        objective,
        flags,
        runs,
        begun=_begun(plan, results),
        target=search.target,
        metric=metric,
        cost=search.cost if objective is Objective.front else "",
        config_dir=config_dir_of(plan),
    )


def _begun(plan: SweepPlan, results: Sequence[JobResult]) -> int:
    """Return the time at which a search was first started, in milliseconds since 1970.

    If a corrupt plan was replaced, that time is lost, and the time at which the earliest run was
    started is returned; 0 if no run was started.
    """
    if not plan.remade:
        return plan.created_ms
    starts = [result.record.created_ms for result in results if result.record]
    return min(starts, default=0)


def _how(search: SearchPlan) -> str:
    """Return the sampler, the pruner, and the objective, for example `tpe, asha`.

    The pruner `none` and the objective `accuracy` are omitted.
    """
    omitted = {"none", Objective.accuracy.value}
    parts = [search.sampler, search.pruner, search.objective]
    return ", ".join(part for part in parts if part not in omitted)


def _run(
    result: JobResult, flags: Sequence[SearchedFlag], search_objective: SearchObjective
) -> SearchedRun:
    job = result.job
    epochs = job.folder.history().epochs
    values = search_objective.values(epochs)
    outcome, _ = search_objective.trial_result(result.outcome, epochs)
    swept = {flag.lstrip("+"): text for flag, text in job.swept.items()}

    if search_objective.objective is Objective.loss:
        curve = [epoch.val_loss for epoch in epochs]
    else:
        curve = [epoch.value for epoch in epochs]

    return SearchedRun(
        trial=job.trial_number,
        name=job.name,
        dataset=job.config.dataset.name,
        configuration=json.dumps(configuration(job.config), sort_keys=True),
        flags={flag.name: swept.get(flag.name, ABSENT) for flag in flags},
        outcome=outcome,
        value=values[0] if values is not None else math.nan,
        curve=curve,
        epoch_ends=[epoch.time_ms for epoch in epochs],
        ended=result.record.ended_ms if result.record is not None else 0,
        overrides=job.overrides,
    )
