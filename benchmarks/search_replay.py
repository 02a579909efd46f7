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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# default options of `asha` in earlier releases
OPTUNAS = {"min_resource": 1, "reduction_factor": 4}


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
        count = max(2, round(best * len(self.reached)))
        best_first = np.argsort(self.regret, kind="stable")
        accuracies = self.reached[best_first[:count]]
        seeds = (~np.isnan(accuracies)).sum(axis=1)
        several = accuracies[seeds > 1]

        residuals = several - np.nanmean(several, axis=1, keepdims=True)
        square = float(np.nansum(residuals**2))
        freedom = int((~np.isnan(several)).sum()) - len(several)
        if freedom == 0:
            return math.nan, len(several)
        return math.sqrt(square / freedom), len(several)

    def number(self, values: Mapping[str, object]) -> int:
        """Return the row number of a configuration, given the values of its flags."""
        number = 0
        for flag, options in self.flags.items():
            number = number * len(options) + options.index(str(values[flag]))
        return number

    def part(self, **options: Sequence[str]) -> Table:
        """Return the part of the table for a smaller grid.

        Args:
            options: values to keep, keyed by the last part of the flag's name. Other flags keep all
                values.
        """
        flag_of_name = {flag.rpartition(".")[2]: flag for flag in self.flags}
        flags = {flag: list(values) for flag, values in self.flags.items()}
        for name, values in options.items():
            flags[flag_of_name[name]] = list(values)
        indices = []
        for flag, values in flags.items():
            indices.append([self.flags[flag].index(value) for value in values])

        shape = [len(values) for values in self.flags.values()]
        grid = np.arange(len(self.accuracy)).reshape(shape)
        rows = grid[np.ix_(*indices)].ravel()
        return Table(flags, self.trained[rows], self.accuracy[rows], self.seconds[rows])

    def of_epochs(self, num_epoch: int) -> Table:
        """Return the table with a different number of epochs.

        Shorter curves are truncated. Longer curves are created by linear interpolation.
        """
        positions: Floats = np.arange(num_epoch, dtype=np.float64)  # in the recorded curves
        if num_epoch > self.num_epoch:
            positions = np.linspace(0, self.num_epoch - 1, num_epoch)
        below = np.floor(positions).astype(int)
        above = np.ceil(positions).astype(int)
        share = positions % 1

        columns = []
        for column in (self.accuracy, self.seconds):
            columns.append(column[:, :, below] * (1 - share) + column[:, :, above] * share)
        return Table(self.flags, self.trained, *columns)


def load(file: Path = PACKED) -> Table:
    """Load a table of recorded curves.

    Raises:
        ValueError: the curves of all configurations do not exist yet for any seed.
    """
    with np.load(file) as arrays:
        table = Table(
            flags=json.loads(str(arrays["flags"])),
            trained=arrays["trained"],
            accuracy=arrays["accuracy"].astype(np.float64),
            seconds=arrays["seconds"].astype(np.float64),
        )
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
        parts = [self.sampler, self.pruner]
        parts += [f"{option}={value}" for option, value in self.sampler_options.items()]
        parts += [f"{option}={value}" for option, value in self.pruner_options.items()]
        if self.repeats:
            parts.append("repeats")
        return ", ".join(parts)

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
        best = None
        for spent, configuration in zip(self.spent, self.named, strict=True):
            if spent <= epochs:
                best = configuration
        return best


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
    if way.batches:
        return _in_batches(table, way, repetition, max_epochs)
    return _Replay(table, way, repetition, _Limits(max_epochs, n_trials)).run()


@dataclass(frozen=True)
class _Limits:
    """Numbers of trained epochs and of trials after which no trial starts."""

    epochs: float
    trials: float


def _seed_of(table: Table, repetition: int) -> int:
    """Return the training seed of all trials of a search."""
    return table.seeds[repetition % len(table.seeds)]


