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
from numpy.typing import NDArray

from lenet_exp.comparison.statistics.pairs import AccuracyTable, Bools, Floats, Pairs

MODERATED_FROM = 4  # minimum number of groups for moderated variances

# The smallest variance if the number of images is unknown. Accuracies are fractions.
LEAST_FLOOR = 1e-18

CERTAINTY = {4: 0.05}  # lower quantile for the prior's variance by number of groups
USUAL_CERTAINTY = 0.10  # the same for five or more groups
LEAST_DF = 0.5  # smallest degrees of freedom of a group's residuals
OUTLYING = 0.01  # level of the F test for a variance that is too large to be typical
NO_VARIATION = 1e-6  # variation of the log variances beyond chance that is treated as none
PASSES = 6  # passes of the fit if runs are missing; without missing runs, one pass is exact

# The median absolute deviation of a normal distribution times this is its standard deviation.
MAD_TO_SD = 1.4826


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

        prior_variance = self.variance[..., None]  # shape (..., 1)
        prior_df = self.df[..., None]
        is_usual = variance <= prior_variance * fdtri(df, prior_df, 1 - OUTLYING)
        shrunken = (prior_df * prior_variance + df * variance) / (prior_df + df)
        return np.maximum(variance, shrunken), df + np.where(is_usual, prior_df, 0.0)


