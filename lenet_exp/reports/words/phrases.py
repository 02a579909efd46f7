"""Describes a comparison in sentences: the winner, its lead, and whether the lead could be due to
chance.

All reports use these sentences.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import Confirmation, confirmation
from lenet_exp.comparison.design import Design
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.pairs import Replicate
from lenet_exp.comparison.power import detectable
from lenet_exp.comparison.statistics import UNSTABLE, WIDE, Difference
from lenet_exp.comparison.verdict import Relation, Verdict, could_be_best, relation_of, verdict_of
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import EpochChoice
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.reports.words.names import NAMED, names
from lenet_exp.reports.words.scope import elsewhere, scope

ACCURACY = Metric()
COLLAPSED = "the last epoch is more than 10 points below the best epoch"
AT_CHANCE = "not significantly better than always predicting one class"


def verdict(comparison: Comparison) -> str:
    """Return the verdict of a comparison or, for a confirmation, its result.

    The verdict includes the winner, the significance of its lead, diverged and missing runs, and
    doubts about the design.
    """
    if comparison.design.picked:
        return f"No verdict: the filter selects runs by their results ({comparison.design.filter})."
    tested = confirmation(comparison)
    said = _ranking(comparison) if tested is None else _answer(comparison, tested)
    said = " ".join(
        [
            said,
            *_some(
                [_outlier(comparison, *found) for found in comparison.outliers], "also collapsed"
            ),
        ]
    )
    doubt = (
        caution(comparison.design, comparison.epoch_choice)
        if tested is not None or len(comparison.groups) > 1
        else None
    )
    return said + (f" Caution: {doubt}." if doubt is not None else "")


def remark(comparison: Comparison, position: int) -> str:
    """Describe how the configuration at a position in the ranking compares with the leader, and
    mention its unfinished runs."""
    group, lead = comparison.groups[position], comparison.leads[position]
    relation = relation_of(comparison, position)
    said = ["the baseline"] if comparison.is_baseline(group) else []
    said += [against_leader(comparison, group, lead, relation)] if lead else []
    if relation is Relation.leader and len(comparison.groups) > 1:
        several = "leader of the configurations with several seeds" if position else "leader"
        said.append("leader, chosen in advance" if position and _is_test(comparison) else several)
    if group.diverged and group.n:
        said.append(f"{diverged_on(group)}, ranked last")
    return "; ".join(
        [*said, *filter(None, [at_chance(group), collapsed(group), unfinished(group)])]
    )


def against_leader(
    comparison: Comparison, group: Group, lead: Difference, relation: Relation
) -> str:
    """Describe how a configuration compares with the leader, such as `could be the best; 0.23
    points lower`.
    """
    metric = comparison.metric
    side = "lower" if (lead.points > 0) is metric.larger else "higher"
    lower = (
        f"{metric.size(lead.points)} {side}" if float(metric.number(lead.points)) else "same mean"
    )
    if relation is Relation.untested:
        why = "one seed" if lead.n < 2 else f"equal differences on {lead.n} seeds, not tested"
        return f"{why}; {lower}"
    ends = (lead.low, lead.high) if lead.points >= 0 else (-lead.high, -lead.low)
    interval = interval_words(*ends, metric=metric)
    if relation is Relation.behind:
        return f"behind by {metric.size(lead.points)}{interval}"
    if lead.differs:
        return f"better by {metric.size(lead.points)}{interval} over {lead.n} common seeds"
    if _is_test(
        comparison
    ):  # the leader was chosen in advance, so the question is not which one is the best
        return f"not significantly different; {lower}{interval}"
    if comparison.is_dropped(group) and not lead.excluded:
        return f"dropped by the search; {lower}"
    label = {
        Relation.excluded: "not the best",
        Relation.unstable: f"unstable (sd {metric.number(group.sd)})",
    }
    return f"{label.get(relation, 'could be the best')}; {lower}"


def interval_words(low: float, high: float, metric: Metric = ACCURACY) -> str:
    """Format the interval of a difference: ` (0.38 to 1.62)`; empty if the interval is too wide to
    say anything.
    """
    wide = math.isnan(low) or (metric.is_accuracy and high - low > WIDE)
    return "" if wide else f" ({metric.number(low)} to {metric.number(high)})"


def best_lines(comparison: Comparison) -> list[str]:
    """Return sentences about the configurations that could be the best, and about unstable ones.

    Return an empty list if all others are behind the leader, or if significance could not be
    tested.
    """
    found = verdict_of(comparison)
    steady = [
        group
        for group in could_be_best(comparison)
        if group is comparison.leader or group in found.tested_groups
    ]
    unstable = found.related(Relation.unstable)
    alone = len(steady) + len(unstable) < 2 and not found.related(Relation.excluded)
    if _is_test(comparison) or alone:  # a confirmation has its own result
        return []
    k, its = 1 + len(found.tested_groups), names(comparison, steady)
    if len(steady) == k:
        return [f"All {k} configurations could be the best."] if k > 2 else []
    noisy = f"; or {number_of(len(unstable), 'unstable one')}" if unstable else ""
    of = f"is one of {len(steady)} of {k} configurations (95% confidence): {its}"
    said = [f"The best {of if len(steady) > 1 else f'is {its} (95% confidence)'}{noisy}."]
    if unstable:
        limit = f"standard deviation more than {UNSTABLE:g} times the typical {comparison.metric.number(found.typical)}"
        said.append(
            f"Unstable: {names(comparison, unstable)} ({limit}). Error rates do not hold if runs can collapse."
        )
    return said


def _is_test(comparison: Comparison) -> bool:
    """Return whether the leader was chosen before these runs, as in a confirmation."""
    return comparison.design.confirms is not None


def caution(design: Design, by: EpochChoice = EpochChoice.best) -> str | None:
    """Return the reason why the stated error rate may not hold, or None if the design was fixed in
    advance.
    """
    holds = "the 5% error rate holds only if"
    if design.filter:
        return (
            f"{holds} the filter was chosen before any result was seen; it selected {design.filter}"
        )
    if design.unsigned:
        return f"{holds} sweep.json, which has no digest, was not edited"
    if design.retrained:
        return f"{holds} no result was seen before runs were retrained (sweep.force)"
    if by is EpochChoice.last and not design.confirms:
        return f"{holds} by=last was chosen before any result was seen"
    if design.sweeps > 1:
        return f"{holds} all {design.sweeps} sweeps were planned before any result was seen"
    if design.known:
        return (
            f"{design.known} of {design.runs} runs are older than this sweep; {holds} seeds and configurations were "
            "chosen before any result was seen"
        )
    if design.repeats:
        again = number_of(design.repeats, "earlier sweep")
        return f"{holds} all seeds are compared, but {again} of the same configurations had other seeds"
    return None


def outcomes(groups: Sequence[Group]) -> str:
    """Return the number of runs with each outcome as text, such as `5 finished, 1 diverged`."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.outcomes)
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items())


