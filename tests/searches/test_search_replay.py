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


@pytest.fixture(scope="module")
def table() -> Table:
    """Return a part of the table with 144 configurations."""
    return load().part(activation=["relu", "tanh"], optimizer=["sgd", "adam"])


def test_pruning_tries_more_configurations_for_the_same_epochs(table):
    pruned, whole = (
        search_all(table, Way("random", p), REPETITIONS, BUDGET / table.grid_epochs)
        for p in ("asha", "none")
    )
    for found in (*pruned.searches, *whole.searches):
        assert BUDGET <= found.epochs < BUDGET + Way().workers * table.num_epoch
    assert whole.mean("pruned") == 0
    assert pruned.mean("pruned") > 0
    assert pruned.mean("trials") > whole.mean("trials")


@pytest.mark.parametrize("num_epoch", [5, 9, 20])
def test_at_least_a_third_of_small_search_finishes(table, num_epoch):

    curves, shares = table.of_epochs(num_epoch), {}
    assert (curves.num_epoch, table.of_epochs(9).accuracy.tolist()) == (
        num_epoch,
        table.accuracy.tolist(),
    )
    for pruner in ("asha", "none"):
        with quick_copies():
            found = [
                replay(curves, Way("tpe", pruner), n, math.inf, 15) for n in range(REPETITIONS)
            ]
        assert {search.trials for search in found} == {15}
        shares[pruner] = min(
            (search.trials - search.pruned - search.diverged) / 15 for search in found
        )
    assert 1 / 3 <= shares["asha"] < shares["none"]
