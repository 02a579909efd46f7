"""Finds outliers: runs far below the other runs of their configuration, which indicate that
training occasionally collapses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenet_exp.comparison.statistics.multiplicity import Floats

FEWEST = 3  # minimum number of runs in a configuration
FAR = 6.0  # minimum distance from the median, in standard deviations
NORMAL = (
    0.954  # median difference between two draws from a normal distribution, in standard deviations
)


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
    values = [np.asarray(runs) for runs in configurations]
    pooled = _deviation(np.concatenate([_differences(v) for v in values])) if values else 0.0
    outliers = []
    for i, runs in enumerate(values):
        if len(runs) < FEWEST:
            continue
        for run, value in enumerate(runs):
            others = np.delete(runs, run)
            distance = np.median(others) - value
            # The second estimate compares all pairs of runs, so few runs may need it.
            if distance > FAR * max(pooled, 1e-9) and distance > FAR * _deviation(
                _differences(others)
            ):
                outliers.append((i, run))
    return outliers


def _differences(runs: Floats) -> Floats:
    first, second = np.triu_indices(len(runs), 1)
    return np.abs(runs[first] - runs[second])


def _deviation(differences: Floats) -> float:
    return float(np.median(differences)) / NORMAL if differences.size else 0.0