def diverged_on(group: Group) -> str:
    """Describe the diverged runs of a configuration, such as `diverged on 3 of 6 seeds`."""
    return f"diverged on {group.diverged} of {group.replicates} {_unit(group)}"


def at_chance(group: Group) -> str:
    """Describe the runs of a configuration at chance level, such as `at chance on 1 of 3 seeds`;
    empty if none are.

    Runs from a store, which has no confusion matrices, are not counted.
    """
    low = sum(
        isinstance(run.provenance, Record) and run.provenance.at_chance for run in group.finished
    )
    n = group.replicates
    return f"at chance{f' on {low} of {n} {_unit(group)}' if low < n else ''}" if low else ""


def collapsed(group: Group) -> str:
    """Describe the runs of a configuration that collapsed, such as `collapsed on 1 of 3 seeds`;
    empty if none did.
    """
    if not group.collapsed:
        return ""
    if group.replicates == 1:
        return "collapsed"
    return f"collapsed on {group.collapsed} of {group.replicates} {_unit(group)}"


def unfinished(group: Group) -> str:
    """Describe how the runs of a configuration ended, or return an empty string if all runs
    finished.

    For example: `1 finished, 2 pruned`, or `pruned after epoch 2 at 88.10%`.
    """
    if not set(group.outcomes) - {Outcome.finished}:
        return ""
    run = group.runs[-1]
    if len(group.runs) > 1 or run.outcome != Outcome.pruned:
        return outcomes([group])
    after = f" after epoch {run.epochs}" if run.epochs else ""
    return f"pruned{after}" + (f" at {run.metric.text(run.best)}" if run.best is not None else "")


