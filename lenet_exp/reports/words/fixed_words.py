"""Describes a sweep with a fixed number of seeds: which configuration to use, and how much better
another one could be.
"""

from __future__ import annotations

import math

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.statistics.leader_tests import UNSTABLE_RATIO
from lenet_exp.comparison.verdict import Relation, Verdict, verdict_of
from lenet_exp.reports.words.claim_words import (
    ERROR_RATE,
    Rival,
    at_most,
    claim,
    distance_words,
    reached,
    rival_sentences,
    worse_sentences,
)
from lenet_exp.reports.words.names import NAMED, names
from lenet_exp.reports.words.scope import holds_for

NOT_THE_BEST = (Relation.behind, Relation.excluded)


def fixed_verdict(comparison: Comparison, leader: Group) -> str:
    """Return the verdict of a sweep with a fixed number of seeds; see `verdict.has_bounds`.

    For example: `Use selu: 99.07% (sd 0.42, n = 5). The best of the 18 is this one, or is at most
    0.5 points better (error rate 5%). If it is not the best, the best is tanh (at most 0.31 points
    better). The other 16 are not the best. For new seeds with these validation images.`
    """
    judged = verdict_of(comparison)
    rivals = [Rival(group=group, bound=bound) for group, bound in judged.rivals]
    num_worse = sum(relation in NOT_THE_BEST for _, _, relation in judged.compared)

    num_judged = 1 + len(rivals) + num_worse
    sentences = [_leader_sentence(comparison, leader, judged)]
    if len(rivals) == 1 and not math.isinf(rivals[0].bound):
        sentences += _one_rival(comparison, rivals[0], num_judged)
    else:
        sentences.append(_claim(comparison, judged, rivals, num_judged=num_judged))
        sentences += rival_sentences(comparison, rivals, num_worse)
    sentences += _not_judged(comparison, leader, judged)

    beaten = judged.related(Relation.behind) if judged.wins else []
    sentences.append(holds_for(comparison, leader, beaten))
    return " ".join(sentences)


def _leader_sentence(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    """Return a sentence such as `Use selu: 99.07% (sd 0.42, n = 5).`"""
    name = comparison.name(leader)
    tied = [group for group, lead, _ in judged.compared if lead.n > 1 and lead.points == 0]
    suffix = f", tied with {names(comparison, tied)}" if tied else ""
    if not judged.complete:
        return f"{name} leads so far: {reached(leader)}{suffix}."
    return f"Use {name}: {reached(leader)}{suffix}."


def _one_rival(comparison: Comparison, rival: Rival, num_judged: int) -> list[str]:
    """Return sentences about the best configuration if a single one could be better."""
    which = _judged_words(comparison, num_judged)
    name = comparison.name(rival.group)
    bound = at_most(rival.bound, comparison.metric)
    sentence = f"The best of {which} is this one or {name}, which is {bound} ({ERROR_RATE})."
    return [sentence, *worse_sentences(num_judged - 2)]


def _claim(comparison: Comparison, judged: Verdict, rivals: list[Rival], *, num_judged: int) -> str:
    """Return the sentence about the best configuration, with its error rate."""
    which = _judged_words(comparison, num_judged)
    if rivals:
        return claim(which, rivals[0].bound, comparison.metric)
    if not judged.complete:
        return f"So far, no other one of {which} is as good ({ERROR_RATE})."
    if num_judged == 1:
        return "No other one can be judged."
    return f"It is the best of {which} ({ERROR_RATE})."


def _judged_words(comparison: Comparison, num_judged: int) -> str:
    """Return which configurations the claim is about, such as `the 18`."""
    if num_judged == len(comparison.groups):
        return f"the {num_judged}"
    num_diverged = sum(not group.stable for group in comparison.groups)
    if num_judged + num_diverged == len(comparison.groups):
        return f"the {num_judged} without a diverged run"
    return f"the {num_judged} that are judged"


def _not_judged(comparison: Comparison, leader: Group, judged: Verdict) -> list[str]:
    """Return sentences about unstable configurations and about those with a single seed."""
    sentences = []
    unstable = judged.related(Relation.unstable)
    if unstable:
        typical = comparison.metric.number(judged.typical)
        limit = f"standard deviation more than {UNSTABLE_RATIO:g} times the typical {typical}"
        listed = f"Not judged: {names(comparison, unstable)} (unstable: {limit})."
        sentences.append(f"{listed} Error rates do not hold if runs can collapse.")

    better = []
    not_better = []
    for group in judged.untested(single=True):
        if group.metric.sign * (group.mean - leader.mean) > 0:
            mean = group.metric.text(group.mean)
            better.append(f"{comparison.name(group)} reaches {mean} with one seed")
        else:
            not_better.append(group)
    if better:
        sentences.append(f"Not judged: {', '.join(better[:NAMED])}.")
    if not_better:
        sentences.append(f"Not judged: {names(comparison, not_better)} (one seed).")
    return sentences


def fixed_remark(group: Group, lead: Difference, relation: Relation) -> str:
    """Describe how a configuration compares with the leader, such as `0.27 lower, at most 0.31
    points better`.
    """
    metric = group.metric
    distance = distance_words(lead.points, metric)
    if relation in NOT_THE_BEST:
        return f"{distance}, not the best"
    if relation is Relation.unstable:
        return f"not judged: unstable (sd {metric.number(group.sd)}); {distance}"
    if relation is Relation.untested and lead.n < 2:
        return f"not judged: one seed; {distance}"
    if lead.differs:  # its mean over all seeds is worse
        distance += f" over {lead.n} common seeds"
    return f"{distance}, {at_most(max(lead.bound, 0.0), metric)}"
