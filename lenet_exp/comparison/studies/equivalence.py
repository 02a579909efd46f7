"""Tests whether configurations are equivalent to the leader, that is, whether they differ by less than a margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenet_exp.comparison.multiplicity import LEVEL, Floats, holm_adjusted
from lenet_exp.comparison.power import Power, shrunk
from lenet_exp.comparison.statistics import Difference


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """The result of testing whether a configuration is equivalent to the leader.

    Attributes:
        p: p-value, corrected for the number of comparisons by Holm's method.
    """

    p: float

    @property
    def shown(self) -> bool:
        """Whether the true difference from the leader is significantly less than the margin in both directions."""
        return self.p <= LEVEL


def equivalences(
    leads: Sequence[Difference | None], margin: float | None, comparisons: int
) -> list[Equivalence | None]:
    """Test each difference from the leader; see `equivalence_p`.

    Args:
        leads: differences between the leader and each group; None for groups that are not compared.
        margin: the margin, as a fraction; None for no tests.
        comparisons: number of comparisons that could be made.

    Returns:
        A result for each group; None if there is no test.
    """
    known = [(i, lead) for i, lead in enumerate(leads) if lead is not None and lead.test != "none"]
    found: list[Equivalence | None] = [None] * len(leads)
    if margin is not None and known:
        points, error, df = np.array([(lead.points, lead.error, lead.df) for _, lead in known]).T
        for (i, _), p in zip(
            known, equivalence_p(points, error, df, margin, comparisons=comparisons).tolist(), strict=True
        ):
            found[i] = Equivalence(p=p)
    return found


def equivalence_p(points: Floats, error: Floats, df: Floats, margin: float, comparisons: int) -> Floats:
    """Return the p-values of the leader's equivalence with other groups, from two one-sided t tests per group
    (Schuirmann 1987, A comparison of the two one-sided tests procedure and the power approach).

    The larger of a group's two p-values counts, corrected by Holm's method. If the leader was selected by the same
    accuracies, any two groups could have become the leader and its rival, so `comparisons` must be the number of all
    pairs. In at most 5% of comparisons, a true difference of at least the margin is then declared to be less.

    Args:
        points, error, df: differences, their standard errors and degrees of freedom, with shape (..., groups - 1).
        margin: the margin, in the unit of `points`.
        comparisons: number of comparisons that could be made.
    """
    from scipy.special import stdtr

    return holm_adjusted(stdtr(df, (np.abs(points) - margin) / error), comparisons)


def seeds_for_equivalence(
    leads: Sequence[Difference | None], found: Sequence[Equivalence | None], margin: float, comparisons: int
) -> int | None:
    """Return the number of seeds that shows each equivalence that was not shown, with a power of 80% if accuracies are
    equal.

    Configurations that are significantly worse, or that already have this number of seeds, are ignored; None if no
    other remains. Spreads are shrunk toward a common value, to the extent that they agree.
    """
    tested = [(lead, its.shown) for lead, its in zip(leads, found, strict=True) if lead is not None and its is not None]
    if not tested:
        return None
    spreads = shrunk([(lead.spread**2, lead.df) for lead, _ in tested], in_common=0.25)
    level = LEVEL / max(comparisons - sum(shown for _, shown in tested), 1)
    needed = [
        (lead.n, Power([variance**0.5], [df], [level], equivalence=True).seeds(margin))
        for (variance, df), (lead, shown) in zip(spreads, tested, strict=False)
        if not shown and not lead.differs
    ]
    return max((seeds for n, seeds in needed if seeds > n), default=None)
