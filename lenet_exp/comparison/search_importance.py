"""Which searched flags tell the best trials from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lenet_exp.comparison.effects import number
from lenet_exp.comparison.searched import ABSENT, Searched, SearchedFlag, SearchedTrial
from lenet_exp.folders.records import Outcome

FEWEST = 10  # trials
BEST = 0.2  # of them that are held against all


@dataclass(frozen=True)
class Importance:
    """One flag.

    Attributes:
        share: from 0 to 1, together with the flags beside it 1.
        trials: among which it was a choice: all, or those of the options that have it.
    """

    flag: str
    share: float
    trials: int


def search_importance(searched: Searched) -> list[Importance]:
    """Of each searched flag, the highest first; empty where too few trials have ended, or without Optuna.

    PED-ANOVA (Watanabe, Bansal, Hutter 2023): how far the values of the best fifth are from those of all trials.
    It takes ranks, so that pruned trials count, too: behind the finished ones, those that came farther before the
    others, as a TPE sampler ranks them. Diverged ones are last. A flag that only some options have is judged among
    their trials.
    """
    try:
        import optuna
    except ImportError:
        return []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ended = [t for t in searched.trials if t.outcome in {Outcome.finished, Outcome.pruned, Outcome.diverged}]
    whole = [f for f in searched.flags if all(t.flags[f.name] != ABSENT for t in ended)]
    found = _shares(searched, ended, whole)
    for flag in searched.flags:
        if flag in whole:
            continue
        its = [t for t in ended if t.flags[flag.name] != ABSENT]
        beside = [f for f in searched.flags if all(t.flags[f.name] != ABSENT for t in its)]
        found += [i for i in _shares(searched, its, beside) if i.flag == flag.name]
    return sorted(found, key=lambda importance: -importance.share)


def _shares(searched: Searched, trials: Sequence[SearchedTrial], flags: Sequence[SearchedFlag]) -> list[Importance]:
    import optuna

    space = {flag.name: _distribution(flag, [t.flags[flag.name] for t in trials]) for flag in flags}
    space = {name: d for name, d in space.items() if d is not None}
    if len(trials) < FEWEST or not space:
        return []
    study = optuna.create_study(direction="maximize")
    ranked = sorted(trials, key=lambda t: _rank(searched, t))
    for rank, trial in enumerate(ranked):
        params = {name: _value(d, trial.flags[name]) for name, d in space.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(rank)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return [Importance(name, float(share), len(trials)) for name, share in shares.items() if not math.isnan(share)]


def _rank(searched: Searched, trial: SearchedTrial) -> tuple[int, int, float]:
    """The higher, the better."""
    if trial.outcome is Outcome.finished:
        return 2, 0, searched.better(trial.value)
    if trial.outcome is Outcome.pruned:
        return 1, trial.epochs, searched.better(trial.so_far)
    return 0, trial.epochs, 0.0


def _distribution(flag: SearchedFlag, values: Sequence[str]) -> Any:
    """Of what was drawn; None where that is one value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if len(set(values)) < 2:
        return None
    numbers = [number(value) for value in values]
    known = [n for n in numbers if n is not None]
    if flag.choice or len(known) < len(values):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(known), max(known), log=flag.log)


def _value(distribution: Any, text: str) -> object:
    from optuna.distributions import CategoricalDistribution

    return text if isinstance(distribution, CategoricalDistribution) else float(text)
