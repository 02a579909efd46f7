"""Describes the history of a search and the importance of its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_exp.amounts import number_of

if TYPE_CHECKING:
    from lenet_exp.comparison.search.summary import SearchSummary

IMPROVEMENTS = 8  # maximum number of improvements shown in a line


def search_lines(searched: SearchSummary) -> list[str]:
    """Return lines about a search: its history, the best trial's command, and the importance of
    flags, if known.
    """
    from lenet_exp.comparison.search.importance import (
        BEST,
        search_importance,
    )  # this module imports torch

    lines = []
    if steps := searched.improvements:
        shown = steps[-IMPROVEMENTS:]
        more = len(steps) - len(shown)
        before = f"{number_of(more, 'earlier improvement')}, then " if more else ""
        told = ", ".join(
            f"{value_words(searched, s.best)} after {number_of(s.epochs, 'epoch')}" for s in shown
        )
        waits = (
            f" ({searched.objective} to {searched.target:.2%})"
            if searched.target is not None
            else ""
        )
        lines.append(
            f"best so far{waits}: {before}{told}; {number_of(searched.epochs, 'epoch')} in total"
        )
    if (command := searched.best_command) is not None:
        lines.append(f"to train the best configuration, run: {command}")
    if importance := search_importance(searched):
        told = ", ".join(f"{flag} {share:.0%}" for flag, share in importance.items())
        trials = len(searched.ended)
        lines.append(
            f"importance of flags for the best {BEST:.0%} of {trials} trials (PED-ANOVA): {told}"
        )
    return lines


def value_words(searched: SearchSummary, value: float) -> str:
    """Format a value of a search's objective, such as `97.60%` or `loss 0.1234`."""
    if searched.is_metric:
        return searched.metric.text(value)
    return f"loss {value:.4g}" if searched.is_loss else f"{value:.4g}"


def objective_words(searched: SearchSummary) -> str:
    """Return the axis label for the objective of a search."""
    if searched.is_metric:
        return f"best validation {searched.metric.name}"
    return (
        "lowest validation loss"
        if searched.is_loss
        else f"{searched.objective} to {searched.target:.2%}"
    )
