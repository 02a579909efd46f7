"""Describes a comparison in sentences: the winner, its lead, and whether the lead could be due to
chance.

All reports use these sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.comparison.statistics.power import detectable
from lenet_exp.comparison.verdict import Relation, Verdict, has_bounds, verdict_of
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.words.confirmation_answer import confirmation_answer
from lenet_exp.reports.words.design_caution import design_caution
from lenet_exp.reports.words.fixed_words import fixed_verdict
from lenet_exp.reports.words.names import NAMED, names
from lenet_exp.reports.words.race_words import race_verdict
from lenet_exp.reports.words.run_outcomes import diverged_on, outcomes, replicates_word
from lenet_exp.reports.words.scope import scope


def verdict(comparison: Comparison) -> str:
    """Return the verdict of a comparison or, for a confirmation, its result.

    The verdict includes the winner, the significance of its lead, diverged and missing runs, and
    doubts about the design.
    """
    design = comparison.design
    if design.selected_by_results:
        return f"No verdict: the filter selects runs by their results ({design.filter})."

    tested = confirmation_result(comparison)
    if tested is None:
        sentences = [_ranking(comparison)]
    else:
        sentences = [confirmation_answer(comparison, tested)]

    warnings = [_collapse_warning(comparison, *outlier) for outlier in comparison.outliers]
    sentences += _first_sentences(warnings, "also collapsed")

    if tested is not None or len(comparison.groups) > 1:
        caution = design_caution(design, comparison.epoch_choice)
        if caution is not None:
            sentences.append(f"Caution: {caution}.")
    return " ".join(sentences)


def _ranking(comparison: Comparison) -> str:
    """Describe the leader, its leads, and the configurations with diverged or missing runs."""
    leader = comparison.leader
    groups = comparison.groups_with_all_runs
    if leader is None:
        return f"No run finished: {outcomes(groups)}."

    if comparison.race is not None:
        sentences = [race_verdict(comparison, comparison.race)]
    elif has_bounds(comparison):
        sentences = [fixed_verdict(comparison, leader)]
    elif not leader.diverged:
        sentences = [_leader_sentence(comparison, leader, verdict_of(comparison))]
    elif len(groups) > 1:
        sentences = ["Every configuration diverged on some seeds, so none wins."]
    else:
        sentences = ["Some seeds diverged."]

    diverged = [_diverged(comparison, group) for group in groups if group.diverged]
    missing = [_missing(comparison, group) for group in groups if group.missing]
    sentences += _first_sentences(diverged, "also diverged")
    sentences += _first_sentences(missing, "also had missing runs")
    return " ".join(sentences)


def _leader_sentence(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    """Return a sentence about the leader and its leads over the other configurations."""
    if not judged.compared:
        return _only_result(comparison, leader, judged)
    if not judged.tested:
        return _untested_lead(comparison, leader, judged)
    if judged.wins:
        return _win(comparison, leader, judged)
    clauses = [_lead(comparison, leader, judged), *_open_clauses(comparison, leader, judged)]
    return "; ".join(clauses) + "."


def _only_result(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    """Return a sentence about the leader if no other configuration has a result."""
    name = comparison.name(leader)
    if len(comparison.groups) == 1 or not judged.complete:
        return f"{name}: {_reached(leader)}."

    some_pruned = any(Outcome.pruned in group.outcomes for group in comparison.groups)
    distinction = "finished" if some_pruned else "never diverged"
    return f"{name} is the only configuration that {distinction}: {_reached(leader)}."


def _untested_lead(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    """Return a sentence about the leader if fewer than two configurations have several seeds."""
    name = comparison.name(leader)
    reached = _reached(leader)
    if leader.n > 1:
        clauses = "; ".join(_open_clauses(comparison, leader, judged))
        return f"{name} is the only configuration with several seeds: {reached}; {clauses}."

    if all(lead.points == 0 for _, lead, _ in judged.compared):
        others = names(comparison, judged.untested(single=True))
        return f"{name} and {others} tie: {reached}."
    why_untested = "With one seed per configuration, differences cannot be tested."
    return f"{name} leads: {reached}. {why_untested}"


def _win(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    beaten = judged.related(Relation.behind)
    others = _all_others(comparison, len(beaten))
    claim = f"{comparison.name(leader)} wins (error rate 5%): {_reached(leader)}"
    return f"{claim}, better than {others} {scope(comparison, beaten)}."


def _lead(comparison: Comparison, leader: Group, judged: Verdict) -> str:
    """Return a clause about a leader that does not win, and about the configurations behind it.

    For example: `selu leads: 99.04 ± 0.46% (n = 5), ahead of 2 of 3 others (error rate 5%) on new
    seeds and new images`.
    """
    clause = f"{comparison.name(leader)} leads"
    if any(_is_better(group, leader) for group in judged.untested(single=True)):
        clause += " among the configurations with several seeds"
    if not judged.complete:
        clause += " so far"

    tied = []
    for group, lead, _ in judged.compared:
        if lead.test != "none" and lead.points == 0:
            tied.append(group)
    if tied:
        clause += f", tied with {names(comparison, tied)}"
    clause += f": {_reached(leader)}"

    beaten = judged.related(Relation.behind)
    if not beaten:
        return clause
    if judged.not_behind:
        others = f"{len(beaten)} of {len(judged.compared)} others"
    else:
        others = _all_others(comparison, len(beaten))
    return f"{clause}, ahead of {others} (error rate 5%) {scope(comparison, beaten)}"


def _open_clauses(comparison: Comparison, leader: Group, judged: Verdict) -> list[str]:
    """Return clauses about configurations that are not behind the leader or cannot be tested."""
    clauses = []
    if judged.tested_groups and not judged.related(Relation.behind):
        clauses += _insignificance_clauses(comparison, leader, judged)

    equal_differences = judged.untested(single=False)
    if equal_differences:
        listed = names(comparison, equal_differences)
        why_untested = "because the difference is the same on all seeds"
        clauses.append(f"{listed} cannot be tested, {why_untested}")

    better = []
    not_better = []
    for group in judged.untested(single=True):
        if _is_better(group, leader):
            better.append(f"{comparison.name(group)} reaches {_reached(group)} with one seed")
        else:
            not_better.append(group)
    if better:
        clauses.append(", ".join(better[:NAMED]))
    if not_better:
        verb = "has" if len(not_better) == 1 else "have"
        clauses.append(f"{names(comparison, not_better)} {verb} only one seed")
    return clauses


def _insignificance_clauses(comparison: Comparison, leader: Group, judged: Verdict) -> list[str]:
    """Return clauses about tests none of which shows a lead of the leader.

    With two seeds, tests of more than two configurations can show only huge differences, so a
    clause gives their size.
    """
    tested = judged.tested_groups
    other = comparison.name(tested[0]) if len(tested) == 1 else "any other configuration"
    clauses = [f"no significant difference from {other}"]

    num_configurations = 1 + len(tested)
    most_seeds = max(lead.n for _, lead, _ in judged.compared)
    if most_seeds == 2 and num_configurations > 2:
        least = detectable(num_configurations, most_seeds)
        limit = f"a difference of about {least:.0f} standard deviations"
        clauses.append(f"2 {replicates_word(leader)} can show only {limit}")
    return clauses


def _diverged(comparison: Comparison, group: Group) -> str:
    """Describe a configuration with diverged runs: `relu diverged on 3 of 6 seeds; its other 3 runs
    reach 98.90%.`
    """
    name = comparison.name(group)
    if group.replicates == 1:
        return f"{name} diverged."

    if group.n == 0:
        others = "none finished"
    elif group.n == 1:
        others = f"its finished run reaches {group.metric.text(group.mean)}"
    else:
        others = f"its other {group.n} runs reach {group.metric.text(group.mean)}"
    return f"{name} {diverged_on(group)}; {others}."


def _missing(comparison: Comparison, group: Group) -> str:
    """Describe a configuration's missing runs: `3 of 6 seeds of relu are missing (3 failed).`"""
    with_result = {run.replicate for run in group.with_result}
    latest_outcomes = {}
    for run in group.runs:
        if run.replicate not in with_result:
            latest_outcomes[run.replicate] = run.outcome
    counts = Counter(outcome for outcome in latest_outcomes.values() if outcome != Outcome.pruned)

    name = comparison.name(group)
    if group.replicates == 1:
        return f"{name}: {next(iter(counts))}."
    missing = f"{group.missing} of {group.replicates} {replicates_word(group)} of {name}"
    verb = "is" if group.missing == 1 else "are"
    reasons = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{missing} {verb} missing ({reasons})."


