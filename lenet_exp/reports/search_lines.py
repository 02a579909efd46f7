"""A search in lines of text and as data: the history of its best, and what its flags matter."""

from __future__ import annotations

import math

from lenet_exp.amounts import number_of
from lenet_exp.comparison.search_importance import BEST, search_importance
from lenet_exp.comparison.searched import Searched
from lenet_exp.files import Json

IMPROVEMENTS = 8  # that a line tells of


def search_lines(searched: Searched) -> list[str]:
    """How the best came about, what trains it, and the flags by importance, where something is known of them."""
    steps = searched.improvements
    lines = []
    if steps:
        shown = steps[-IMPROVEMENTS:]
        before = f"{len(steps) - len(shown)} before, then " if len(shown) < len(steps) else ""
        told = ", ".join(f"{value_words(searched, s.best)} after {number_of(s.epochs, 'epoch')}" for s in shown)
        waits = f" ({searched.objective} to {searched.target:.2%})" if searched.target is not None else ""
        lines.append(f"best so far{waits}: {before}{told}; {number_of(searched.epochs, 'epoch')} in all")
    if (command := searched.best_command) is not None:
        lines.append(f"the best alone: {command}")
    importance = search_importance(searched)
    if importance:
        every = max(i.trials for i in importance)
        fewer = {
            i.flag: f" (of {number_of(i.trials, 'trial')} where it matters)" for i in importance if i.trials < every
        }
        told = ", ".join(f"{i.flag} {i.share:.0%}{fewer.get(i.flag, '')}" for i in importance)
        lines.append(f"what tells the best {BEST:.0%} of {every} trials from all (PED-ANOVA): {told}")
    return lines


def search_data(searched: Searched) -> dict[str, Json]:
    """The same for JSON, with every trial; None for what is not known."""
    return {
        "how": searched.how,
        "objective": searched.objective.value,
        "epochs": searched.epochs,
        "best_command": searched.best_command,
        "spent": {str(outcome): epochs for outcome, _, epochs in searched.spent},
        "history": [{"epochs": s.epochs, "best": _known(s.best), "named": s.named} for s in searched.steps],
        "importance": [vars(i) for i in search_importance(searched)],
        "trials": [
            {key: _known(value) if isinstance(value, float) else value for key, value in vars(t).items()}
            for t in searched.trials
        ],
    }


def value_words(searched: Searched, value: float) -> str:
    """A value of the objective: `97.60 %`, `loss 0.1234`."""
    if searched.is_accuracy:
        return f"{value * 100:.2f} %"
    return f"loss {value:.4g}" if searched.is_loss else f"{value:.4g}"


def objective_words(searched: Searched) -> str:
    """What the axis of the objective shows."""
    if searched.is_accuracy:
        return "best validation accuracy"
    return "least validation loss" if searched.is_loss else f"{searched.objective} to {searched.target:.2%}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
