"""The comparison in words: who leads, by how much, and whether it can be luck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import answer, confirmation
from lenet_exp.comparison.design import caution
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics import LARGE, MOST_SEEDS, Difference, seeds_needed, seeds_to_tell, too_few
from lenet_exp.folders.records import Outcome

LONG = 30  # characters of a name; three such are more than one reads
NAMED = 3  # groups that a sentence names; the others are counted


def percent(accuracy: float) -> str:
    """`90.92 %`."""
    return f"{accuracy * 100:.2f} %"


def against_leader(lead: Difference) -> str:
    """How the leader stands against one other group."""
    if lead.test == "none":
        return _untested(lead)
    if lead.ahead:
        return f"ahead by {_points(lead.points)} points ({_points(lead.low)} to {_points(lead.high)})"
    if lead.differs:
        by = f"{_points(-lead.points)} points ({_points(-lead.high)} to {_points(-lead.low)})"
        return f"behind it by {by}, over {lead.n} common seeds"
    return f"can't be told apart with n={lead.n}; {_how_many(lead)}"


def verdict(comparison: Comparison) -> str:
    """What won and whether it is luck, what diverged, what is missing, and whether the design was fixed before a look;
    of a sweep that confirms another, whether it has."""
    if (tested := confirmation(comparison)) is not None:
        return answer(comparison, tested)
    doubt = caution(comparison.design) if len(comparison.groups) > 1 else None
    return _ranking(comparison) + (f" But {doubt}." if doubt is not None else "")


def _ranking(comparison: Comparison) -> str:
    leader = comparison.leader
    if leader is None:
        return f"No run finished: {outcomes(comparison.groups)}."
    said = [_nobody(comparison) if leader.diverged else _leading(comparison, leader)]
    groups = [g for g in comparison.groups if g.diverged]
    said += _some([diverged(comparison, g) for g in groups], "diverged, too")
    said += _some([_missing(comparison, g) for g in comparison.groups if g.missing], "have runs missing, too")
    return " ".join(said)


def diverged(comparison: Comparison, group: Group) -> str:
    """`relu diverged on 3 of 6 seeds; its other 3 reach 98.90 %.`"""
    name = comparison.name(group)
    if group.replicates == 1:
        return f"{name} diverged."
    if not group.n:
        return f"{name} diverged on {group.diverged} of {group.replicates} {unit(group)}; none finished."
    others = f"its other {group.n} reach" if group.n > 1 else "the one that finished reaches"
    return f"{name} diverged on {group.diverged} of {group.replicates} {unit(group)}; {others} {percent(group.mean)}."


def unit(group: Group) -> str:
    """What a replicate is called."""
    return "seeds" if len({run.split for run in group.runs}) == 1 else "runs"


def outcomes(groups: Sequence[Group]) -> str:
    """`5 finished, 1 diverged`."""
    counts: dict[str, int] = {}
    for group in groups:
        for outcome, n in group.outcomes.items():
            counts[outcome] = counts.get(outcome, 0) + n
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items())


def unfinished(group: Group) -> str:
    """How its runs ended: `1 finished, 2 pruned`, of one that was pruned `pruned after epoch 2 at 88.10 %`;
    empty where all finished."""
    if not set(group.outcomes) - {Outcome.finished}:
        return ""
    run = group.runs[-1]
    if len(group.runs) > 1 or run.outcome != Outcome.pruned:
        return outcomes([group])
    after = f" after epoch {run.epochs}" if run.epochs else ""
    return f"pruned{after}" + (f" at {percent(run.best_val_accuracy)}" if run.best_val_accuracy is not None else "")


def leads_of(comparison: Comparison) -> list[tuple[Group, Difference]]:
    """The groups that the leader is held against."""
    return [(g, lead) for g, lead in zip(comparison.groups, comparison.leads, strict=True) if lead is not None]


def names(comparison: Comparison, groups: Sequence[Group]) -> str:
    """`tanh, elu, relu and 4 more`; where their names are long, their places in the table: `#2, #3, #5 and 4 more`."""
    more = f" and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
    shown = [comparison.name(g) for g in groups[:NAMED]]
    if max(map(len, shown), default=0) > LONG:
        shown = [f"#{1 + next(i for i, g in enumerate(comparison.groups) if g is named)}" for named in groups[:NAMED]]
    return ", ".join(shown) + more


def _leading(comparison: Comparison, leader: Group) -> str:
    """About the leader and those that it can be held against."""
    name, reached, leads = comparison.name(leader), _reached(leader), leads_of(comparison)
    complete = not any(g.missing for g in comparison.groups)
    if not leads:
        alone = len(comparison.groups) > 1 and complete
        pruned = any(Outcome.pruned in g.outcomes for g in comparison.groups)
        only = "finished" if pruned else "never diverged"
        return f"{name} is the only one that {only}: {reached}." if alone else f"{name}: {reached}."
    if all(lead.n < 2 for _, lead in leads):
        return _single(comparison, leader, leads)
    beaten = [(g, lead) for g, lead in leads if lead.ahead]
    if len(beaten) == len(leads) and complete:
        return f"{name} wins: {reached}, ahead of {_all(comparison, len(leads))}{_rests_on(leader, beaten)}."
    single = any(lead.n < 2 and g.mean > leader.mean for g, lead in leads)
    among = " of those with several seeds" if single else ""
    first = f"{name} is first{among}{' with' if complete else ' so far:'} {reached}"
    if beaten:
        some = f"{len(beaten)} of {len(leads)} others" if len(beaten) < len(leads) else _all(comparison, len(leads))
        first += f", ahead of {some}{_rests_on(leader, beaten)}"
    return first + "".join(f"; {clause}" for clause in _open(comparison, leader, leads)) + "."


def _open(comparison: Comparison, leader: Group, leads: Sequence[tuple[Group, Difference]]) -> list[str]:
    """About those that the leader is not ahead of."""
    open_still = [g for g, lead in leads if lead.test != "none" and not lead.ahead]
    alike = [g for g in open_still if any(g is left for left in comparison.not_excluded)]
    dropped = [g for g in open_still if g not in alike]
    flat = [g for g, lead in leads if lead.test == "none" and lead.n > 1 and lead.points]
    equal = [g for g, lead in leads if lead.test == "none" and lead.n > 1 and not lead.points]
    single = [g for g, lead in leads if lead.test == "none" and lead.n < 2]
    clauses = []
    if alike:
        clauses.append(f"it can't be told apart from {names(comparison, alike)}")
        judged = 1 + sum(lead.n > 1 for _, lead in leads)
        most = max(lead.n for _, lead in leads)
        if not any(lead.ahead for _, lead in leads) and too_few(most, judged):
            clauses.append(
                f"{most} {unit(leader)} are too few to tell {judged} configurations apart, "
                f"{seeds_to_tell(judged)} would show a difference of {LARGE:.0f} times their spread"
            )
    if dropped:
        clauses.append(f"the search dropped {names(comparison, dropped)}, by their first seeds")
    if equal:
        clauses.append(f"{names(comparison, equal)} reached exactly the same")
    if flat:
        clauses.append(f"on {names(comparison, flat)} nothing can be said: there is no spread to judge by")
    higher = [f"{comparison.name(g)} with one seed has {percent(g.mean)}" for g in single if g.mean > leader.mean]
    if higher:
        clauses.append(", ".join(higher[:NAMED]))
    lower = [g for g in single if not g.mean > leader.mean]
    if lower:
        clauses.append(f"{names(comparison, lower)} {'has' if len(lower) == 1 else 'have'} one seed")
    return clauses


def _single(comparison: Comparison, leader: Group, leads: Sequence[tuple[Group, Difference]]) -> str:
    """Where no two configurations have several seeds."""
    name, others = comparison.name(leader), [g for g, _ in leads]
    if leader.n > 1:
        clauses = "; ".join(_open(comparison, leader, leads))
        return f"{name} is the only one with several seeds: {_reached(leader)}; {clauses}."
    if all(lead.points == 0 for _, lead in leads):
        return f"{name} and {names(comparison, others)} reached the same: {percent(leader.mean)} of validation images."
    luck = "Whether that is luck can't be told from one seed each."
    return f"{name} is first with {percent(leader.mean)} of validation images. {luck}"


def _nobody(comparison: Comparison) -> str:
    if len(comparison.groups) == 1:
        return "Not all of its seeds ended well."
    return "Each configuration diverged on some of its seeds, so none wins."


def _missing(comparison: Comparison, group: Group) -> str:
    """`3 of 6 seeds of relu failed.`"""
    done = {run.replicate for run in group.ended}
    latest = {run.replicate: run.outcome for run in group.runs if run.replicate not in done}
    counts = Counter(outcome for outcome in latest.values() if outcome != Outcome.pruned)
    name, n = comparison.name(group), group.replicates
    if n == 1:
        return f"{name}: {next(iter(counts))}."
    what = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"{group.missing} of {n} {unit(group)} of {name} {'is' if group.missing == 1 else 'are'} missing ({what})."


def _some(sentences: Sequence[str], others: str) -> list[str]:
    more = len(sentences) - NAMED
    return [*sentences[:NAMED], *([f"{more} more configurations {others}."] if more > 0 else [])]


def _reached(group: Group) -> str:
    if group.n == 1:
        return f"{percent(group.mean)} of validation images"
    return f"{percent(group.mean)} ± {group.sd * 100:.2f} (n={group.n})"


def _rests_on(leader: Group, leads: Sequence[tuple[Group, Difference]]) -> str:
    """The n of the tests, where it is another than the leader's."""
    ns = sorted({lead.n for _, lead in leads})
    if ns == [leader.n]:
        return ""
    return f" (over {ns[0]} {unit(leader)})" if len(ns) == 1 else f" (over {ns[0]} to {ns[-1]} {unit(leader)})"


