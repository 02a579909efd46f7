"""Moderates the variances of groups over seeds: each variance is shrunk toward a common value, to
the extent that the groups agree (Smyth 2004, Linear models and empirical Bayes methods for
assessing differential expression in microarray experiments).

With three seeds, a variance has only two degrees of freedom, so a test that uses only the two
groups of a pair rarely finds anything. The other groups show how large a variance usually is. All
arrays can have additional leading axes for several sweeps, which `benchmarks/verdicts.py` needs for
simulations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lenet_exp.comparison.pairs import AccuracyTable, Floats, Pairs

MODERATED_FROM = 4  # minimum number of groups for moderated variances
LEAST_FLOOR = (
    1e-18  # smallest variance if the number of images is unknown; accuracies are fractions
)
CERTAINTY = {4: 0.05}  # lower quantile for the prior's variance by number of groups
USUAL_CERTAINTY = 0.10  # the same for five or more groups
LEAST_DF = 0.5  # smallest degrees of freedom of a group's residuals
OUTLYING = 0.01  # level of the F test for a variance that is too large to be typical
NO_VARIATION = 1e-6  # variation of the log variances beyond chance that is treated as none
PASSES = 6  # passes of the fit if runs are missing; without missing runs, one pass is exact


@dataclass(frozen=True)
class Prior:
    """The value toward which variances are shrunk. Each array has the shape (...).

    Attributes:
        variance: variance toward which the others are shrunk.
        df: its degrees of freedom; small if the variances of the groups differ by more than chance.
        median: median variance of the groups, corrected for bias.
    """

    variance: Floats
    df: Floats
    median: Floats

    def moderate(self, variance: Floats, df: Floats) -> tuple[Floats, Floats]:
        """Return the shrunken variances and their degrees of freedom, with shape (..., groups).

        They are never smaller than the own variances. A group that is too noisy to be typical, by
        an F test, keeps its own degrees of freedom (compare Phipson et al. 2016, Robust
        hyperparameter estimation protects against hypervariable genes).
        """
        from scipy.special import fdtri

        typical, prior_df = self.variance[..., None], self.df[..., None]
        usual = variance <= typical * fdtri(df, prior_df, 1 - OUTLYING)
        shrunken = (prior_df * typical + df * variance) / (prior_df + df)
        return np.maximum(variance, shrunken), df + np.where(usual, prior_df, 0.0)


@dataclass(frozen=True)
class Moderated:
    """Moderated variances of groups. Each array has the shape (..., groups), `typical` (...).

    Attributes:
        own: moderated variance over seeds, for pairs without common seeds.
        own_df: degrees of freedom of `own`.
        residual: moderated variance without the effect that each seed has on all groups, for pairs
            with common seeds.
        residual_df: degrees of freedom of `residual`.
        most_df: largest number of degrees of freedom of a test, with shape (...).
        typical: median standard deviation over seeds.
        spread: own standard deviation of each group over seeds, not moderated.
        flat: whether at least half of the groups have no variance beyond rounding, so that nothing
            can be moderated.
    """

    own: Floats
    own_df: Floats
    residual: Floats
    residual_df: Floats
    most_df: Floats
    typical: Floats
    spread: Floats
    flat: np.ndarray


def prior_of(variance: Floats, df: Floats, *, cautious: bool = True) -> Prior:
    """Estimate the typical variance from the median and the median absolute deviation of the log
    variances.

    A few noisy groups do not change these statistics.

    Args:
        variance: variances of at least two groups, all positive, with shape (..., groups).
        df: degrees of freedom of the variances, with shape (..., groups).
        cautious: whether the variation beyond chance is an upper confidence limit, for tests. An
            underestimate would declare groups different that are not.
    """
    from scipy.special import chdtri, digamma, polygamma

    k = variance.shape[-1]
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    chance = polygamma(1, df / 2).mean(axis=-1)
    middle = np.median(logs, axis=-1)
    seen = (1.4826 * np.median(np.abs(logs - middle[..., None]), axis=-1)) ** 2 * k / (k - 1)
    limit = (k - 1) / chdtri(k - 1, 1 - CERTAINTY.get(k, USUAL_CERTAINTY))
    beyond = (
        np.maximum(seen, chance) * limit - chance
        if cautious
        else np.maximum(seen - chance, NO_VARIATION)
    )
    half = trigamma_inverse(beyond)
    return Prior(np.exp(middle + digamma(half) - np.log(half)), 2 * half, np.exp(middle))


def trigamma_inverse(x: Floats) -> Floats:
    """Return y with trigamma(y) = x > 0, by Newton's method (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = polygamma(1, y)
        step = trigamma * (1 - trigamma / x) / polygamma(2, y)
        y = y + step
        if np.max(np.abs(step / y)) < 1e-10:
            break
    return y


