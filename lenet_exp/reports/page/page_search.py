"""What the page of a search draws besides: the history of its best, each trial, importance, and what it spent."""

from __future__ import annotations

import math

from lenet_exp.comparison.search_importance import BEST, search_importance
from lenet_exp.comparison.searched import Searched, SearchedTrial
from lenet_exp.files import Json
from lenet_exp.reports.search_lines import objective_words, value_words
from lenet_exp.reports.terminal.leaderboard import short

DIGITS = 5


def search_page_data(searched: Searched) -> dict[str, Json]:
    """Of one data set's part of a search; None for what is not known."""
    best = searched.best
    importance = search_importance(searched)
    spent = searched.spent
    return {
        "how": searched.how,
        "objective": objective_words(searched),
        "percent": searched.is_accuracy,
        "loss": searched.is_loss,
        "more": searched.is_accuracy,
        "epochs": searched.epochs,
        "spent": [{"outcome": str(outcome), "runs": runs, "epochs": epochs} for outcome, runs, epochs in spent],
        "history": [
            {"epochs": s.epochs, "best": s.best, "named": s.named, "said": value_words(searched, s.best)}
            for s in searched.steps
            if math.isfinite(s.best)
        ],
        "best": best.number if best is not None else None,
        "flags": [{"name": f.name, "short": short(f.name), "choice": f.choice, "log": f.log} for f in searched.flags],
        "trials": [_trial(searched, trial) for trial in searched.trials],
        "runs": [
            {
                "trial": run.trial,
                "name": run.name,
                "outcome": str(run.outcome),
                "y": [round(y, DIGITS) if math.isfinite(y) else None for y in run.curve],
            }
            for run in searched.runs
        ],
        "importance": [
            {"flag": i.flag, "share": i.share, "said": f"{i.share:.0%}", "trials": i.trials} for i in importance
        ],
        "told": f"{BEST:.0%}",
    }


def _trial(searched: Searched, trial: SearchedTrial) -> dict[str, Json]:
    value = trial.value if not math.isnan(trial.value) else trial.so_far
    return {
        "number": trial.number,
        "name": trial.name,
        "flags": trial.flags,
        "outcome": str(trial.outcome),
        "value": value if math.isfinite(value) else None,
        "said": value_words(searched, value) if math.isfinite(value) else "-",
        "epochs": trial.epochs,
    }
