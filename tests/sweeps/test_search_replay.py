"""Searches replayed on a small part of the table of real curves: `python -m benchmarks.search` does it on all of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search import search_all
from benchmarks.search_replay import Table, Way, load, quick_copies, replay

BUDGET = 260  # epochs: a fifth of the part's grid
REPETITIONS = 6


@pytest.fixture(scope="module")
def table() -> Table:
    """144 configurations."""
    return load().part(activation=["relu", "tanh"], optimizer=["sgd", "adam"])


def test_a_part_has_the_curves_of_its_configurations(table):
    whole = load()
    values = {"activation": "tanh", "optimizer": "adam", "optimizer.lr": "0.01", "schedule": "linear"}
    values |= {"regularization.dropout_rate": "0.2", "regularization.weight_decay": "0.0005"}
    at, there = table.number(values), whole.number(values)
    assert len(table.accuracy) == 144
    assert np.array_equal(table.accuracy[at], whole.accuracy[there], equal_nan=True)


@pytest.mark.parametrize("way", [Way("tpe"), Way("random", "hyperband"), Way("tpe", "median"), Way(batches=True)])
def test_a_repetition_is_the_same_each_time(table, way):
    """And so it is without the short cuts by which many are replayed."""
    first = replay(table, way, 3, BUDGET // 2)
    with quick_copies():
        assert replay(table, way, 3, BUDGET // 2) == first
        assert replay(table, way, 4, BUDGET // 2) != first


@pytest.mark.parametrize("pruner", ["asha", "none"])
def test_no_trial_begins_past_the_budget(table, pruner):
    way = Way("random", pruner)
    for found in search_all(table, way, REPETITIONS, BUDGET / table.grid_epochs).searches:
        assert BUDGET <= found.epochs < BUDGET + way.workers * table.num_epoch


def test_a_search_gets_better_with_what_it_spends(table):
    found = search_all(table, Way("tpe", "none"), REPETITIONS, BUDGET / table.grid_epochs)
    medians = np.median(found.regret, 0)
    assert (np.diff(found.regret, axis=1) <= 0).mean() > 0.99  # one seed's best may be worse over all of them
    assert medians[BUDGET] < medians[60] < medians[0]
    assert medians[BUDGET] < np.median(table.regret) / 5


def test_pruning_tries_more_configurations_for_the_same_epochs(table):
    pruned, whole = (
        search_all(table, Way("random", p), REPETITIONS, BUDGET / table.grid_epochs) for p in ("asha", "none")
    )
    assert whole.mean("pruned") == 0
    assert pruned.mean("pruned") > 0
    assert pruned.mean("trials") > 2 * whole.mean("trials")


def test_a_configuration_is_asked_for_once_while_there_are_others(table):
    """TPE is sure of a few soon; drawn again, each would count as another trial."""
    once, again = (replay(table, Way("tpe", "none", repeats=repeats), 0, BUDGET) for repeats in (False, True))
    shortest = 5  # epochs of all, on average, with those that diverged early
    assert once.trials * shortest <= once.epochs
    assert again.trials > once.trials


def test_all_that_there_are_end_with_the_best_of_the_seed_that_was_seen(table):
    few = table.part(dropout_rate=["0"], weight_decay=["0"], schedule=["linear"])
    found = replay(few, Way("random", "none"), 0, 10**6)
    assert found.epochs <= few.grid_epochs
    assert found.named[-1] == few.reached[:, few.seeds[0]].argmax()
