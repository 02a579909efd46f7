"""Differences of all pairs agree with scipy and with the variances of known designs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenet_exp.comparison.pairs import AccuracyTable, means, pairs

ACCURACY = st.floats(0.1, 1.0).map(lambda x: round(x, 4))
SEEDED = st.dictionaries(st.tuples(st.integers(0, 9), st.just(0)), ACCURACY, min_size=2, max_size=8)


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy warns about nearly equal values
@given(st.lists(SEEDED, min_size=2, max_size=4))
def test_each_pair_agrees_with_scipy(groups):
    found = pairs(AccuracyTable.of(groups))
    for i, (a, b) in enumerate(itertools.combinations(groups, 2)):
        common = sorted(a.keys() & b.keys())
        paired = len(common) >= 2 and 2 * len(common) >= min(len(a), len(b))
        assert found.paired[i] == paired
        if paired:
            off = np.subtract([a[s] for s in common], [b[s] for s in common])
            judged = np.std(off) > 1e-9
            expected = stats.ttest_rel([a[s] for s in common], [b[s] for s in common]) if judged else None
            assert found.points[i] == pytest.approx(off.mean(), abs=1e-12)
            assert found.n[i] == len(common)
        else:
            x, y = list(a.values()), list(b.values())
            assert found.points[i] == pytest.approx(np.mean(x) - np.mean(y), abs=1e-12)
            if np.std(x) < 1e-9 and np.std(y) < 1e-9:
                expected = None
            elif min(len(a), len(b)) >= 5:
                expected = stats.ttest_ind(x, y, equal_var=False)
            else:
                t = stats.ttest_ind(x, y, equal_var=False).statistic
                expected = stats.t.sf(abs(t), min(len(a), len(b)) - 1) * 2
        if expected is None:
            assert np.isnan(found.p[i])
        else:
            assert found.p[i] == pytest.approx(getattr(expected, "pvalue", expected), rel=1e-6, abs=1e-12)


def test_runs_that_share_a_split_are_not_independent():
    """15 runs of 5 seeds and 3 splits that differ only by split count as three draws."""
    effect = {0: 0.01, 1: -0.004, 2: 0.003}
    values = {(seed, split): 0.9 + effect[split] for seed in range(5) for split in range(3)}
    draws = AccuracyTable.of([values])
    found = means(draws.values, draws)
    assert (found.n[0], found.df[0]) == (15, 2)
    assert found.variance[0] == pytest.approx(np.var(list(effect.values()), ddof=1) / 3)
    by_seed = {(seed, split): 0.9 + [0.01, -0.004, 0.003, 0.02, 0][seed] for seed in range(5) for split in range(3)}
    draws = AccuracyTable.of([by_seed])
    found = means(draws.values, draws)
    assert found.variance[0] == pytest.approx(np.var([0.01, -0.004, 0.003, 0.02, 0], ddof=1) / 5)


@pytest.mark.parametrize(("seeds", "splits", "sizes"), [(3, 3, (1.0, 1.0, 1.0)), (10, 3, (0.3, 1.0, 0.0))])
def test_crossed_design_keeps_the_error_rate(seeds, splits, sizes):
    """The simulated groups do not differ; the seed, the split, and their combination have effects."""
    rng, sweeps = np.random.default_rng(2), 4000
    shapes = [(sweeps, 1, seeds, 1), (sweeps, 1, 1, splits), (sweeps, 1, seeds, splits)]
    x = np.broadcast_to(
        sum(size * rng.normal(size=shape) for size, shape in zip(sizes, shapes, strict=True)), shapes[2]
    )
    seed, split = np.divmod(np.arange(seeds * splits), splits)
    found = means(x.reshape(sweeps, 1, -1), AccuracyTable(x, seed, split))
    p = 2 * stats.t.sf(np.abs(found.mean) / np.sqrt(found.variance), found.df)
    assert np.mean(p <= 0.05) < 0.055
    independent = stats.ttest_1samp(x.reshape(sweeps, -1), 0, axis=1).pvalue
    assert np.mean(independent <= 0.05) > 0.15  # the error rate if the runs counted as independent
