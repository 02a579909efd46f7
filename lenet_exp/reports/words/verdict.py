"""Describes a comparison in sentences: the winner, its lead, and whether the lead could be due to
chance.

All reports use these sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import confirmation
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.comparison.statistics.power import detectable
from lenet_exp.comparison.verdict import Relation, Verdict, verdict_of
from lenet_exp.folders.records import Outcome
from lenet_exp.reports.words.confirmation_answer import confirmation_answer
from lenet_exp.reports.words.design_caution import design_caution
from lenet_exp.reports.words.names import NAMED, names
from lenet_exp.reports.words.run_outcomes import (
    diverged_on,
    outcomes,
    replicates_word,
)
from lenet_exp.reports.words.scope import scope


def verdict(comparison: Comparison) -> str:
    """Return the verdict of a comparison or, for a confirmation, its result.

    The verdict includes the winner, the significance of its lead, diverged and missing runs, and
    doubts about the design.
    """
    if comparison.design.picked:
        return f"No verdict: the filter selects runs by their results ({comparison.design.filter})."
    tested = confirmation(comparison)
    said = _ranking(comparison) if tested is None else confirmation_answer(comparison, tested)
    said = " ".join(
        [
            said,
            *_some(
                [_outlier(comparison, *found) for found in comparison.outliers], "also collapsed"
            ),
        ]
    )
    doubt = (
        design_caution(comparison.design, comparison.epoch_choice)
        if tested is not None or len(comparison.groups) > 1
        else None
    )
    return said + (f" Caution: {doubt}." if doubt is not None else "")


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
                f"2 {replicates_word(leader)} can show only a difference of about {least:.0f} standard deviations"
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
    verb = "is" if group.missing == 1 else "are"
    return f"{group.missing} of {n} {replicates_word(group)} of {name} {verb} missing ({what})."


def _outlier(comparison: Comparison, group: Group, replicate: Replicate) -> str:
    """Return a warning about an outlier: `Warning: seed 3 of relu ends at 11.35%, far below its
    other 4 runs.`
    """
    which = f"seed {replicate[0]} of {comparison.name(group)} ends at {group.metric.text(group.accuracy[replicate])}"
    far = f"far {'below' if group.metric.larger else 'above'} its other {group.n - 1} runs"
    return f"Warning: {which}, {far}. Error rates do not hold if runs can collapse."


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
