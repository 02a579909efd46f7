"""Finds the configurations that are behind the leader not only on the images that were used, but
also on new images.

The best epoch was chosen by the validation images, and no test on the same images can make up for
that. The claim is therefore about the last epoch, or about test images. It is about new seeds of
the same procedure with the same training images, and about new images of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.differences import behind_on_new_images
from lenet_exp.comparison.statistics.images import Right
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.folders.records import Record
from lenet_exp.training.score import unpacked


class Basis(StrEnum):
    """The results that show whether a lead holds on new images, or the reason why no results can
    show it.
    """

    last = "last"  # validation images after the last epoch
    test = "test"  # test images
    metric = "metric"  # the metric is not accuracy
    splits = "splits"  # split_seed was swept
    different = "different"  # the validation images differ, or there is only one
    seeds = "seeds"  # the leader has no seeds in common with the others
    unknown = "unknown"  # some runs did not keep which images are right


@dataclass(frozen=True)
class NewImages:
    """The configurations that are behind the leader on new seeds and new images.

    Attributes:
        images: number of images that were used; 0 if no results can show it.
        behind: the configurations that are behind.
    """

    basis: Basis
    images: int = 0
    behind: list[Group] = field(default_factory=list)


def new_images(groups: Sequence[Group], *, fixed: bool, test_first: bool) -> NewImages:
    """Return the configurations that are behind the leader on new seeds and new images.

    Args:
        groups: configurations with at least two runs, first the leader.
        fixed: whether the leader was selected before these runs.
        test_first: whether to prefer test images, if all runs were evaluated on them, to the last
            epoch. If not, they are used if the last epoch cannot be used.
    """
    if not groups[0].metric.is_accuracy:
        return NewImages(Basis.metric)
    if any(group.splits > 1 for group in groups):
        return NewImages(Basis.splits)

    bases = (Basis.test, Basis.last) if test_first else (Basis.last, Basis.test)
    reason = Basis.unknown
    for basis in bases:
        right = _right_images(groups, basis)
        if isinstance(right, Basis):
            # The reason is about the last epoch, which all runs have. Test results are optional.
            if basis is Basis.last:
                reason = right
            continue

        is_behind = behind_on_new_images(right, fixed=fixed)
        others = zip(groups[1:], is_behind, strict=True)
        behind = [group for group, is_worse in others if is_worse]
        images = len(next(iter(right[0].values())))
        return NewImages(basis, images, behind)
    return NewImages(reason)


@dataclass(frozen=True)
class _StoredResult:
    """Which images a run classifies correctly, as it is stored.

    Attributes:
        digest: digest of the images.
        right: which images the run classifies correctly; see `score.packed`.
    """

    digest: str
    right: str

    @property
    def images(self) -> tuple[str, str]:
        """The digest and the number of the images."""
        number, _, _ = self.right.partition(":")
        return self.digest, number


def _right_images(groups: Sequence[Group], basis: Basis) -> list[Right] | Basis:
    """Return which images the runs of each group classify correctly, or the reason why they cannot
    be compared.
    """
    results_of_groups = []
    for group in groups:
        results = {run.replicate: _stored_result(run, basis) for run in group.finished}
        stored = {replicate: result for replicate, result in results.items() if result is not None}
        if len(stored) < len(results):
            return Basis.unknown
        results_of_groups.append(stored)

    images = {result.images for results in results_of_groups for result in results.values()}
    right = [_unpacked_results(results) for results in results_of_groups]
    differ = len(images) > 1
    is_single = {number for _, number in images} == {"1"}
    if differ or is_single:
        return Basis.different
    if not any(len(right[0].keys() & other.keys()) > 1 for other in right[1:]):
        return Basis.seeds
    return right


def _unpacked_results(results: Mapping[Replicate, _StoredResult]) -> Right:
    return {
        replicate: unpacked(result.right) for replicate, result in results.items() if result.right
    }


def _stored_result(run: ComparedRun, basis: Basis) -> _StoredResult | None:
    """Return which images a run classifies correctly; None if it is not stored."""
    if basis is Basis.test:
        test_result = run.test_result()
        if test_result is None or test_result.right is None:
            return None
        return _StoredResult(test_result.data_digest, test_result.right)

    record = run.provenance
    if not isinstance(record, Record) or record.last_right is None:
        return None
    return _StoredResult(record.data_digests.get("validation", ""), record.last_right)
