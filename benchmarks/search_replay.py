"""Replay searches on a table of recorded curves, in simulated time, for `search.py`.

The decisions of a search (`lenet_exp.searches.trials`) depend only on events. In a replay, the
events come from `search_table.npz`: a simulated worker takes the recorded time for each recorded
epoch.
"""

from __future__ import annotations

import copy
import heapq
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from benchmarks.search_table import PACKED
from lenet_exp.config.compose import compose
from lenet_exp.config.schema import PrunerName, SamplerName, Search
from lenet_exp.config.space import Choice, Flag
from lenet_exp.folders.records import Outcome
from lenet_exp.package_files import config_groups
from lenet_exp.searches.budget import MOST_WITHOUT_TRAINING
from lenet_exp.searches.sampling import check_installed, suggest
from lenet_exp.searches.trials import Choose, Trials

Floats = NDArray[np.float64]
DIVERGED = 0.0  # accuracy that is assigned to a diverged curve
OPTUNAS = {
    "min_resource": 1,
    "reduction_factor": 4,
}  # default options of `asha` in earlier releases


@dataclass(frozen=True)
class Table:
    """The curves of all configurations in a grid.

    The configurations are in the order of the grid, in which the last flag varies fastest.

    Attributes:
        flags: values of each flag in the grid, keyed by flag.
        trained: (configurations, seeds) whether the curve exists.
        accuracy: (configurations, seeds, epochs) validation accuracy as a fraction; NaN after a
            divergence.
        seconds: (configurations, seeds, epochs) duration of each epoch in seconds.
    """

    flags: dict[str, list[str]]
    trained: NDArray[np.bool_]
    accuracy: Floats
    seconds: Floats

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds for which the curves of all configurations exist."""
        return [int(seed) for seed in np.flatnonzero(self.trained.all(0))]

    @cached_property
    def reached(self) -> Floats:
        """The best validation accuracy (configurations, seeds): 0 for a diverged curve, and NaN for
        a missing curve.
        """
        best: Floats = np.nan_to_num(self.accuracy, nan=DIVERGED).max(2)
        best[np.isnan(self.accuracy).any(2)] = DIVERGED
        best[~self.trained] = np.nan
        return best

    @cached_property
    def regret(self) -> Floats:
        """The regret of each configuration: how far its mean over `seeds` is below that of the best
        configuration.
        """
        means: Floats = self.reached[:, self.seeds].mean(1)
        return np.asarray(means.max() - means)

    def regret_with(self, seed: int) -> Floats:
        """Return the regret of each configuration based on one seed, which is all that a search
        with this seed sees.
        """
        return np.asarray(self.reached[:, seed].max() - self.reached[:, seed])

    @property
    def num_epoch(self) -> int:
        """The number of epochs in a curve."""
        return int(self.accuracy.shape[2])

    @property
    def grid_epochs(self) -> int:
        """The number of epochs that training the whole grid with one seed takes."""
        return len(self.accuracy) * self.num_epoch

    def spread(self, best: float = 0.1) -> tuple[float, int]:
        """Return the pooled standard deviation over seeds of the best configurations.

        Only configurations with several seeds are used.

        Args:
            best: fraction of the configurations that count as best.

        Returns:
            The standard deviation, and the number of configurations that are used.
        """
        top = self.reached[
            np.argsort(self.regret, kind="stable")[: max(2, round(best * len(self.reached)))]
        ]
        several = top[(~np.isnan(top)).sum(1) > 1]
        squares = np.nansum((several - np.nanmean(several, 1, keepdims=True)) ** 2)
        freedom = int((~np.isnan(several)).sum()) - len(several)
        return math.sqrt(float(squares) / freedom) if freedom else math.nan, len(several)

    def number(self, values: Mapping[str, object]) -> int:
        """Return the row number of a configuration, given the values of its flags."""
        at = 0
        for flag, options in self.flags.items():
            at = at * len(options) + options.index(str(values[flag]))
        return at

    def part(self, **options: Sequence[str]) -> Table:
        """Return the part of the table for a smaller grid.

        Args:
            options: values to keep, keyed by the last part of the flag's name. Other flags keep all
                values.
        """
        short = {flag.rpartition(".")[2]: flag for flag in self.flags}
        kept = {flag: list(self.flags[flag]) for flag in self.flags}
        kept |= {short[name]: list(values) for name, values in options.items()}
        at = [[self.flags[flag].index(value) for value in values] for flag, values in kept.items()]
        shape = [len(values) for values in self.flags.values()]
        places = np.arange(len(self.accuracy)).reshape(shape)[np.ix_(*at)].ravel()
        return Table(kept, self.trained[places], self.accuracy[places], self.seconds[places])

    def of_epochs(self, num_epoch: int) -> Table:
        """Return the table with a different number of epochs.

        Shorter curves are truncated. Longer curves are created by linear interpolation.
        """
        at = (
            np.linspace(0, self.num_epoch - 1, num_epoch)
            if num_epoch > self.num_epoch
            else np.arange(num_epoch)
        )
        low, high, share = np.floor(at).astype(int), np.ceil(at).astype(int), at % 1
        columns = [
            c[:, :, low] * (1 - share) + c[:, :, high] * share
            for c in (self.accuracy, self.seconds)
        ]
        return Table(self.flags, self.trained, *columns)


def load(file: Path = PACKED) -> Table:
    """Load a table of recorded curves.

    Raises:
        ValueError: the curves of all configurations do not exist yet for any seed.
    """
    with np.load(file) as found:
        columns = [found[name].astype(np.float64) for name in ("accuracy", "seconds")]
        table = Table(json.loads(str(found["flags"])), found["trained"], *columns)
    if not table.seeds:
        raise ValueError(f"{file}: no seed has all curves yet; benchmarks.search_table trains them")
    return table


@cache
def _defaults() -> Search:
    return compose([]).search


@dataclass(frozen=True)
class Way:
    """A search method: the options of a replayed search.

    Attributes:
        sampler, pruner, sampler_options, pruner_options: values of the `search.*` flags with these
            names.
        workers: number of simulated workers.
        batches: whether to use Optuna in the same way as hydra-optuna-sweeper: request one trial
            for each worker, train these trials without pruning, and report their results together.
        repeats: whether to allow trials with a configuration that was already drawn.
    """

    sampler: str = "tpe"
    pruner: str = "asha"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 4
    batches: bool = False
    repeats: bool = False

    @property
    def name(self) -> str:
        """The name of the method, such as `tpe, asha, reduction_factor=2`."""
        if self.batches:
            return "batches (TPE, no pruning)"
        options = {**self.sampler_options}, {**self.pruner_options}
        texts = [f"{k}={v}" for group in options for k, v in group.items()]
        return ", ".join(
            [self.sampler, self.pruner, *texts, *(["repeats"] if self.repeats else [])]
        )

    def search(self, seed: int) -> Search:
        """Return the configuration of a search with this method, with a seed for its sampler."""
        return replace(
            _defaults(),
            sampler=SamplerName(self.sampler),
            pruner=PrunerName(self.pruner),
            sampler_options=dict(self.sampler_options),
            pruner_options=dict(self.pruner_options),
            seed=seed,
        )


@dataclass
class Replayed:
    """The result of a replayed search.

    Attributes:
        spent: numbers of trained epochs after which the search found a new best configuration.
        named: row numbers of these best configurations.
        epochs, seconds: total number of trained epochs, and simulated duration of the search in
            seconds.
        trials, pruned, diverged: numbers of all trials, of pruned trials, and of diverged trials.
    """

    spent: list[int] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0
    trials: int = 0
    pruned: int = 0
    diverged: int = 0

    def at(self, epochs: int) -> int | None:
        """Return the best configuration so far after this many epochs, or None if there is no
        result yet.
        """
        candidates = [
            name for spent, name in zip(self.spent, self.named, strict=True) if spent <= epochs
        ]
        return candidates[-1] if candidates else None


def replay(
    table: Table, way: Way, repetition: int, max_epochs: float, n_trials: float = math.inf
) -> Replayed:
    """Replay one search.

    Args:
        way: the search method.
        repetition: number that seeds the sampler and selects the training seed for all trials of
            this search.
        max_epochs: number of trained epochs after which no trial starts.
        n_trials: maximum number of trials; ignored for search in batches.
    """
    check_installed()
    seed = table.seeds[repetition % len(table.seeds)]
    if way.batches:
        return _in_batches(table, way, repetition, seed, max_epochs)
    return _Replay(table, way, repetition, seed, max_epochs, n_trials).run()


@contextmanager
def quick_copies() -> Iterator[None]:
    """Speed up Optuna in a `with` block, by avoiding deep copies of distributions and trials.

    Optuna copies and compares the distributions of all trials in each step. In a replay, the
    distributions are a few constant objects, and an in-memory study replaces trials instead of
    changing them. Therefore, the decisions of a search are not affected.
    """
    choice, trial = optuna.distributions.CategoricalDistribution, FrozenTrial
    with ExitStack() as stack:
        for cls, name, made in (
            (choice, "__deepcopy__", lambda self, memo: self),
            (
                choice,
                "__eq__",
                lambda self, other: type(self) is type(other) and self.choices == other.choices,
            ),
            (choice, "__hash__", lambda self: hash(self.choices)),
            (trial, "__deepcopy__", lambda self, memo: copy.copy(self)),
        ):
            stack.enter_context(mock.patch.object(cls, name, made, create=True))
        yield


def _flags(table: Table) -> list[Flag]:
    """Return the flags in the order in which a search samples them: config groups first."""
    groups = set(config_groups())
    replays = [
        Flag(f, Choice(tuple(v)), f in groups, f"{f}={','.join(v)}") for f, v in table.flags.items()
    ]
    return sorted(replays, key=lambda flag: not flag.group)


class _Replay:
    """Simulates `searches/search.py` without processes, folders, or clocks."""

    def __init__(
        self, table: Table, way: Way, repetition: int, seed: int, max_epochs: float, n_trials: float
    ) -> None:
        self.table, self.way, self.max_epochs, self.n_trials = table, way, max_epochs, n_trials
        self.curves, self.seconds = table.accuracy[:, seed], table.seconds[:, seed]
        self.flags = _flags(table)
        self.trials = Trials(
            f"replay {repetition}", way.search(repetition), self.flags, table.num_epoch
        )
        self.found = Replayed()
        self.committed: dict[int, int] = {}  # number of trained epochs, keyed by configuration
        self.results: dict[
            int, Outcome
        ] = {}  # outcomes of configurations that finished or diverged
        self.flying: dict[
            int, list[int]
        ] = {}  # trials that wait for a configuration that is being trained
        self.events: list[
            tuple[float, int, int, int]
        ] = []  # time, trial, configuration, and its epochs at that time
        self.best = -math.inf
        self.fruitless = 0
        self.arguments: set[int] = set()

    def run(self) -> Replayed:
        """Run the replay and return its result."""
        now, busy = 0.0, 0
        while True:
            while busy < self.way.workers and (started := self._next(now)) is not None:
                busy += started
            if not self.events:
                break
            now, number, configuration, epoch = heapq.heappop(self.events)
            self.found.epochs += 1
            self.committed[configuration] = epoch
            if not self._epoch_ended(now, number, configuration, epoch):
                busy -= 1
        self.found.seconds = now
        self.found.trials = len(self.trials)
        return self.found

    def _next(self, now: float) -> bool | None:
        """Start the next trial that requires training. Return True, or None if no trial can be
        started.
        """
        repeated = 0
        while not (self._over() or self.trials.exhausted()):
            if max(repeated, self.fruitless) >= MOST_WITHOUT_TRAINING:
                return None
            configuration, trial = self._ask()
            repeated += 1
            if configuration in self.results:
                self._tell(trial.number, configuration, self.results[configuration], trained=False)
            elif configuration in self.flying:
                self.flying[configuration].append(trial.number)
            elif self._begins(now, trial.number, configuration):
                return True
        return None

    def _over(self) -> bool:
        return self.found.epochs >= self.max_epochs or len(self.trials) >= self.n_trials

    def _ask(self) -> tuple[int, FrozenTrial]:
        def make(choose: Choose) -> int:
            return self.table.number({flag.name: choose(flag) for flag in self.flags})

        found, trial = self.trials.ask(
            make, (lambda at: False) if self.way.repeats else self.arguments.__contains__
        )
        self.arguments.add(found)
        return found, trial

    def _begins(self, now: float, number: int, configuration: int) -> bool:
        """Start a trial after its recorded epochs, which are reported to the pruner again. Return
        whether it trains.
        """
        begun = self.committed.get(configuration, 0)
        for epoch in range(1, begun + 1):
            if self._report(number, configuration, epoch):
                self._tell(number, configuration, Outcome.pruned, trained=False)
                return False
        self.flying[configuration] = []
        self._train(now, number, configuration, begun + 1)
        return True

    def _train(self, now: float, number: int, configuration: int, epoch: int) -> None:
        seconds = self.seconds[configuration, epoch - 1]
        if math.isnan(seconds):  # the configuration diverges in this epoch
            seconds = (
                np.nanmean(self.seconds[configuration]) if epoch > 1 else np.nanmedian(self.seconds)
            )
        heapq.heappush(self.events, (now + float(seconds), number, configuration, epoch))

    def _epoch_ended(self, now: float, number: int, configuration: int, epoch: int) -> bool:
        """Process the end of an epoch and return whether the trial continues."""
        outcome = None
        if math.isnan(self.curves[configuration, epoch - 1]):
            outcome = Outcome.diverged
        elif epoch == self.table.num_epoch:
            outcome = Outcome.finished
        elif self._report(number, configuration, epoch):
            outcome = Outcome.pruned
        if outcome is None:
            self._train(now, number, configuration, epoch + 1)
            return True
        if outcome is not Outcome.pruned:
            self.results[configuration] = outcome
        for told in [number, *self.flying.pop(configuration)]:
            self._tell(told, configuration, outcome, trained=told == number)
        return False

    def _report(self, number: int, configuration: int, epoch: int) -> bool:
        """Report the best value so far to the pruner, as a search does, and return whether the
        trial is pruned.
        """
        return self.trials.report(number, epoch, float(self.curves[configuration, :epoch].max()))

    def _tell(self, number: int, configuration: int, outcome: Outcome, trained: bool) -> None:
        curve = self.curves[configuration, : self.committed[configuration]]
        curve = curve[~np.isnan(curve)]
        for epoch in range(1, len(curve) + (outcome is not Outcome.finished)):
            self._report(number, configuration, epoch)
        self.fruitless = 0 if trained else self.fruitless + 1
        self.found.pruned += outcome is Outcome.pruned
        self.found.diverged += outcome is Outcome.diverged
        value = float(curve.max()) if len(curve) else None
        self.trials.end(number, outcome, value)
        if outcome is Outcome.finished and value is not None and value > self.best:
            self.best = value
            self.found.spent.append(self.found.epochs)
            self.found.named.append(configuration)


def _in_batches(table: Table, way: Way, repetition: int, seed: int, max_epochs: float) -> Replayed:
    """Replay a search in batches, without pruning. Repeated configurations are trained again."""
    found, best = Replayed(), -math.inf
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=repetition)
    )
    flags = _flags(table)
    while found.epochs < max_epochs:
        batch: list[tuple[Any, int]] = []
        for _ in range(way.workers):
            trial = study.ask()
            batch.append((trial, table.number({flag.name: suggest(trial, flag) for flag in flags})))
        found.seconds += max(float(np.nansum(table.seconds[at, seed])) for _, at in batch)
        for trial, at in batch:
            epochs = int((~np.isnan(table.accuracy[at, seed])).sum())
            found.epochs += min(epochs + 1, table.num_epoch)
            value = float(table.reached[at, seed])
            study.tell(trial, value)
            if value > best:
                best = value
                found.spent.append(found.epochs)
                found.named.append(at)
    found.trials = len(study.trials)
    return found
