"""Finds the configurations that are behind the leader not only on the images that were used, but
also on new images.

The best epoch was chosen by the validation images, and no test on the same images can make up for
that. The claim is therefore about the last epoch, or about test images. It is about new seeds of
the same procedure with the same training images, and about new images of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lenet_exp.comparison.group import Group
from lenet_exp.comparison.runs import ComparedRun
from lenet_exp.comparison.statistics.differences import behind_on_new_images
from lenet_exp.comparison.statistics.images import Right
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
    if any(g.splits > 1 for g in groups):
        return NewImages(Basis.splits)
    why = Basis.unknown
    for basis in (Basis.test, Basis.last) if test_first else (Basis.last, Basis.test):
        right = _right(groups, basis)
        if not isinstance(right, Basis):
            behind = behind_on_new_images(right, fixed=fixed)
            found = [group for group, its in zip(groups[1:], behind, strict=True) if its]
            return NewImages(basis, len(next(iter(right[0].values()))), found)
        why = right if basis is Basis.last else why
    return NewImages(why)


def _right(groups: Sequence[Group], basis: Basis) -> list[Right] | Basis:
    """Return which images the runs of each group classify correctly, or the reason why they cannot
    be compared.
    """
    kept = [{run.replicate: _kept(run, basis) for run in group.finished} for group in groups]
    if any(text is None for runs in kept for _, text in runs.values()):
        return Basis.unknown
    right: list[Right] = [
        {replicate: unpacked(text) for replicate, (_, text) in runs.items() if text}
        for runs in kept
    ]
    images = {
        (digest, text.partition(":")[0])
        for runs in kept
        for digest, text in runs.values()
        if text is not None
    }
    if len(images) > 1 or {number for _, number in images} == {"1"}:
        return Basis.different
    return (
        right
        if any(len(right[0].keys() & other.keys()) > 1 for other in right[1:])
        else Basis.seeds
    )


def _kept(run: ComparedRun, basis: Basis) -> tuple[str, str | None]:
    """Return the digest of the images, and which of them the run classifies correctly (see
    `score.packed`).
    """
    if basis is Basis.test:
        result = run.test_result()
        return (result.data_digest, result.right) if result is not None else ("", None)
    record = run.provenance
    return (
        (record.data_digests.get("validation", ""), record.last_right)
        if isinstance(record, Record)
        else ("", None)
    )
