"""The points at which a search is checked before it starts: the corners of the search space, and a
few random points."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial

from lenet_exp.config.space import Choice, Flag, FloatRange
from lenet_exp.searches.trials import Choose

MOST_CORNERS = 32  # maximum number of pairs of corners
RANDOM_POINTS = 8  # number of random points in addition to the corners


def points_to_check(flags: Sequence[Flag]) -> Iterator[Choose]:
    """Yield a function for each point, which returns the value of a flag at that point.

    Each option of every choice occurs in a pair of corners: one with all numbers at their low ends,
    and one with all numbers at their high ends. For example, `activation=relu,selu` and
    `optimizer.lr=interval(0.01,1)` have the corners (relu, 0.01), (relu, 1), (selu, 0.01), and
    (selu, 1).
    """
    option_counts = [len(flag.values.options) for flag in flags if isinstance(flag.values, Choice)]
    most_options = max(option_counts, default=1)
    for option in range(min(most_options, MOST_CORNERS)):
        yield partial(corner_value, option=option, end=0)
        yield partial(corner_value, option=option, end=-1)

    generator = random.Random(0)
    for _ in range(RANDOM_POINTS):
        yield partial(_random_value, generator)


def corner_value(flag: Flag, *, option: int = 0, end: int = 0) -> object:
    """Return the value of a flag at a corner.

    Args:
        option: index of the option of a choice. Choices with fewer options start over.
        end: 0 for the low end of a range, and -1 for the high end.
    """
    if isinstance(flag.values, Choice):
        return flag.ends[option % len(flag.ends)]
    return flag.ends[end]


def _random_value(generator: random.Random, flag: Flag) -> object:
    values = flag.values
    if isinstance(values, Choice):
        return generator.choice(values.options)

    low = values.low
    high = values.high
    if isinstance(values, FloatRange) and values.step is None:
        share = generator.random()  # drawn for linear ranges too, so that all points stay the same
        if values.log:
            return low * (high / low) ** share
        return generator.uniform(low, high)

    step = values.step or 1
    return low + step * generator.randint(0, round((high - low) / step))
