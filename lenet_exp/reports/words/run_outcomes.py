"""Describes how the runs of a configuration ended: finished, diverged, at chance, collapsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.comparison.group import Group
from lenet_exp.folders.records import Outcome, Record

COLLAPSED = "the last epoch is more than 10 points below the best epoch"
AT_CHANCE = "not significantly better than always predicting one class"


def outcomes(groups: Sequence[Group]) -> str:
    """Return the number of runs with each outcome as text, such as `5 finished, 1 diverged`."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.outcomes)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def diverged_on(group: Group) -> str:
    """Describe the diverged runs of a configuration, such as `diverged on 3 of 6 seeds`."""
    return f"diverged on {group.diverged} of {group.replicates} {replicates_word(group)}"


def at_chance(group: Group) -> str:
    """Describe the runs of a configuration at chance level, such as `at chance on 1 of 3 seeds`;
    empty if none are.

    Runs from a store, which has no confusion matrices, are not counted.
    """
    at_chance_count = sum(
        isinstance(run.provenance, Record) and run.provenance.at_chance for run in group.finished
    )
    if not at_chance_count:
        return ""
    if at_chance_count == group.replicates:
        return "at chance"
    return f"at chance on {at_chance_count} of {group.replicates} {replicates_word(group)}"


def collapsed(group: Group) -> str:
    """Describe the runs of a configuration that collapsed, such as `collapsed on 1 of 3 seeds`;
    empty if none did.
    """
    if not group.collapsed:
        return ""
    if group.replicates == 1:
        return "collapsed"
    return f"collapsed on {group.collapsed} of {group.replicates} {replicates_word(group)}"


def unfinished(group: Group) -> str:
    """Describe how the runs of a configuration ended, or return an empty string if all runs
    finished.

    For example: `1 finished, 2 pruned`, or `pruned after epoch 2 at 88.10%`.
    """
    if set(group.outcomes) <= {Outcome.finished}:
        return ""

    run = group.runs[-1]
    if len(group.runs) > 1 or run.outcome != Outcome.pruned:
        return outcomes([group])
    text = "pruned"
    if run.epochs:
        text += f" after epoch {run.epochs}"
    if run.best is not None:
        text += f" at {run.metric.text(run.best)}"
    return text


def replicates_word(group: Group) -> str:
    """Return the word for a configuration's replicates: `seeds`, or `runs` if they also differ in
    their split.
    """
    splits = {run.split for run in group.runs}
    return "seeds" if len(splits) == 1 else "runs"
