"""Searches replayed on part of a table of real curves; `python -m benchmarks.search` uses the whole
table.
"""

from __future__ import annotations

import math

import pytest

from benchmarks.search import search_all
from benchmarks.search_replay import Table, Way, load, quick_copies, replay

BUDGET = 260  # epochs, a fifth of this part's grid
REPETITIONS = 3
TRIALS = 15


@pytest.fixture(scope="module")
def table() -> Table:
    """Return a part of the table with 144 configurations."""
    return load().part(activation=["relu", "tanh"], optimizer=["sgd", "adam"])


def test_pruning_tries_more_configurations_for_the_same_epochs(table):
    share_of_grid = BUDGET / table.grid_epochs

    pruned = search_all(table, Way("random", "asha"), REPETITIONS, share_of_grid)
    whole = search_all(table, Way("random", "none"), REPETITIONS, share_of_grid)

    most_epochs_in_flight = Way().workers * table.num_epoch
    for search in (*pruned.searches, *whole.searches):
        assert BUDGET <= search.epochs < BUDGET + most_epochs_in_flight
    assert whole.mean("pruned") == 0
    assert pruned.mean("pruned") > 0
    assert pruned.mean("trials") > whole.mean("trials")


@pytest.mark.parametrize("num_epoch", [5, 9, 20])
def test_at_least_a_third_of_small_search_finishes(table, num_epoch):
    curves = table.of_epochs(num_epoch)
    assert curves.num_epoch == num_epoch
    assert table.of_epochs(9).accuracy.tolist() == table.accuracy.tolist()

    smallest_shares = {}
    for pruner in ("asha", "none"):
        way = Way("tpe", pruner)
        with quick_copies():
            searches = [replay(curves, way, n, math.inf, TRIALS) for n in range(REPETITIONS)]
        finished = []
        for search in searches:
            assert search.trials == TRIALS
            finished.append(search.trials - search.pruned - search.diverged)
        smallest_shares[pruner] = min(finished) / TRIALS

    assert 1 / 3 <= smallest_shares["asha"] < smallest_shares["none"]
