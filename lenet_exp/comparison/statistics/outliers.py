"""Finds outliers: runs far below the other runs of their configuration, which indicate that
training occasionally collapses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenet_exp.comparison.statistics.pairs import NO_SPREAD, Floats

FEWEST = 3  # minimum number of runs in a configuration
FAR = 6.0  # minimum distance from the median, in standard deviations

# The median difference between two draws from a normal distribution, in standard deviations.
NORMAL = 0.954


def far_below(configurations: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Find the runs that are far below the median of the other runs of their configuration, and
    return their indices as pairs (configuration, run).

    The distance from the median is measured in standard deviations. The standard deviation is the
    larger of two estimates, each based on the median difference between two runs. The first
    estimate uses all configurations. The second estimate uses only the other runs of the same
    configuration, because configurations can differ in spread.

    If all runs are drawn from normal distributions with the same spread, at most 1% of sweeps have
    an outlier (simulated: `benchmarks/planning.py`).
    """
    if not configurations:
        return []

    values = [np.asarray(runs) for runs in configurations]
    pooled_sd = _deviation(np.concatenate([_differences(runs) for runs in values]))
    outliers = []
    for configuration, runs in enumerate(values):
        if len(runs) < FEWEST:
            continue
        for run, value in enumerate(runs):
            others = np.delete(runs, run)
            if _is_far_below(value, others, pooled_sd):
                outliers.append((configuration, run))
    return outliers


def _is_far_below(value: float, others: Floats, pooled_sd: float) -> bool:
    """Return whether a run is far below the others of its configuration by both estimates of the
    standard deviation; see `far_below`.
    """
    distance = np.median(others) - value
    if not distance > FAR * max(pooled_sd, NO_SPREAD):
        return False
    # The second estimate compares all pairs of runs, so it is computed only for few runs.
    return bool(distance > FAR * _deviation(_differences(others)))


def _differences(runs: Floats) -> Floats:
    """Return the absolute differences between all pairs of runs, with shape (pairs,)."""
    first, second = np.triu_indices(len(runs), 1)
    return np.abs(runs[first] - runs[second])


def _deviation(differences: Floats) -> float:
    """Return the standard deviation of runs with these differences; 0 if there are none."""
    if not differences.size:
        return 0.0
    return float(np.median(differences)) / NORMAL
