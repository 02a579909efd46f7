"""Describes the race of a sweep with `sweep.within`: which configuration to use, and how much
better another one could be.
"""

from __future__ import annotations

import math

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.race import CandidateState, SweepRace
from lenet_exp.comparison.statistics.multiplicity import LEVEL
from lenet_exp.reports.words.claim_words import (
    ERROR_RATE,
    Rival,
    at_most,
    bound_size,
    claim,
    distance_words,
    reached,
    rival_sentences,
)
from lenet_exp.reports.words.names import names
from lenet_exp.reports.words.scope import holds_for

JUDGED = (CandidateState.leader, CandidateState.open, CandidateState.not_best)


def race_verdict(comparison: Comparison, race: SweepRace) -> str:
    """Return the verdict of a race: the leader, how much better the best configuration could be,
    and which one that is.

    For example: `Use selu: 99.07% (sd 0.42, n = 16). The best of the 18 is this one, or is at most
    0.5 points better (error rate 5%). If it is not the best, the best is tanh (at most 0.31 points
    better). The other 16 are not the best.`
    """
    leader = race.leader
    if leader is None:
        return _without_look(race)

    sentences = [
        f"Use {comparison.name(leader.group)}: {reached(leader.group)}.",
        _claim(comparison, race),
        *_rivals(comparison, race),
        *_copies(comparison, race),
        *_early_end(comparison, race),
        holds_for(comparison, leader.group),
    ]
    return " ".join(sentences)


def _without_look(race: SweepRace) -> str:
    """Return the verdict of a race whose first look is not complete."""
    if race.is_over:
        return "No verdict: every configuration has diverged or failed runs."
    return f"No verdict yet: the configurations are compared once each has {race.next_seeds} seeds."


def _claim(comparison: Comparison, race: SweepRace) -> str:
    """Return the sentence that the race shows, with its error rate."""
    which = _judged_words(race)
    if race.bound <= 0:
        return f"It is the best of {which} ({ERROR_RATE})."

    limit = race.design.within if race.decided else race.bound
    return claim(which, limit, comparison.metric)


def _judged_words(race: SweepRace) -> str:
    """Return which configurations the claim is about, such as `the 18`."""
    judged = sum(candidate.state in JUDGED for candidate in race.candidates.values())
    undecided = race.in_state(CandidateState.undecided)
    if undecided:
        return f"the {judged} that could be trained"
    if race.in_state(CandidateState.diverged):
        return f"the {judged} without a diverged run"
    return f"the {judged}"


def _rivals(comparison: Comparison, race: SweepRace) -> list[str]:
    """Return sentences about the configurations that could be better, and about the others."""
    if race.bound <= 0:
        return []
    rivals = []
    for candidate in race.in_state(CandidateState.open):
        rivals.append(Rival(group=candidate.group, bound=candidate.bound))
    num_worse = len(race.in_state(CandidateState.not_best))
    return rival_sentences(comparison, rivals, num_worse)


def _copies(comparison: Comparison, race: SweepRace) -> list[str]:
    """Return a sentence about configurations that train the same weights as others."""
    copies = []
    for group in comparison.groups:
        if race.candidates[group].state is CandidateState.copy:
            copies.append(group)
    if not copies:
        return []
    verb = "trains" if len(copies) == 1 else "train"
    return [f"{names(comparison, copies)} {verb} the same weights as another configuration."]


def _early_end(comparison: Comparison, race: SweepRace) -> list[str]:
    """Return a sentence about a race in which the difference has not been reached."""
    if race.decided:
        return []
    within = bound_size(race.design.within, comparison.metric)
    seeds = number_of(race.seeds, "seed")
    if race.is_over:
        limit = f"sweep.most_seeds={len(race.design.replicates)}"
    elif race.design.ended_by:
        limit = race.design.ended_by
    else:
        return [f"This is the state after {seeds}; the goal is {within}."]
    return [f"Ended by {limit} after {seeds}; the goal was {within}."]


def race_remark(comparison: Comparison, race: SweepRace, group: Group) -> str:
    """Describe how a configuration compares with the leader of a race, such as `0.27 lower, at most
    0.31 points better`.
    """
    candidate = race.candidates[group]
    leader = race.leader
    if candidate.state is CandidateState.copy:
        assert candidate.copy_of is not None
        return f"same weights as {comparison.name(candidate.copy_of)}"
    if candidate.state is CandidateState.undecided:
        return "could not be trained on all seeds, not judged"
    if candidate.state is CandidateState.diverged:
        return "not judged"
    if candidate.state is CandidateState.leader:
        return "leader"
    if leader is None:
        return ""

    distance = _distance(candidate.group, leader.group)
    if candidate.state is CandidateState.not_best:
        return f"{distance}, not the best"
    return f"{distance}, {at_most(candidate.bound, comparison.metric)}"


def _distance(group: Group, leader: Group) -> str:
    """Describe a configuration's distance from the leader over their common seeds."""
    common = group.scores.keys() & leader.scores.keys()
    differences = [leader.scores[key] - group.scores[key] for key in common]
    distance = math.fsum(differences) / len(differences)
    return distance_words(distance, group.metric)


def race_notes(comparison: Comparison, race: SweepRace) -> list[str]:
    """Return what to know when reading the verdict of a race."""
    if race.leader is None:
        return []
    listed = number_of(race.design.listed, "listed seed")
    lines = [f"effects, intervals, and tests of all pairs use the {listed} only"]
    replaced = race.design.replaced_within
    if replaced is not None:
        size = bound_size(replaced, comparison.metric)
        lines.append(
            f"this verdict replaces the one for {size}; all verdicts of this sweep together are "
            f"wrong in {LEVEL:.0%} of sweeps"
        )
    if race.design.after_verdict and race.configurations == 2:
        lines.append(
            "seeds were added after a first verdict; if that was the reason, "
            "the error rate of two configurations is up to 8%"
        )
    return lines


def listed_seeds_words(comparison: Comparison) -> str:
    """Say in the title of a figure that it shows the listed seeds of a race only, such as `, 3
    listed seeds`; an empty string for other sweeps.
    """
    if comparison.race is None:
        return ""
    return f", {number_of(comparison.race.design.listed, 'listed seed')}"


def collapse_note(race: SweepRace) -> str | None:
    """Say which fraction of the leader's runs could collapse although none did; None if some did.

    n runs without a collapse exclude a probability of more than 1 - (0.05 / k)^(1/n), if the leader
    was chosen from k configurations.
    """
    leader = race.leader
    if leader is None or leader.group.collapsed or not leader.group.metric.is_accuracy:
        return None
    n = leader.group.n
    still_possible = 1 - (LEVEL / race.configurations) ** (1 / n)
    return (
        f"none of the leader's {n} runs collapsed; up to {still_possible:.0%} of its runs still "
        f"could ({ERROR_RATE})"
    )


def look_line(comparison: Comparison, race: SweepRace) -> str:
    """Describe the last complete look of a race in one line, such as `7 seeds: selu leads; 4 of 18
    could be more than 0.5 points better`.
    """
    leader = race.leader
    assert leader is not None
    metric = comparison.metric
    seeds = number_of(race.seeds, "seed")
    text = f"{comparison.dataset}, {seeds}: {comparison.name(leader.group)} leads"
    within = bound_size(race.design.within, metric)
    open_count = sum(candidate.bound > race.design.within for candidate in race.candidates.values())
    if not open_count:
        return f"{text}; no other configuration could be more than {within} better"
    return f"{text}; {open_count} of {len(race.candidates)} could be more than {within} better"
