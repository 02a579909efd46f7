"""Describes the history of a search and the importance of its flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lenet_exp.amounts import number_of

if TYPE_CHECKING:
    from lenet_exp.comparison.search.summary import SearchSummary

MOST_IMPROVEMENTS = 8  # maximum number of improvements shown in a line


def search_lines(search: SearchSummary) -> list[str]:
    """Return lines about a search: its history, the best trial's command, and the importance of
    flags, if known.
    """
    from lenet_exp.comparison.search.importance import search_importance  # imports torch

    lines = []
    if search.improvements:
        lines.append(_history_line(search))
    command = search.best_command
    if command is not None:
        lines.append(f"to train the best configuration, run: {command}")
    importance = search_importance(search)
    if importance:
        lines.append(_importance_line(search, importance))
    return lines


def _history_line(search: SearchSummary) -> str:
    """Describe how the best value improved.

    For example: `best so far: 60.00% after 2 epochs, 70.00% after 5 epochs; 6 epochs in total`.
    """
    steps = search.improvements
    latest = []
    for step in steps[-MOST_IMPROVEMENTS:]:
        epochs = number_of(step.epochs, "epoch")
        latest.append(f"{value_words(search, step.best)} after {epochs}")
    improvements = ", ".join(latest)
    num_earlier = len(steps) - len(latest)
    if num_earlier:
        improvements = f"{number_of(num_earlier, 'earlier improvement')}, then {improvements}"

    objective = ""
    if search.target is not None:
        objective = f" ({search.objective} to {search.target:.2%})"
    total = f"{number_of(search.epochs, 'epoch')} in total"
    return f"best so far{objective}: {improvements}; {total}"


def _importance_line(search: SearchSummary, importance: Mapping[str, float]) -> str:
    from lenet_exp.comparison.search.importance import BEST  # imports torch

    shares = ", ".join(f"{flag} {share:.0%}" for flag, share in importance.items())
    trials = f"the best {BEST:.0%} of {len(search.ended)} trials"
    return f"importance of flags for {trials} (PED-ANOVA): {shares}"


def value_words(search: SearchSummary, value: float) -> str:
    """Format a value of a search's objective, such as `97.60%` or `loss 0.1234`."""
    if search.is_metric:
        return search.metric.text(value)
    number = f"{value:.4g}"
    return f"loss {number}" if search.is_loss else number


def objective_words(search: SearchSummary) -> str:
    """Return the axis label for the objective of a search."""
    if search.is_metric:
        return f"best validation {search.metric.name}"
    if search.is_loss:
        return "lowest validation loss"
    return f"{search.objective} to {search.target:.2%}"