def moderated(table: AccuracyTable, images: int | None = None) -> Moderated:
    """Return the moderated variances of at least two groups with at least two runs each.

    Args:
        table: accuracies of the groups on a single split.
        images: number of images from which each accuracy was computed, which limits how small a
            variance can be; None if unknown.
    """
    known = ~np.isnan(table.values)
    values, n = np.where(known, table.values, 0.0), known.sum(axis=-1)
    floor = LEAST_FLOOR if images is None else max(images**-2 / 12, LEAST_FLOOR)
    mean, own_df = values.sum(axis=-1) / n, n - 1.0
    raw = np.where(known, values - mean[..., None], 0.0)
    variance = (raw**2).sum(axis=-1) / own_df
    own = np.maximum(variance, floor)
    prior = prior_of(own, own_df)
    shrunken, shrunken_df = prior.moderate(own, own_df)
    # A noisy group has less weight in the estimated effects of the seeds; no group has more weight
    # than usual.
    weight = np.where(known, 1 / np.maximum(shrunken, prior.variance[..., None])[..., None], 0.0)
    total = np.maximum(weight.sum(axis=-2, keepdims=True), 1e-300)
    fitted = mean
    for _ in range(1 if known.all() else PASSES):
        seed = (weight * (values - fitted[..., None])).sum(axis=-2, keepdims=True) / total
        seed = seed - seed.mean(axis=-1, keepdims=True)
        fitted = np.where(known, values - seed, 0.0).sum(axis=-1) / n
    used = np.where(known, weight / total, 0.0).sum(axis=-1) / n
    rest = np.where(known, values - fitted[..., None] - seed, 0.0)
    alone = used > 1 - 1e-9  # no other group has any of its seeds
    residual_df = np.where(alone, own_df, np.maximum(own_df * (1 - used), LEAST_DF))
    residual = np.where(
        alone, variance, (rest**2).sum(axis=-1) / np.maximum(own_df * (1 - used), 1e-9)
    )
    residual = np.maximum(residual, floor)
    rest, rest_df = prior_of(residual, residual_df).moderate(residual, residual_df)
    return Moderated(
        own=shrunken,
        own_df=shrunken_df,
        residual=rest,
        residual_df=rest_df,
        most_df=np.maximum(residual_df.sum(axis=-1), 1.0),
        typical=np.sqrt(prior.median),
        spread=np.sqrt(variance),
        flat=2 * (variance <= floor * (1 + 1e-9)).sum(axis=-1) >= variance.shape[-1],
    )


def moderated_pairs(
    found: Pairs, by: Moderated, counts: Floats, first: np.ndarray, second: np.ndarray
) -> Pairs:
    """Return the comparisons of pairs of groups with moderated variances (degrees of freedom:
    Satterthwaite 1946).

    Args:
        found: the comparisons without moderation, with shape (..., pairs).
        by: moderated variances of the groups.
        counts: number of runs of each group, with shape (..., groups).
        first, second: indices of the groups in each pair, with shape (pairs,).
    """
    from scipy.special import stdtr

    def of(part: np.ndarray, own: Floats, residual: Floats) -> Floats:
        return np.where(found.paired, residual[..., part], own[..., part])

    share = [np.where(found.paired, found.n, counts[..., part]) for part in (first, second)]
    one, other = (
        of(part, by.own, by.residual) / n for part, n in zip((first, second), share, strict=True)
    )
    one_df, other_df = (of(part, by.own_df, by.residual_df) for part in (first, second))
    df = (one + other) ** 2 / (one**2 / one_df + other**2 / other_df)
    df = np.clip(df, 1.0, by.most_df[..., None])
    error = np.sqrt(one + other)
    p = 2 * stdtr(df, -np.abs(found.points) / error)
    return replace(found, error=error, spread=error * np.sqrt(found.n), df=df, p=p)
