"""The importance of searched flags: how well they separate the best trials from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lenet_exp.comparison.effects import number
from lenet_exp.comparison.group import ABSENT
from lenet_exp.comparison.search.flags import SearchedFlag
from lenet_exp.comparison.search.summary import SearchedTrial, SearchSummary
from lenet_exp.folders.records import Outcome

MIN_TRIALS = 10  # minimum number of ended trials
BEST = 0.2  # fraction of trials that count as the best trials


def search_importance(searched: SearchSummary) -> dict[str, float]:
    """Return the importance of each searched flag that all trials have, keyed by flag, most
    important flag first.

    The values are from 0 to 1 and add up to 1. The dictionary is empty if too few trials have ended
    or Optuna is not installed.

    PED-ANOVA (Watanabe, Bansal, Hutter 2023) compares the values in the best fifth of the trials
    with the values in all trials. The method uses ranks, so pruned trials can be included. As in
    the TPE sampler, they rank below finished trials and are ordered by their number of epochs.
    Diverged trials rank last.
    """
    try:
        import optuna
    except ImportError:
        return {}

    trials = searched.ended
    space = {}
    for flag in searched.flags:
        distribution = _distribution(flag, [trial.flags[flag.name] for trial in trials])
        if distribution is not None:
            space[flag.name] = distribution
    if len(trials) < MIN_TRIALS or not space:
        return {}

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    worst_first = sorted(trials, key=lambda trial: _rank(searched, trial))
    for position, trial in enumerate(worst_first):
        params = {}
        for name, distribution in space.items():
            params[name] = _parameter(trial.flags[name], distribution)
        ranked_trial = optuna.trial.create_trial(
            params=params, distributions=space, value=float(position)
        )
        study.add_trial(ranked_trial)

    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items() if not math.isnan(share)}


def _rank(searched: SearchSummary, trial: SearchedTrial) -> tuple[int, int, float]:
    """Return a sort key that is higher for better trials."""
    if trial.outcome is Outcome.finished:
        return 2, 0, searched.better(trial.value)
    if trial.outcome is Outcome.pruned:
        return 1, trial.epochs, searched.better(trial.so_far)
    return 0, trial.epochs, 0.0


def _distribution(flag: SearchedFlag, values: Sequence[str]) -> Any:
    """Return Optuna's distribution for a flag's values.

    Return None if the flag has only one value or some trials lack the flag.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    different_values = set(values)
    if len(different_values) < 2 or ABSENT in different_values:
        return None

    numbers = [value for value in map(number, values) if value is not None]
    all_are_numbers = len(numbers) == len(values)
    if flag.choice or not all_are_numbers:
        return CategoricalDistribution(sorted(different_values))
    return FloatDistribution(min(numbers), max(numbers), log=flag.log)


def _parameter(value: str, distribution: Any) -> str | float:
    """Return a flag's value in the type of its Optuna distribution."""
    is_categorical = hasattr(distribution, "choices")
    return value if is_categorical else float(value)
