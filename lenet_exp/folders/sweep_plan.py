"""Content of sweep.json: the settings and state of a sweep, including those of a search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lenet_exp.config.schema import Cost
from lenet_exp.config.typed_json import stored_as
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.stored import Stored


@dataclass(frozen=True, kw_only=True)
class SearchPlan(Stored):
    """The settings and progress of a search.

    Attributes:
        sampler, pruner, objective: names of the sampler, the pruner, and the objective.
        n_trials, max_epochs, max_seconds: budgets of the search; None means no limit.
        trials: number of trials that have been started.
        finished_trials: number of trials that have ended.
        epochs: number of epochs trained so far.
        seeds: maximum number of seeds per configuration.
        cost: second objective of a Pareto front.
        max_parameters: maximum number of parameters in a network; None means no limit.
        target: validation accuracy to reach, as a fraction; None if the objective has no target.
        seconds: total duration of the search in seconds, over all starts.
        best_trial: number of the best finished trial; None if no trial has finished.
        best_value: objective value of the best trial, as a mean over its seeds.
        best_job: number of the first job of the best trial.
        best_seeds: number of seeds of the best trial.
        left: IDs of the first runs of all configurations that could be the best; None if each
            configuration has only a single seed.
        front: numbers of the trials on the Pareto front.
        ended_by: reason why the search ended; empty if it has not ended.
    """

    sampler: str
    pruner: str
    objective: str
    n_trials: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None
    trials: int = 0
    finished_trials: int = stored_as("told", default=0)
    epochs: int = 0
    seconds: float = 0.0
    cost: str = Cost.seconds
    max_parameters: int | None = None
    best_trial: int | None = None
    best_value: float | None = None
    seeds: int = 1
    target: float | None = None
    best_job: int | None = None
    best_seeds: int = 1
    left: list[str] | None = None
    front: list[int] = field(default_factory=list)
    ended_by: str = ""

    def resumed_from(self, earlier_plan: SearchPlan | None) -> SearchPlan:
        """Return this plan with the progress from an earlier start of the same search.

        Args:
            earlier_plan: plan from the earlier start; None if this is the first start.
        """
        if earlier_plan is None:
            return self
        return replace(
            earlier_plan,
            n_trials=self.n_trials,
            max_epochs=self.max_epochs,
            max_seconds=self.max_seconds,
            seeds=self.seeds,
            ended_by="",
        )


@dataclass(frozen=True, kw_only=True)
class RacePlan(Stored):
    """The settings and progress of a sweep with `sweep.within`, which adds seeds until the leader
    is at most that far below the best configuration.

    Replicates are seeds, each with its `split_seed` if that is swept, and otherwise with 0.

    Attributes:
        within: difference that does not matter: in percentage points if the metric is in percent,
            and otherwise in its unit.
        most_seeds: maximum number of seeds per configuration.
        max_seconds: time after which no seeds are added, over all starts; None means no limit.
        listed: number of replicates that the command lists.
        replicates: seed and split of each replicate, in the order in which they are trained; the
            listed ones come first.
        after_verdict: whether the flag was added after a verdict on the listed seeds was shown.
        replaced_within: difference of the last verdict that this race replaces; None if it is the
            first.
        seconds: time in which seeds were added, in seconds, over all starts.
        ended_by: reason why seeds were no longer added, although the difference was not reached:
            the limit, such as `max_seconds=60`; empty if there was no such reason.
    """

    within: float
    most_seeds: int
    max_seconds: float | None = None
    listed: int
    replicates: list[tuple[int, int]]
    after_verdict: bool = False
    replaced_within: float | None = None
    seconds: float = 0.0
    ended_by: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepPlan(Stored):
    """The content of sweep.json: the settings and state of a sweep.

    Attributes:
        created_ms, started_ms: times of the first and the last start, in milliseconds since 1970.
        starts: number of times the sweep was started.
        forced_ms: time of the last start, in milliseconds since 1970, if that start was forced
            (`sweep.force`); otherwise, 0. Runs that began before this time are retrained.
        retrained: whether a forced start retrained runs, whose earlier results may have been seen.
        runs: number of jobs.
        tracking_uri: name of the sweep's MLflow store; None means mlflow.db in the outputs folder.
        outcome: state of the sweep: running, finished, failed, or killed.
        stopped_by: name of the signal that stopped the sweep; empty if the sweep was not stopped by
            a signal.
        remade: whether a start of the sweep replaced a corrupt sweep.json.
        ended_ms: time at which the sweep last ended, in milliseconds since 1970.
        confirms: ID of the sweep whose leader this sweep tests on new seeds; None if this sweep is
            not a confirmation.
        points: lead, in percentage points, that the test is planned to detect; None if this sweep
            is not a confirmation.
        confirmed: result of the test; None until all runs have ended.
        counted: for each start, its number as text, the number of jobs with each outcome at its
            end, and the time of that end (`ended_ms`).
        directory: working directory of the command; empty in files from older releases.
        search: settings and progress of the search; None for a grid.
        race: settings and progress of `sweep.within`; None if it was never set.
        code: digest of the copied code of each own class (see `code_folder`), by the path of the
            class.
        users: users who have started the sweep.
        tags: values of `tracking.tags` at all starts, keyed by dotted name.
    """

    created_ms: int
    starts: int = 0
    forced_ms: int = 0
    retrained: bool = False
    runs: int = 0
    command: str = ""
    overrides: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    experiment: str = ""
    tracking_uri: str | None = None
    started_ms: int = 0
    outcome: Outcome = Outcome.running
    stopped_by: str = ""
    remade: bool = False
    ended_ms: int = 0
    confirms: str | None = None
    points: float | None = None
    confirmed: bool | None = None
    directory: str = ""
    search: SearchPlan | None = None
    race: RacePlan | None = None
    counted: dict[str, dict[str, float]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    users: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
