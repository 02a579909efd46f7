"""Says what a verdict is about: new seeds on the same validation images, or also new images."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.studies.new_images import Basis
from lenet_exp.comparison.verdict import Relation, verdict_of
from lenet_exp.config.schema import EpochChoice
from lenet_exp.reports.words.names import names

AFTER = {Basis.last: "after the last epoch, ", Basis.test: "according to the test images, "}
USED = {Basis.last: "validation images after the last epoch", Basis.test: "test images"}
WHY_NOT = {
    Basis.metric: "which requires metric=accuracy",
    Basis.splits: "because split_seed was swept",
    Basis.different: "because the validation images differ",
    Basis.seeds: "because the seeds differ",
    Basis.unknown: "because some runs did not keep which images were classified correctly",
}


def scope(comparison: Comparison, beaten: Sequence[Group]) -> str:
    """Say where the leader's leads over configurations hold, such as `on new seeds and new images`."""
    its = comparison.new_images
    if its is not None and not _chosen(comparison, its.basis) and set(beaten) <= set(its.behind):
        return "on new seeds and new images"
    return f"on new seeds with these validation images{elsewhere(comparison, beaten)}"


def elsewhere(comparison: Comparison, beaten: Sequence[Group]) -> str:
    """Say whether the leader's leads also hold on new images: `; after the last epoch, also on new
    images`.

    The result is empty if this was not tested.
    """
    its = comparison.new_images
    if its is None or not its.images:
        return ""
    shown = [group for group in beaten if group in its.behind]
    if not shown:
        return "; not shown on new images"
    after = AFTER[its.basis] if _chosen(comparison, its.basis) else ""
    return f"; {after}{f'ahead of {names(comparison, shown)} ' if len(shown) < len(beaten) else ''}also on new images"


def _chosen(comparison: Comparison, basis: Basis) -> bool:
    """Return whether the compared accuracies are not those on which the claim about new images is
    based.
    """
    return basis is not Basis.last or comparison.epoch is not EpochChoice.last


def variation(comparison: Comparison, leader: Group) -> str:
    """Describe what intervals cover, and how the claim about new images was tested, or why it was
    not.
    """
    source, its = "seed-to-seed variation", comparison.new_images
    if leader.splits > 1:
        seeds = len({seed for seed, _ in leader.accuracy})
        source = f"variation between {number_of(seeds, 'seed')} and {leader.splits} splits ({leader.n} runs)"
    said = f"intervals cover {source} only"
    how = (
        "; to use test images, run lenet-predict with configurations=all"
        if comparison.design.sweep
        else ""
    )
    if its is None:
        return said
    if not its.images:
        why = "which requires sweep=" if comparison.design.filter else WHY_NOT[its.basis]
        return f"{said}; not tested on new images, {why}{how if its.basis in (Basis.different, Basis.unknown) else ''}"
    left = set(verdict_of(comparison).related(Relation.behind)) - set(its.behind)
    how = how if comparison.epoch is EpochChoice.best else ""
    asked = (
        f"; a larger dataset.val_size can show more{how}"
        if left and its.basis is Basis.last
        else ""
    )
    return f"{said}; new images: tested with {its.images:,} {USED[its.basis]}{asked}"