def p_words(p: float) -> str:
    """Format a p-value: `p < 0.001`, or `p = 0.012`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def capital(sentence: str) -> str:
    """Return a sentence with its first letter capitalized."""
    return sentence[:1].upper() + sentence[1:]


def _ranking(comparison: Comparison) -> str:
    leader, groups = comparison.leader, comparison.groups
    if leader is None:
        return f"No run finished: {outcomes(groups)}."
    none = "Every configuration diverged on some seeds, so none wins."
    if leader.diverged:
        said = [none if len(groups) > 1 else "Some seeds diverged."]
    else:
        said = [_leading(comparison, leader, verdict_of(comparison))]
    said += _some([_diverged(comparison, g) for g in groups if g.diverged], "also diverged")
    said += _some([_missing(comparison, g) for g in groups if g.missing], "also had missing runs")
    return " ".join(said)


def _leading(comparison: Comparison, leader: Group, found: Verdict) -> str:
    """Return a sentence about the leader and its leads over the other configurations."""
    name, reached = comparison.name(leader), _reached(leader)
    if not found.compared:
        pruned = any(Outcome.pruned in g.outcomes for g in comparison.groups)
        only = f" is the only configuration that {'finished' if pruned else 'never diverged'}"
        return f"{name}{only if len(comparison.groups) > 1 and found.complete else ''}: {reached}."
    if not found.tested:
        return _single(comparison, leader, found)
    beaten = found.related(Relation.behind)
    where = scope(comparison, beaten)
    if found.wins:
        return f"{name} wins (error rate 5%): {reached}, better than {_all(comparison, len(beaten))} {where}."
    single = any(_is_better(g, leader) for g in found.untested(single=True))
    among = " among the configurations with several seeds" if single else ""
    tied = [group for group, lead, _ in found.compared if lead.test != "none" and lead.points == 0]
    tie = f", tied with {names(comparison, tied)}" if tied else ""
    first = f"{name} leads{among}{'' if found.complete else ' so far'}{tie}: {reached}"
    if beaten:
        some = (
            f"{len(beaten)} of {len(found.compared)} others"
            if found.not_behind
            else _all(comparison, len(beaten))
        )
        first += f", ahead of {some} (error rate 5%) {where}"
    return "; ".join([first, *_open(comparison, leader, found)]) + "."


def _open(comparison: Comparison, leader: Group, found: Verdict) -> list[str]:
    """Return clauses about the configurations that are not behind the leader or cannot be tested."""
    clauses = []
    if (judged := found.tested_groups) and not found.related(Relation.behind):
        other = comparison.name(judged[0]) if len(judged) == 1 else "any other configuration"
        clauses.append(f"no significant difference from {other}")
        most = max(lead.n for _, lead, _ in found.compared)
        if most == 2 < 1 + len(judged):
            least = detectable(1 + len(judged), most)
            clauses.append(
                f"2 {_unit(leader)} can show only a difference of about {least:.0f} standard deviations"
            )
    if flat := found.untested(single=False):
        clauses.append(
            f"{names(comparison, flat)} cannot be tested, because the difference is the same on all seeds"
        )
    single = found.untested(single=True)
    higher = [
        f"{comparison.name(g)} reaches {_reached(g)} with one seed"
        for g in single
        if _is_better(g, leader)
    ]
    if higher:
        clauses.append(", ".join(higher[:NAMED]))
    if lower := [g for g in single if not _is_better(g, leader)]:
        clauses.append(
            f"{names(comparison, lower)} {'has' if len(lower) == 1 else 'have'} only one seed"
        )
    return clauses


def _single(comparison: Comparison, leader: Group, found: Verdict) -> str:
    """Return a sentence about the leader if fewer than two configurations have several seeds."""
    name = comparison.name(leader)
    if leader.n > 1:
        clauses = "; ".join(_open(comparison, leader, found))
        return (
            f"{name} is the only configuration with several seeds: {_reached(leader)}; {clauses}."
        )
    if all(lead.points == 0 for _, lead, _ in found.compared):
        others = names(comparison, found.untested(single=True))
        return f"{name} and {others} tie: {_reached(leader)}."
    return f"{name} leads: {_reached(leader)}. With one seed per configuration, differences cannot be tested."


def _diverged(comparison: Comparison, group: Group) -> str:
    """Describe a configuration with diverged runs: `relu diverged on 3 of 6 seeds; its other 3 runs
    reach 98.90%.`
    """
    name = comparison.name(group)
    if group.replicates == 1:
        return f"{name} diverged."
    others = f"its other {group.n} runs reach" if group.n > 1 else "its finished run reaches"
    reached = f"{others} {group.metric.text(group.mean)}" if group.n else "none finished"
    return f"{name} {diverged_on(group)}; {reached}."


def _missing(comparison: Comparison, group: Group) -> str:
    """Describe the missing runs of a configuration: `3 of 6 seeds of relu are missing (3 failed).`"""
    done = {run.replicate for run in group.with_result}
    latest = {run.replicate: run.outcome for run in group.runs if run.replicate not in done}
    counts = Counter(outcome for outcome in latest.values() if outcome != Outcome.pruned)
    name, n = comparison.name(group), group.replicates
    if n == 1:
        return f"{name}: {next(iter(counts))}."
    what = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{group.missing} of {n} {_unit(group)} of {name} {'is' if group.missing == 1 else 'are'} missing ({what})."


def _outlier(comparison: Comparison, group: Group, replicate: Replicate) -> str:
    """Return a warning about an outlier: `Warning: seed 3 of relu ends at 11.35%, far below its
    other 4 runs.`
    """
    which = f"seed {replicate[0]} of {comparison.name(group)} ends at {group.metric.text(group.accuracy[replicate])}"
    far = f"far {'below' if group.metric.larger else 'above'} its other {group.n - 1} runs"
    return f"Warning: {which}, {far}. Error rates do not hold if runs can collapse."


def _answer(comparison: Comparison, found: Confirmation) -> str:
    """Describe the result of a confirmation and the reason for it, or the runs that are still
    missing.
    """
    name, runs = comparison.name(found.leader), comparison.num_runs
    baseline = "the baseline " if comparison.design.against else ""
    if found.missing:
        return f"The test of {name} is not complete (missing runs: {found.missing} of {runs})."
    seeds = f"{found.leader.replicates} new seeds"
    if found.leader.diverged:
        return f"Not confirmed: {name} diverged on {found.leader.diverged} of {seeds}."
    not_beaten = [(group, lead) for group, lead in found.leads if not lead.ahead]
    beaten = [(group, lead) for group, lead in found.leads if lead.ahead]
    beaten.sort(key=lambda pair: pair[1].points)
    named = [*not_beaten, *beaten[:NAMED]]
    against = [_against(f"{baseline}{comparison.name(g)}", lead, found.points) for g, lead in named]
    more = len(beaten) - NAMED
    against += (
        [f"better than {number_of(more, 'other configuration')} by larger margins"]
        if more > 0
        else []
    )
    parts = [f"{name} is {'; '.join(against)}"] if against else []
    parts += [f"{comparison.name(g)} diverged on {g.diverged} of them" for g in found.unsteady]
    answer = f"{'Confirmed' if found.confirmed else 'Not confirmed'} on {seeds}"
    where = elsewhere(comparison, [group for group, _ in beaten]) if beaten else ""
    return f"{': '.join(filter(None, [answer, '; '.join(parts)]))}{where}."


def _against(other: str, lead: Difference, looked_for: float) -> str:
    by, side = ACCURACY.size(lead.points), "above" if lead.points > 0 else "below"
    if math.isnan(lead.low):
        return f"{by} {side} {other}, not tested, because the difference is the same on all seeds"
    low, high = (lead.low, lead.high) if lead.points > 0 else (-lead.high, -lead.low)
    if lead.differs:
        return (
            f"{'better' if lead.ahead else 'worse'} than {other} by {by}{interval_words(low, high)}"
        )
    small = max(abs(low), abs(high)) < looked_for
    less = f", less than the {points_words(looked_for * 100)} tested for" if small else ""
    side, other_side = ("below", "above") if lead.points < 0 else ("above", "below")
    interval = f"({ACCURACY.number(-low)} {other_side} to {ACCURACY.number(high)} {side})"
    return f"not significantly different from {other}: {by} {side} it {interval}{less}"


def points_words(points: float) -> str:
    """Format a difference in percentage points: `0.2 points`."""
    return f"{points:g} point" if f"{points:g}" == "1" else f"{points:g} points"


def _some(sentences: Sequence[str], others: str) -> list[str]:
    more = len(sentences) - NAMED
    return [
        *sentences[:NAMED],
        *([f"{number_of(more, 'other configuration')} {others}."] if more > 0 else []),
    ]


def _all(comparison: Comparison, n: int) -> str:
    which = "" if all(g.stable for g in comparison.groups) else " without a diverged run"
    all_of_them = {1: f"the other{which and ' one'}", 2: "the other two"}
    return all_of_them.get(n, f"the other {n}") + which


def _reached(group: Group) -> str:
    metric = group.metric
    if group.n == 1:
        return metric.text(group.mean)
    spread = f"{metric.number(group.mean)} ± {metric.number(group.sd)}{'%' * metric.percent}"
    return f"{metric.label} {spread} (n = {group.n})".lstrip()


def _is_better(group: Group, than: Group) -> bool:
    return group.metric.sign * (group.mean - than.mean) > 0


def _unit(group: Group) -> str:
    """Return the word for a configuration's replicates: `seeds` or `runs`."""
    return "seeds" if len({run.split for run in group.runs}) == 1 else "runs"
