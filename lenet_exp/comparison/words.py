"""The comparison in words: who leads, by how much, and whether it can be luck."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.confirm import answer, confirmation
from lenet_exp.comparison.design import caution
from lenet_exp.comparison.group import Group
from lenet_exp.comparison.statistics import Difference, seeds_needed

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
    return f"can't be told apart with n={lead.n}; {_how_many(seeds_needed(lead))}"


def verdict(comparison: Comparison) -> str:
    """A few sentences: what won, whether it is luck, and whether the design was fixed before a look; of a sweep that
    confirms another, whether it has."""
    if (tested := confirmation(comparison)) is not None:
        return answer(comparison, tested)
    doubt = caution(comparison.design) if len(comparison.groups) > 1 else None
    return _ranking(comparison) + (f" But {doubt}." if doubt is not None else "")


def _ranking(comparison: Comparison) -> str:
    leader = comparison.leader
    if leader is None:
        return f"No run finished: {outcomes(comparison.groups)}."
    name = comparison.name(leader)
    reached = f"{percent(leader.mean)} of validation images"
    if leader.n > 1:
        reached = f"{percent(leader.mean)} ± {leader.sd * 100:.2f} (n={leader.n})"
    leads = [lead for _, lead in _pairs(comparison)]
    if not leads:
        return f"{name}: {reached}."
    beaten = [g for g, lead in _pairs(comparison) if lead.ahead]
    equal = [g for g, lead in _pairs(comparison) if not lead.ahead]
    if not equal:
        return f"{name} wins: {reached}, ahead of {_all(len(beaten))}."
    first = f"{name} is first with {reached}"
    if all(lead.test == "none" for lead in leads):
        return f"{first}. Whether that is luck {_why_untested(comparison)}."
    ahead = f", ahead of {len(beaten)} of {len(leads)} others" if beaten else ""
    named = ", ".join(comparison.name(g) for g in equal[:NAMED])
    more = f" and {len(equal) - NAMED} more" if len(equal) > NAMED else ""
    return f"{first}{ahead}; it can't be told apart from {named}{more}."


def next_step(comparison: Comparison) -> str | None:
    """What to run to know more; None where all is told apart."""
    if (tested := confirmation(comparison)) is not None:
        return "the same line goes on with what is missing" if tested.missing else None
    open_leads = [lead for _, lead in _pairs(comparison) if not lead.ahead]
    if not open_leads:
        return None
    if all(lead.test == "none" for lead in open_leads):
        return "several seeds would tell, five for instance: 'seed=range(5)'"
    needed = seeds_needed(max((d for d in open_leads if d.test != "none"), key=lambda d: abs(d.points) / d.spread))
    if needed is None:
        return "their difference, if there is any, is too small for 1,000 seeds"
    return f"about {needed} seeds would tell the widest of these gaps, if it is what it seems: 'seed=range({needed})'"


def outcomes(groups: Sequence[Group]) -> str:
    """`5 finished, 1 diverged`."""
    counts: dict[str, int] = {}
    for group in groups:
        for outcome, n in group.outcomes.items():
            counts[outcome] = counts.get(outcome, 0) + n
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items())


def _pairs(comparison: Comparison) -> list[tuple[Group, Difference]]:
    return [(g, lead) for g, lead in zip(comparison.groups, comparison.leads, strict=True) if lead is not None]


def _untested(lead: Difference) -> str:
    if lead.n < 2:
        return f"{_ahead_or_equal(lead)}; one seed says nothing about luck"
    if lead.points == 0:
        return f"the same with n={lead.n}"
    return f"{_ahead_or_equal(lead)} with n={lead.n}; no spread to judge by"


def _ahead_or_equal(lead: Difference) -> str:
    return (
        "equal" if lead.points == 0 else f"{_points(abs(lead.points))} points {'more' if lead.points > 0 else 'less'}"
    )


def _why_untested(comparison: Comparison) -> str:
    one = all(lead.n < 2 for _, lead in _pairs(comparison))
    return "can't be told from one seed each" if one else "can't be told: there is no spread to judge by"


def _how_many(needed: int | None) -> str:
    return "not even 1,000 seeds would do" if needed is None else f"about {needed} seeds would do"


def _points(accuracy: float) -> str:
    return f"{accuracy * 100:.2f}"


def _all(n: int) -> str:
    return "the other" if n == 1 else f"all {n} others"
