"""How much each flag matters to a model that predicts the accuracy of configurations that were not tried, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lenet_exp.comparison.effects import number
from lenet_exp.comparison.group import Group
from lenet_exp.errors import ConfigError

FEWEST = 4  # configurations


def importance(groups: Sequence[Group], flags: Sequence[str]) -> dict[str, float]:
    """Of each flag, from 0 to 1, together 1; empty where there is nothing to learn from.

    Optuna's fANOVA over the groups' means (Hutter, Hoos, Leyton-Brown 2014, An efficient approach for assessing
    hyperparameter importance).

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as e:
        raise ConfigError("importance=true needs Optuna: pip install 'lenet_exp[importance]'") from e
    groups = [g for g in groups if g.n]
    if len(groups) < FEWEST or not flags or len({g.mean for g in groups}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {flag: _distribution([g.flags.get(flag, "-") for g in groups]) for flag in flags}
    study = optuna.create_study(direction="maximize")
    for g in groups:
        values = {
            flag: float(g.flags[flag])
            if isinstance(d, optuna.distributions.FloatDistribution)
            else g.flags.get(flag, "-")
            for flag, d in space.items()
        }
        study.add_trial(optuna.trial.create_trial(params=values, distributions=space, value=g.mean))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=16, max_depth=8, seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(values: Sequence[str]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [number(v) for v in values]
    known = [n for n in numbers if n is not None]
    if len(known) < len(values) or len(set(known)) <= 2:
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(known), max(known), log=min(known) > 0 and max(known) / min(known) > 20)
