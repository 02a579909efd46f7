"""How the leader stands against another configuration, as short as a column is."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import Comparison
from lenet_exp.comparison.statistics import MOST_SEEDS, Difference, seeds_needed
from lenet_exp.comparison.words import unfinished, unit
from lenet_exp.folders.records import Outcome


def brief(comparison: Comparison, position: int) -> str:
    """`0.38 to 1.62 ahead`, `cannot be told: about 32 seeds for 0.41`, `diverged on 1 of 3 seeds`, in points;
    `pruned after epoch 2 at 88.10 %`."""
    group, lead = comparison.groups[position], comparison.lead(position)
    if group.replicates == 1 and not group.n:
        outcome = group.runs[-1].outcome
        return unfinished(group) if outcome == Outcome.pruned and len(group.runs) == 1 else outcome
    if group.diverged:
        return f"diverged on {group.diverged} of {group.replicates} {unit(group)}"
    said = []
    if group is comparison.leader:
        said.append("the leader" if len(comparison.groups) > 1 else "")
    elif lead is not None:
        said += ["the baseline"] if comparison.is_baseline(group) else []
        said.append(_against(lead))
        said += ["dropped by the search"] if comparison.is_dropped(group) else []
    said.append(unfinished(group))
    return "; ".join(filter(None, said))


def _against(lead: Difference) -> str:
    if lead.test == "none":
        if lead.points == 0:
            return "the same" if lead.n > 1 else "the same; one seed"
        size = f"leader {abs(lead.points) * 100:.2f} {'ahead' if lead.points > 0 else 'behind'}"
        return f"cannot be told: {'one seed' if lead.n < 2 else 'no spread'} ({size})"
    if lead.ahead:
        return f"{lead.low * 100:.2f} to {lead.high * 100:.2f} ahead"
    if lead.differs:
        return f"{-lead.high * 100:.2f} to {-lead.low * 100:.2f} behind"
    needed = seeds_needed(lead)
    many = f"over {MOST_SEEDS:,} seeds" if needed is None else f"about {number_of(needed, 'seed')}"
    return f"cannot be told: {many} for {abs(lead.points) * 100:.2f}"
