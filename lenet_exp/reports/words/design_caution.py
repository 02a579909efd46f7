"""Explains why the error rate of a verdict may not hold."""

from __future__ import annotations

from lenet_exp.amounts import number_of
from lenet_exp.comparison.design import Design
from lenet_exp.config.schema import EpochChoice


def design_caution(design: Design, by: EpochChoice = EpochChoice.best) -> str | None:
    """Return the reason why the stated error rate may not hold, or None if the design was fixed in
    advance.

    Args:
        by: the epoch whose accuracy is compared.
    """
    if design.has_added_seeds:
        return (
            "the 5% error rate may not hold, because sweep.within added seeds depending on "
            "results; compare each sweep in its outputs folder"
        )
    holds = "the 5% error rate holds only if"
    if design.filter:
        condition = "the filter was chosen before any result was seen"
        return f"{holds} {condition}; it selected {design.filter}"
    if design.has_no_digest:
        return f"{holds} sweep.json, which has no digest, was not edited"
    if design.retrained:
        return f"{holds} no result was seen before runs were retrained (sweep.force)"
    if by is EpochChoice.last and not design.confirms:
        return f"{holds} by=last was chosen before any result was seen"
    if design.sweeps > 1:
        return f"{holds} all {design.sweeps} sweeps were planned before any result was seen"
    if design.earlier_runs:
        older = f"{design.earlier_runs} of {design.runs} runs are older than this sweep"
        condition = "seeds and configurations were chosen before any result was seen"
        return f"{older}; {holds} {condition}"
    if design.earlier_sweeps:
        earlier = number_of(design.earlier_sweeps, "earlier sweep")
        others = f"{earlier} of the same configurations had other seeds"
        return f"{holds} all seeds are compared, but {others}"
    return None
