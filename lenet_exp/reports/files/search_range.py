"""What the axes of a search's pictures hold: nearly all that it tried, pruned runs too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.comparison.searched import Searched
from lenet_exp.folders.records import Outcome

LEAST_RANGE = 0.01  # of an axis of accuracies
OUTLYING = 6  # times as far from the best as the middle, as what learned nothing is
LEFT_OUT = 0.1  # of the values, at most, but for outliers
ROOM = 1.25  # times the range of the others
FEW_EPOCHS = 5  # of curves that are shown from their first epoch on
SQUEEZED = 2  # times the range that it would have without


def trials_range(searched: Searched) -> tuple[float, float]:
    """Of the values of trials, at least one of which is known; the page's scales.js has the same."""
    known = [(t.so_far, t.outcome) for t in searched.trials if math.isfinite(t.so_far)]
    known += [(t.value, t.outcome) for t in searched.trials if t.finished > 1]  # lower than its best run
    well = [value for value, outcome in known if outcome is not Outcome.diverged]
    return nearly_all(well or [value for value, _ in known], more=searched.is_accuracy)


def curves_range(searched: Searched) -> tuple[float, float]:
    """Of nearly all ends of curves, and of few epochs the best one's first: a pruned run that was ahead of it stands in
    the picture; the page's search.js has the same."""
    curves = [(run, [v for v in run.curve if math.isfinite(v)]) for run in searched.runs]
    ends = [(run, curve[-1]) for run, curve in curves if curve]
    well = [end for run, end in ends if run.outcome is not Outcome.diverged]
    low, high = nearly_all(well or [end for _, end in ends], more=not searched.is_loss)
    best = searched.best
    its = searched.runs_of(best) if best is not None else []
    first = [run.curve[0] for run in its if 0 < len(run.curve) <= FEW_EPOCHS and math.isfinite(run.curve[0])]
    wide = min([low, *first]), max([high, *first])
    return wide if wide[1] - wide[0] <= SQUEEZED * (high - low) else (low, high)


def nearly_all(values: Sequence[float], more: bool) -> tuple[float, float]:
    """Nine in ten of all values, and what a little more room holds; but for outliers, which do not flatten the others.

    Args:
        values: one or more, all finite.
        more: whether more is better.
    """
    sign = 1 if more else -1
    heights = sorted(sign * v for v in values)
    best = heights[-1]
    reach = max(best - heights[(len(heights) - 1) // 2], LEAST_RANGE / OUTLYING)
    near = [height for height in heights if height >= best - OUTLYING * reach]
    most = max(near[0], heights[int(LEFT_OUT * len(heights))])
    worst = next(height for height in near if height >= best - max(ROOM * (best - most), LEAST_RANGE))
    ends = sign * best, sign * worst
    return min(ends), max(ends)