@contextmanager
def quick_copies() -> Iterator[None]:
    """Speed up Optuna in a `with` block, by avoiding deep copies of distributions and trials.

    Optuna copies and compares the distributions of all trials in each step. In a replay, the
    distributions are a few constant objects, and an in-memory study replaces trials instead of
    changing them. Therefore, the decisions of a search are not affected.
    """
    choice = optuna.distributions.CategoricalDistribution
    methods: tuple[tuple[type, str, Callable[..., Any]], ...] = (
        (choice, "__deepcopy__", lambda self, memo: self),
        (choice, "__eq__", _same_choices),
        (choice, "__hash__", lambda self: hash(self.choices)),
        (FrozenTrial, "__deepcopy__", lambda self, memo: copy.copy(self)),
    )
    with ExitStack() as stack:
        for cls, name, method in methods:
            stack.enter_context(mock.patch.object(cls, name, method, create=True))
        yield


def _same_choices(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.choices == other.choices


def _flags(table: Table) -> list[Flag]:
    """Return the flags in the order in which a search samples them: config groups first."""
    groups = set(config_groups())
    flags = []
    for name, values in table.flags.items():
        argument = f"{name}={','.join(values)}"
        flags.append(Flag(name, Choice(tuple(values)), name in groups, argument))
    return sorted(flags, key=lambda flag: not flag.group)


@dataclass(frozen=True, order=True)
class _EpochEnd:
    """The end of an epoch of a trial. The order is that of time.

    Attributes:
        time: simulated time in seconds.
        number: number of the trial.
        configuration: row number of the configuration that it trains.
        epoch: number of trained epochs of the configuration at that time.
    """

    time: float
    number: int
    configuration: int
    epoch: int


class _Replay:
    """Simulates `searches/search.py` without processes, folders, or clocks."""

    def __init__(self, table: Table, way: Way, repetition: int, limits: _Limits) -> None:
        seed = _seed_of(table, repetition)
        self.table = table
        self.way = way
        self.limits = limits
        self.curves = table.accuracy[:, seed]
        self.seconds = table.seconds[:, seed]
        self.flags = _flags(table)
        search = way.search(repetition)
        self.trials = Trials(f"replay {repetition}", search, self.flags, table.num_epoch)
        self.result = Replayed()
        self.committed: dict[int, int] = {}  # number of trained epochs, keyed by configuration
        # outcomes of configurations that finished or diverged
        self.outcomes: dict[int, Outcome] = {}
        # trials that wait for a configuration that is being trained
        self.waiting: dict[int, list[int]] = {}
        self.events: list[_EpochEnd] = []  # a heap
        self.best = -math.inf
        self.fruitless = 0  # trials in a row that trained nothing
        self.drawn: set[int] = set()  # configurations of all trials

    def run(self) -> Replayed:
        """Run the replay and return its result."""
        time = 0.0
        busy = 0  # number of workers that train
        while True:
            while busy < self.way.workers and self._start_trial(time):
                busy += 1
            if not self.events:
                break
            event = heapq.heappop(self.events)
            time = event.time
            self.result.epochs += 1
            self.committed[event.configuration] = event.epoch
            if not self._epoch_ended(event):
                busy -= 1
        self.result.seconds = time
        self.result.trials = len(self.trials)
        return self.result

    def _start_trial(self, time: float) -> bool:
        """Start the next trial that requires training, and return whether there is one."""
        requested = 0
        while not self._over() and not self.trials.exhausted():
            if max(requested, self.fruitless) >= MOST_WITHOUT_TRAINING:
                return False
            configuration, trial = self._ask()
            requested += 1
            if configuration in self.outcomes:
                outcome = self.outcomes[configuration]
                self._end_trial(trial.number, configuration, outcome, trained=False)
            elif configuration in self.waiting:
                self.waiting[configuration].append(trial.number)
            elif self._begin_training(time, trial.number, configuration):
                return True
        return False

    def _over(self) -> bool:
        if self.result.epochs >= self.limits.epochs:
            return True
        return len(self.trials) >= self.limits.trials

    def _ask(self) -> tuple[int, FrozenTrial]:
        def configuration_of(choose: Choose) -> int:
            return self.table.number({flag.name: choose(flag) for flag in self.flags})

        def is_repeated(configuration: int) -> bool:
            return configuration in self.drawn and not self.way.repeats

        configuration, trial = self.trials.ask(configuration_of, is_repeated)
        self.drawn.add(configuration)
        return configuration, trial

    def _begin_training(self, time: float, number: int, configuration: int) -> bool:
        """Start a trial after its recorded epochs, which are reported to the pruner again. Return
        whether it trains.
        """
        trained_epochs = self.committed.get(configuration, 0)
        for epoch in range(1, trained_epochs + 1):
            if self._report(number, configuration, epoch):
                self._end_trial(number, configuration, Outcome.pruned, trained=False)
                return False
        self.waiting[configuration] = []
        self._train(time, number, configuration, trained_epochs + 1)
        return True

    def _train(self, time: float, number: int, configuration: int, epoch: int) -> None:
        seconds = self.seconds[configuration, epoch - 1]
        if math.isnan(seconds):  # the configuration diverges in this epoch
            if epoch > 1:
                seconds = np.nanmean(self.seconds[configuration])
            else:
                seconds = np.nanmedian(self.seconds)
        event = _EpochEnd(time + float(seconds), number, configuration, epoch)
        heapq.heappush(self.events, event)

    def _epoch_ended(self, event: _EpochEnd) -> bool:
        """Process the end of an epoch and return whether the trial continues."""
        number = event.number
        configuration = event.configuration
        outcome = None
        if math.isnan(self.curves[configuration, event.epoch - 1]):
            outcome = Outcome.diverged
        elif event.epoch == self.table.num_epoch:
            outcome = Outcome.finished
        elif self._report(number, configuration, event.epoch):
            outcome = Outcome.pruned

        if outcome is None:
            self._train(event.time, number, configuration, event.epoch + 1)
            return True
        if outcome is not Outcome.pruned:
            self.outcomes[configuration] = outcome
        self._end_trial(number, configuration, outcome, trained=True)
        for waiting in self.waiting.pop(configuration):
            self._end_trial(waiting, configuration, outcome, trained=False)
        return False

    def _report(self, number: int, configuration: int, epoch: int) -> bool:
        """Report the best value so far to the pruner, as a search does, and return whether the
        trial is pruned.
        """
        return self.trials.report(number, epoch, float(self.curves[configuration, :epoch].max()))

    def _end_trial(
        self, number: int, configuration: int, outcome: Outcome, *, trained: bool
    ) -> None:
        """End a trial with the outcome of its configuration, after a report of each epoch but the
        last one of a finished curve.
        """
        curve = self.curves[configuration, : self.committed[configuration]]
        curve = curve[~np.isnan(curve)]
        reported_epochs = len(curve)
        if outcome is Outcome.finished:
            reported_epochs -= 1
        for epoch in range(1, reported_epochs + 1):
            self._report(number, configuration, epoch)

        if trained:
            self.fruitless = 0
        else:
            self.fruitless += 1
        self.result.pruned += outcome is Outcome.pruned
        self.result.diverged += outcome is Outcome.diverged

        value = None
        if len(curve):
            value = float(curve.max())
        self.trials.end(number, outcome, value)
        if outcome is Outcome.finished and value is not None and value > self.best:
            self.best = value
            self.result.spent.append(self.result.epochs)
            self.result.named.append(configuration)


def _in_batches(table: Table, way: Way, repetition: int, max_epochs: float) -> Replayed:
    """Replay a search in batches, without pruning. Repeated configurations are trained again."""
    seed = _seed_of(table, repetition)
    sampler = optuna.samplers.TPESampler(seed=repetition)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    flags = _flags(table)
    result = Replayed()
    best = -math.inf
    while result.epochs < max_epochs:
        batch: list[tuple[optuna.Trial, int]] = []
        for _ in range(way.workers):
            trial = study.ask()
            values = {flag.name: suggest(trial, flag) for flag in flags}
            batch.append((trial, table.number(values)))

        # the next batch starts when the slowest trial of this one has ended
        durations = [float(np.nansum(table.seconds[row, seed])) for _, row in batch]
        result.seconds += max(durations)
        for trial, row in batch:
            epochs_with_accuracy = int((~np.isnan(table.accuracy[row, seed])).sum())
            # a diverged curve also took the epoch in which it diverged
            result.epochs += min(epochs_with_accuracy + 1, table.num_epoch)
            value = float(table.reached[row, seed])
            study.tell(trial, value)
            if value > best:
                best = value
                result.spent.append(result.epochs)
                result.named.append(row)
    result.trials = len(study.trials)
    return result
