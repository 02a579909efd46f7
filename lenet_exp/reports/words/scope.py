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

CONDITIONS = {Basis.last: "after the last epoch, ", Basis.test: "according to the test images, "}
USED_IMAGES = {Basis.last: "validation images after the last epoch", Basis.test: "test images"}
WHY_NOT_TESTED = {
    Basis.metric: "which requires metric=accuracy",
    Basis.splits: "because split_seed was swept",
    Basis.different: "because the validation images differ",
    Basis.seeds: "because the seeds differ",
    Basis.unknown: "because some runs did not keep which images were classified correctly",
}


def scope(comparison: Comparison, beaten: Sequence[Group]) -> str:
    """Say where the leader's leads over configurations hold: `on new seeds and new images`."""
    if _holds_on_new_images(comparison, beaten):
        return "on new seeds and new images"
    return f"on new seeds with these validation images{elsewhere(comparison, beaten)}"


def holds_for(comparison: Comparison, leader: Group, beaten: Sequence[Group] = ()) -> str:
    """Return a sentence that says what the verdict is about, such as `For new seeds with these
    validation images.`

    Args:
        beaten: the configurations behind the leader, for which new images are tested.
    """
    if leader.splits > 1:
        return "For new seeds and new splits."
    if not beaten:
        return "For new seeds with these validation images."
    return f"{scope(comparison, beaten).replace('on new', 'For new', 1)}."


def _holds_on_new_images(comparison: Comparison, beaten: Sequence[Group]) -> bool:
    """Return whether all these leads, with the compared accuracies, also hold on new images."""
    new_images = comparison.new_images
    if new_images is None or _needs_condition(comparison, new_images.basis):
        return False
    return set(beaten) <= set(new_images.behind)


def elsewhere(comparison: Comparison, beaten: Sequence[Group]) -> str:
    """Say whether the leader's leads also hold on new images: `; after the last epoch, also on new
    images`.

    The result is empty if this was not tested.
    """
    new_images = comparison.new_images
    if new_images is None or not new_images.images:
        return ""

    also_beaten = [group for group in beaten if group in new_images.behind]
    if not also_beaten:
        return "; not shown on new images"

    text = "; "
    if _needs_condition(comparison, new_images.basis):
        text += CONDITIONS[new_images.basis]
    if len(also_beaten) < len(beaten):
        text += f"ahead of {names(comparison, also_beaten)} "
    return f"{text}also on new images"


def _needs_condition(comparison: Comparison, basis: Basis) -> bool:
    """Return whether the compared accuracies are not those on which the claim about new images is
    based.
    """
    return basis is not Basis.last or comparison.epoch is not EpochChoice.last


def variation(comparison: Comparison, leader: Group) -> str:
    """Describe what intervals cover, and how the claim about new images was tested, or why it was
    not.
    """
    intervals = f"intervals cover {_source_of_variation(leader)} only"
    new_images = comparison.new_images
    if new_images is None:
        return intervals
    if not new_images.images:
        return f"{intervals}; {_why_not_tested(comparison, new_images.basis)}"

    used_images = f"{new_images.images:,} {USED_IMAGES[new_images.basis]}"
    text = f"{intervals}; new images: tested with {used_images}"
    behind = set(verdict_of(comparison).related(Relation.behind))
    some_not_shown = not behind <= set(new_images.behind)
    if some_not_shown and new_images.basis is Basis.last:
        text += "; a larger dataset.val_size can show more"
        if comparison.epoch is EpochChoice.best:
            text += _how_to_use_test_images(comparison)
    return text


def _source_of_variation(leader: Group) -> str:
    if leader.splits <= 1:
        return "seed-to-seed variation"
    num_seeds = len({seed for seed, _ in leader.accuracy})
    seeds = number_of(num_seeds, "seed")
    return f"variation between {seeds} and {leader.splits} splits ({leader.n} runs)"


def _why_not_tested(comparison: Comparison, basis: Basis) -> str:
    """Return the reason why no lead was tested on new images, and what to do about it."""
    reason = WHY_NOT_TESTED[basis]
    if comparison.design.filter:
        reason = "which requires sweep="
    text = f"not tested on new images, {reason}"
    if basis in (Basis.different, Basis.unknown):
        text += _how_to_use_test_images(comparison)
    return text


def _how_to_use_test_images(comparison: Comparison) -> str:
    """Return a clause that names the command; empty if it would not apply to a single sweep."""
    if not comparison.design.sweep:
        return ""
    return "; to use test images, run lenet-predict with configurations=all"