def _untested(lead: Difference) -> str:
    if lead.points == 0:
        return f"the same with n={lead.n}" if lead.n > 1 else "the same; one seed says nothing about luck"
    by = f"the leader is {_points(abs(lead.points))} points {'above' if lead.points > 0 else 'below'} it"
    why = "; one seed says nothing about luck" if lead.n < 2 else f" with n={lead.n}; no spread to judge by"
    return f"{by}{why}"


def _how_many(lead: Difference) -> str:
    """How many would tell just the difference that was seen: a confirmation looks for another one, and takes others."""
    needed, crossed = seeds_needed(lead), lead.test == "paired" and lead.df + 1 < lead.n
    if not lead.points:
        return "there is no difference to tell"
    seen = f"would tell the {_points(abs(lead.points))} points seen"
    if needed is None:
        return f"not even {MOST_SEEDS:,} seeds {seen}"
    return f"about {number_of(needed, 'seed')} {'and as many splits ' if crossed else ''}{seen}"


def _points(accuracy: float) -> str:
    return f"{accuracy * 100:.2f}"


def _all(comparison: Comparison, n: int) -> str:
    which = "" if all(g.n and not g.diverged for g in comparison.groups) else " without a diverged run"
    return f"the other{which and ' one' + which}" if n == 1 else f"all {n} others{which}"