@dataclass(frozen=True)
class ModeratedVariances:
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
            can be moderated, with shape (...).
    """

    own: Floats
    own_df: Floats
    residual: Floats
    residual_df: Floats
    most_df: Floats
    typical: Floats
    spread: Floats
    flat: Bools


def estimate_prior(variance: Floats, df: Floats, *, cautious: bool = True) -> Prior:
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
    # A log variance is biased, because the logarithm of chi2(df) / df is negative on average.
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)  # shape (..., groups)
    median_log = np.median(logs, axis=-1)  # shape (...)

    # The variance of the log variances, as observed, and as it would be by chance alone if all
    # groups had the same true variance.
    deviation = np.median(np.abs(logs - median_log[..., None]), axis=-1)
    observed = (MAD_TO_SD * deviation) ** 2 * k / (k - 1)
    by_chance = polygamma(1, df / 2).mean(axis=-1)
    if cautious:
        certainty = CERTAINTY.get(k, USUAL_CERTAINTY)
        upper_limit = (k - 1) / chdtri(k - 1, 1 - certainty)  # as a multiple of the estimate
        beyond_chance = np.maximum(observed, by_chance) * upper_limit - by_chance
    else:
        beyond_chance = np.maximum(observed - by_chance, NO_VARIATION)

    # The prior's degrees of freedom are those of a chi2(df) / df whose logarithm varies that much.
    half_df = trigamma_inverse(beyond_chance)
    prior_variance = np.exp(median_log + digamma(half_df) - np.log(half_df))
    return Prior(prior_variance, df=2 * half_df, median=np.exp(median_log))


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


def moderate_variances(table: AccuracyTable, images: int | None = None) -> ModeratedVariances:
    """Return the moderated variances of at least two groups with at least two runs each.

    For example, groups A to D have these accuracies in percent, with seeds 0 to 2:

        A  94.7  95.1  95.1  standard deviation 0.23
        B  94.9  94.8  94.9  standard deviation 0.06
        C  94.4  94.4  94.3  standard deviation 0.06
        D  94.0  93.6  93.9  standard deviation 0.21

    These standard deviations differ, so the prior has only 0.32 degrees of freedom. They are added
    to the 2 of each group, so `own_df` is 2.32. A and D are noisy and determine only 3 and 4% of
    the effect of each seed on all groups, B and C 47% each. The effects of the seeds therefore use
    47% of the 2 degrees of freedom of B, so 1.07 remain. The prior of the residuals adds 0.43, so
    `residual_df` is 1.49 for B, and 2.37 for A.

    Args:
        table: accuracies of the groups on a single split.
        images: number of images from which each accuracy was computed, which limits how small a
            variance can be; None if unknown.
    """
    has_run = ~np.isnan(table.values)  # shape (..., groups, seeds)
    values = np.where(has_run, table.values, 0.0)
    n = has_run.sum(axis=-1)  # shape (..., groups)
    mean = values.sum(axis=-1) / n
    deviations = np.where(has_run, values - mean[..., None], 0.0)
    own_df = n - 1.0
    variance = (deviations**2).sum(axis=-1) / own_df

    floor = _smallest_variance(images)
    floored = np.maximum(variance, floor)
    prior = estimate_prior(floored, own_df)
    own, moderated_own_df = prior.moderate(floored, own_df)

    # A noisy group has less weight in the estimated effects of the seeds; no group has more weight
    # than usual.
    run_variance = np.maximum(own, prior.variance[..., None])
    weight = np.where(has_run, 1 / run_variance[..., None], 0.0)  # shape (..., groups, seeds)
    fit = _fit_seed_effects(values, has_run, weight)

    remaining_df = own_df * (1 - fit.used)
    residual_variance = (fit.residuals**2).sum(axis=-1) / np.maximum(remaining_df, 1e-9)
    has_own_seeds = fit.used > 1 - 1e-9  # no other group has any of the group's seeds
    residual_variance = np.where(has_own_seeds, variance, residual_variance)
    residual_variance = np.maximum(residual_variance, floor)
    residual_df = np.where(has_own_seeds, own_df, np.maximum(remaining_df, LEAST_DF))
    residual_prior = estimate_prior(residual_variance, residual_df)
    residual, moderated_residual_df = residual_prior.moderate(residual_variance, residual_df)

    flat_groups = (variance <= floor * (1 + 1e-9)).sum(axis=-1)  # shape (...)
    return ModeratedVariances(
        own=own,
        own_df=moderated_own_df,
        residual=residual,
        residual_df=moderated_residual_df,
        most_df=np.maximum(residual_df.sum(axis=-1), 1.0),
        typical=np.sqrt(prior.median),
        spread=np.sqrt(variance),
        flat=2 * flat_groups >= variance.shape[-1],
    )


def _smallest_variance(images: int | None) -> float:
    """Return the variance of the error from rounding an accuracy to a multiple of 1 / images."""
    if images is None:
        return LEAST_FLOOR
    return max(images**-2 / 12, LEAST_FLOOR)


@dataclass(frozen=True)
class _SeedFit:
    """The fit of a model in which a run's accuracy is the sum of an effect of its group, an effect
    that its seed has on all groups, and a residual.

    Attributes:
        residuals: residuals, with shape (..., groups, seeds); 0 for missing runs.
        used: fraction of each group's degrees of freedom that the effects of the seeds use, with
            shape (..., groups). It is the average fraction of the weight that the group has among
            all groups with the same seed.
    """

    residuals: Floats
    used: Floats


def _fit_seed_effects(values: Floats, has_run: Bools, weight: Floats) -> _SeedFit:
    """Fit the effects of groups and seeds, each in turn while the others are fixed.

    Args:
        values: accuracies, with shape (..., groups, seeds); 0 for missing runs.
        has_run: whether each run is present, with shape (..., groups, seeds).
        weight: weight of each run, with shape (..., groups, seeds); 0 for missing runs.
    """
    n = has_run.sum(axis=-1)  # shape (..., groups)
    total_weight = weight.sum(axis=-2, keepdims=True)  # shape (..., 1, seeds)
    total_weight = np.maximum(total_weight, 1e-300)

    group_effects = values.sum(axis=-1) / n  # shape (..., groups)
    passes = 1 if has_run.all() else PASSES
    for _ in range(passes):
        rest = weight * (values - group_effects[..., None])
        seed_effects = rest.sum(axis=-2, keepdims=True) / total_weight  # shape (..., 1, seeds)
        seed_effects = seed_effects - seed_effects.mean(axis=-1, keepdims=True)
        group_effects = np.where(has_run, values - seed_effects, 0.0).sum(axis=-1) / n

    residuals = np.where(has_run, values - group_effects[..., None] - seed_effects, 0.0)
    used = np.where(has_run, weight / total_weight, 0.0).sum(axis=-1) / n
    return _SeedFit(residuals, used)


def moderate_pairs(
    pairs: Pairs,
    moderated: ModeratedVariances,
    *,
    counts: Floats,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
) -> Pairs:
    """Return the comparisons of pairs of groups with moderated variances (degrees of freedom:
    Satterthwaite 1946).

    Args:
        pairs: the comparisons without moderation, with shape (..., pairs).
        moderated: moderated variances of the groups.
        counts: number of runs of each group, with shape (..., groups).
        first, second: indices of the groups in each pair, with shape (pairs,).
    """
    from scipy.special import stdtr

    first_variance, first_df = _variance_of_mean(pairs, moderated, counts, first)
    second_variance, second_df = _variance_of_mean(pairs, moderated, counts, second)
    variance = first_variance + second_variance
    df = variance**2 / (first_variance**2 / first_df + second_variance**2 / second_df)
    df = np.clip(df, 1.0, moderated.most_df[..., None])

    error = np.sqrt(variance)
    p = 2 * stdtr(df, -np.abs(pairs.points) / error)
    return replace(pairs, error=error, spread=error * np.sqrt(pairs.n), df=df, p=p)


def _variance_of_mean(
    pairs: Pairs, moderated: ModeratedVariances, counts: Floats, group: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Return the moderated variance of the mean of one group of each pair, and its degrees of
    freedom. Both have the shape (..., pairs).

    Args:
        pairs, moderated, counts: see `moderate_pairs`.
        group: index of the group in each pair, with shape (pairs,).
    """
    variance = np.where(pairs.paired, moderated.residual[..., group], moderated.own[..., group])
    df = np.where(pairs.paired, moderated.residual_df[..., group], moderated.own_df[..., group])
    n = np.where(pairs.paired, pairs.n, counts[..., group])
    return variance / n, df