def _collapse_warning(comparison: Comparison, group: Group, replicate: Replicate) -> str:
    """Return a warning about an outlier: `Warning: seed 3 of relu ends at 11.35%, far below its
    other 4 runs.`
    """
    seed, _ = replicate
    end = group.metric.text(group.accuracy[replicate])
    side = "below" if group.metric.larger else "above"
    others = f"its other {group.n - 1} runs"
    outlier = f"seed {seed} of {comparison.name(group)} ends at {end}, far {side} {others}"
    return f"Warning: {outlier}. Error rates do not hold if runs can collapse."


def _first_sentences(sentences: Sequence[str], predicate: str) -> list[str]:
    """Return the first sentences, each about one configuration, and one that counts the others.

    Args:
        predicate: what is true of the others, such as `also diverged`.
    """
    first = list(sentences[:NAMED])
    num_others = len(sentences) - len(first)
    if num_others:
        first.append(f"{number_of(num_others, 'other configuration')} {predicate}.")
    return first


def _all_others(comparison: Comparison, count: int) -> str:
    """Return a name for all other configurations, such as `the other two`.

    If some configurations have diverged runs, these are excluded: `the other 5 without a diverged
    run`.
    """
    all_stable = all(group.stable for group in comparison.groups)
    suffix = "" if all_stable else " without a diverged run"
    if count == 1:
        return "the other" if all_stable else f"the other one{suffix}"
    if count == 2:
        return f"the other two{suffix}"
    return f"the other {count}{suffix}"


def _reached(group: Group) -> str:
    """Format the mean of a configuration with its standard deviation: `99.04 ± 0.46% (n = 5)`.

    With one seed: `99.04%`.
    """
    metric = group.metric
    if group.n == 1:
        return metric.text(group.mean)

    unit = "%" if metric.percent else ""
    spread = f"{metric.number(group.mean)} ± {metric.number(group.sd)}{unit}"
    return f"{metric.label} {spread} (n = {group.n})".lstrip()


def _is_better(group: Group, other: Group) -> bool:
    return group.metric.sign * (group.mean - other.mean) > 0
