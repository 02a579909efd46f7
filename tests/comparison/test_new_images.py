"""Whether a lead holds on new seeds and new images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.images import image_variances, with_new_images
from lenet_exp.comparison.statistics.pairs import AccuracyTable, compare_all_pairs
from lenet_exp.comparison.studies.new_images import Basis
from lenet_exp.folders.records import TestResult
from lenet_exp.reports.words.scope import scope
from lenet_exp.training.score import packed, unpacked
from tests.comparison.made_up import made
from tests.tools.records import a_record

IMAGES = 2000


def difficulties(rng: np.random.Generator, own: float) -> np.ndarray:
    """Return the difficulty of each image for each of two configurations, shape (2, images).

    `own` is the standard deviation of the part in which the configurations differ.
    """
    in_common = 2 * rng.normal(size=IMAGES)
    return in_common + own * rng.normal(size=(2, IMAGES))


def classified(
    levels: Sequence[float], hard: np.ndarray, rng: np.random.Generator, n: int = 5
) -> np.ndarray:
    """Return which images the n runs of each configuration classify correctly, shape
    (configurations, n, images).

    Args:
        levels: how good each configuration is, shape (configurations,).
        hard: difficulty of each image for each configuration, shape (configurations, images).
    """
    noise_of_run = 0.02 * rng.normal(size=(len(levels), n, 1))
    noise_of_image = rng.normal(size=(len(levels), n, IMAGES))
    level = np.array(levels)[:, None, None]
    return level + hard[:, None] + noise_of_run + noise_of_image > 0


def runs_of(right: np.ndarray, digest: str = "d", **flags: str) -> list[ComparedRun]:
    """Return runs of the activations selu, relu, ... that kept which images are right after the
    last epoch.

    Args:
        right: which images are right, shape (configurations, seeds, images).
        digest: digest of the validation images.
    """
    runs = []
    for activation, right_by_seed in zip(("selu", "relu", "tanh"), right, strict=False):
        for seed, images in enumerate(right_by_seed):
            run = made(seed, float(images.mean()), activation=activation, **flags)
            record = a_record(
                data_digests={"validation": digest}, last_right=packed(torch.tensor(images))
            )
            runs.append(replace(run, provenance=record))
    return runs


def compared(runs: Sequence[ComparedRun], **more: object) -> Comparison:
    (comparison,) = compare_runs(runs, ["activation", "seed"], **more)
    return comparison


@pytest.fixture
def clear() -> np.ndarray:
    """Return results of configurations of which the first is better on images in general."""
    rng = np.random.default_rng(0)
    return classified([2.6, 1.8], difficulties(rng, 0.3), rng)


@pytest.fixture
def lucky() -> np.ndarray:
    """Return results of equal configurations, of which the first happens to be better on these
    images.
    """
    rng = np.random.default_rng(1)
    lead = 0.0
    while not 0.014 < lead < 0.02:
        hard = difficulties(rng, 2.0)
        lead = (hard[0] > -2).mean() - (hard[1] > -2).mean()
    return classified([2.0, 2.0], hard, rng)


@pytest.mark.parametrize("text", ["99999999999:AAAA", "8", "x:AAAA", "-1:AAAA", "-3:", "0:", ""])
def test_record_with_a_wrong_number_of_bits_is_refused(text):
    with pytest.raises(ValueError, match=r"bit|int"):
        a_record(last_right=text)


def test_variance_of_images_is_that_of_a_two_way_table(clear):
    selu = {(seed, 0): images for seed, images in enumerate(clear[0])}
    relu = {(seed, 0): images for seed, images in enumerate(clear[1])}
    (variance,) = image_variances([selu, relu], leading=True)

    table = clear[0].astype(float) - clear[1]  # shape (seeds, images)
    mean_of_image = table.mean(axis=0)
    mean_of_seed = table.mean(axis=1, keepdims=True)
    residual = table - mean_of_image - mean_of_seed + table.mean()
    interaction = (residual**2).sum() / (4 * (IMAGES - 1))
    by_image = 5 * mean_of_image.var(ddof=1)
    assert variance == pytest.approx((by_image - interaction) / 5 / IMAGES)

    with_another_seed = {(9, 0): clear[1, 0]}
    assert np.isnan(image_variances([selu, with_another_seed], leading=False)).all()


def test_critical_value_is_mean_of_quantiles_weighted_by_variance(clear):
    table = AccuracyTable(clear.mean(axis=-1), np.arange(5), np.zeros(5, dtype=np.int64))
    seeds = compare_all_pairs(table)
    assert with_new_images(seeds, np.zeros(1), IMAGES).p == pytest.approx(seeds.p)

    with_images = with_new_images(seeds, 2 * seeds.error**2, IMAGES)

    quantile_of_seeds = stats.t.isf(with_images.p / 2, 4)
    quantile_of_images = stats.t.isf(with_images.p / 2, IMAGES - 1)
    critical = (quantile_of_seeds + 2 * quantile_of_images) / 3
    assert critical == pytest.approx(np.abs(seeds.points) / with_images.error, rel=1e-6)


def test_lead_in_general_holds_on_new_images(clear):
    on_new_images = compared(runs_of(clear)).new_images
    assert on_new_images.basis is Basis.last
    assert on_new_images.images == IMAGES
    assert [group.value("activation") for group in on_new_images.behind] == ["relu"]


def test_lead_on_these_images_alone_does_not_hold_on_new_images(lucky):
    comparison = compared(runs_of(lucky))
    assert comparison.leads[1].ahead
    assert comparison.new_images.behind == []
    assert "not shown on new images" in scope(comparison, comparison.groups[1:])


def test_test_images_are_preferred_if_all_runs_have_results(clear, lucky):
    runs = runs_of(clear)
    all_tested = compared(with_test_results(runs, lucky)).new_images
    assert all_tested.basis is Basis.test
    assert all_tested.behind == []
    assert compared(with_test_results(runs, lucky[:1])).new_images.basis is Basis.last

    runs = runs_of(clear, training__select="last")
    assert compared(with_test_results(runs, lucky)).new_images.basis is Basis.last
    without_validation = [without_last_right(run) for run in runs]
    assert compared(with_test_results(without_validation, lucky)).new_images.basis is Basis.test


def with_test_results(runs: Sequence[ComparedRun], right: np.ndarray) -> list[ComparedRun]:
    """Return the runs with test results, in order, for as many runs as `right` has.

    `right` tells which test images are right, with shape (configurations, seeds, images).
    """
    images_of_runs = right.reshape(-1, IMAGES)
    num_tested = len(images_of_runs)
    with_results = []
    for run, images in zip(runs[:num_tested], images_of_runs, strict=True):
        with_results.append(with_test_result(run, images))
    return [*with_results, *runs[num_tested:]]


def with_test_result(run: ComparedRun, images: np.ndarray) -> ComparedRun:
    text = packed(torch.tensor(images))
    result = TestResult(float(unpacked(text).mean()), "t", None, text)
    return replace(run, test_result=lambda: result)


def without_last_right(run: ComparedRun) -> ComparedRun:
    return replace(run, provenance=replace(run.provenance, last_right=None))


def test_confirmation_tests_only_the_chosen_leader(clear):
    rng = np.random.default_rng(3)
    tanh = classified([2.0], difficulties(rng, 0.3)[:1], rng)
    runs = runs_of(np.concatenate([clear, tanh]))
    design = Design(15, confirms="ab12", points=0.01, leader=runs[0].id)

    comparison = compared(runs, design=design)

    behind = {group.value("activation") for group in comparison.new_images.behind}
    assert behind == {"relu", "tanh"}


def of_other_images(images: int, digest: str) -> list[ComparedRun]:
    """Return runs of the second configuration on other validation images."""
    return runs_of(np.ones((2, 5, images), bool), digest)[5:]


def with_one_image(run: ComparedRun) -> ComparedRun:
    return replace(run, provenance=replace(run.provenance, last_right="1:gA=="))


def with_macro_f1(run: ComparedRun) -> ComparedRun:
    metric = replace(run.metric, name="macro_f1")
    return replace(run, flags=run.flags | {"metric": "macro_f1"}, metric=metric)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda runs: [replace(run, provenance=None) for run in runs], Basis.unknown),
        (lambda runs: [*runs[:-1], replace(runs[-1], provenance=a_record())], Basis.unknown),
        (lambda runs: [*runs[:5], *of_other_images(IMAGES, "other")], Basis.different),
        (lambda runs: [*runs[:5], *of_other_images(IMAGES // 2, "d")], Basis.different),
        (lambda runs: [with_one_image(run) for run in runs], Basis.different),
        (lambda runs: [with_macro_f1(run) for run in runs], Basis.metric),
    ],
)
def test_new_images_are_not_tested_without_accuracies_on_the_same_images(clear, change, why):
    comparison = compared(change(runs_of(clear)))
    assert comparison.new_images.basis is why
    assert comparison.new_images.behind == []
    assert scope(comparison, comparison.groups[1:]) == "on new seeds with these validation images"


def test_swept_splits_are_not_tested_on_new_images(clear):
    runs = []
    for run in runs_of(clear):
        split_seed = str(run.seed % 2)
        runs.append(replace(run, flags=run.flags | {"split_seed": split_seed}))
    (comparison,) = compare_runs(runs, ["activation", "seed", "split_seed"])
    assert comparison.new_images.basis is Basis.splits


def test_configurations_with_other_seeds_are_not_tested_on_new_images(clear):
    runs = runs_of(clear)
    with_other_seeds = [replace(run, seed=run.seed + 5) for run in runs[5:]]
    comparison = compared([*runs[:5], *with_other_seeds])
    assert comparison.leads[1].ahead
    assert comparison.new_images.basis is Basis.seeds
