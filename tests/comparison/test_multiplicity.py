"""Step-down methods agree with their definitions."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenet_exp.comparison.multiplicity import LEVEL, holm_levels, shaffer_levels, step_down


def partitions(groups: int):
    """Yield the sizes of the classes for each way in which groups can be equal."""
    for sizes in itertools.product(range(groups + 1), repeat=groups):
        if sum(sizes) == groups and list(sizes) == sorted(sizes, reverse=True):
            yield sizes


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_shaffer_levels_follow_from_possible_equalities(groups):
    pairs = comb(groups, 2)
    possible = {sum(comb(size, 2) for size in sizes) for sizes in partitions(groups)}
    at_most = [max(1, max(n for n in possible if n <= pairs - rejected)) for rejected in range(pairs)]
    assert list(shaffer_levels(groups)) == pytest.approx([LEVEL / n for n in at_most])


@given(st.lists(st.floats(0, 0.2) | st.just(float("nan")), min_size=1, max_size=6))
def test_p_is_significant_only_if_all_smaller_p_are_significant(p):
    small, stopped = step_down(np.array(p), holm_levels(len(p)))
    order = sorted(range(len(p)), key=lambda i: (np.isnan(p[i]), p[i]))
    expected, going = [False] * len(p), True
    for rank, i in enumerate(order):
        going = going and p[i] <= LEVEL / (len(p) - rank)
        expected[i] = going
    assert list(small) == expected
    passed = sum(expected)
    assert stopped == pytest.approx(LEVEL / max(len(p) - passed, 1))
