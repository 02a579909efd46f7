"""Lists configurations in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import first_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group

# The maximum number of characters in a name, because a list of longer names is hard to read.
LONGEST_NAME = 30

# The maximum number of configurations named in a sentence; the remaining ones are counted.
NAMED = 3


def names(comparison: Comparison, groups: Sequence[Group]) -> str:
    """List configurations by name, or by rank if the names are long.

    For example: `tanh, elu, relu, and 4 more`, or `#2, #3, #5, and 4 more`.
    """
    listed = [comparison.name(group) for group in groups]
    longest = max(map(len, listed[:NAMED]), default=0)
    if longest > LONGEST_NAME:
        listed = [f"#{1 + comparison.groups.index(group)}" for group in groups]
    return first_of(listed, NAMED)
