"""Checks the flags of a search, before its configurations are composed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lenet_exp.config.check import check_ranges
from lenet_exp.config.metric import Metric
from lenet_exp.config.schema import Config, Cost, Objective, PrunerName, SamplerName, Search
from lenet_exp.config.search import BUDGETS, GRID_FLAGS
from lenet_exp.config.space import Flag
from lenet_exp.errors import ConfigError


def check_search_flags(config: Config, searched_flags: Sequence[Flag]) -> None:
    """Check the flags of a search.

    Args:
        config: configuration without the searched flags.

    Raises:
        ConfigError: a flag is invalid, or contradicts another flag.
    """
    _check_budgets(config)
    _check_no_grid_flags(config)
    _check_objective(config, searched_flags)
    _check_target(config)
    _check_seeds(config)
    _check_confirm(config)


def with_possible_pruner(search: Search) -> Search:
    """Disable the default pruner if the search has two objectives, which Optuna's pruners do not
    support.

    Raises:
        ConfigError: a pruner other than the default is set for two objectives.
    """
    if search.objective is not Objective.front or search.pruner is PrunerName.none:
        return search
    if search.pruner is not PrunerName.asha:  # asha is the default
        raise ConfigError(
            f"search.pruner={search.pruner}: must be none with search.objective=front"
        )
    return replace(search, pruner=PrunerName.none)


def _check_budgets(config: Config) -> None:
    has_budget = any(getattr(config, budget) is not None for budget in BUDGETS)
    if not has_budget and config.search.sampler is not SamplerName.grid:
        raise ConfigError(
            "hydra/sweeper=search: no budget; set n_trials=, max_epochs=, or max_seconds="
        )
    check_ranges(config)


def _check_no_grid_flags(config: Config) -> None:
    for flag in GRID_FLAGS:
        value = getattr(config.sweep, flag)
        if value not in (None, False, []):
            raise ConfigError(f"sweep.{flag}={value}: not available in a search; remove this flag")


def _check_objective(config: Config, searched_flags: Sequence[Flag]) -> None:
    objective = config.search.objective
    metric = Metric.of(config.metric)
    if not metric.is_accuracy and objective is not Objective.accuracy:
        raise ConfigError(
            f"search.objective={objective}: must be accuracy, which stands for metric={metric.name}"
        )
    if objective is Objective.loss:
        groups = {flag.name.partition(".")[0] for flag in searched_flags}
        if "loss" in groups:
            raise ConfigError("search.objective=loss: must be accuracy in a search over the loss")


def _check_target(config: Config) -> None:
    objective = config.search.objective
    target = config.search.target
    needs_target = objective in {Objective.epochs, Objective.seconds}
    if needs_target and target is None:
        raise ConfigError(
            f"search.objective={objective}: requires a target accuracy; "
            "for example, add search.target=0.98"
        )
    if not needs_target and target is not None:
        raise ConfigError(f"search.target={target:g}: requires search.objective=epochs or seconds")
    if config.search.cost is not Cost.seconds and objective is not Objective.front:
        raise ConfigError(f"search.cost={config.search.cost}: requires search.objective=front")


def _check_seeds(config: Config) -> None:
    if config.seeds > 1 and config.search.objective not in {Objective.accuracy, Objective.loss}:
        raise ConfigError(
            f"seeds={config.seeds}: must be 1 unless search.objective is accuracy or loss"
        )


def _check_confirm(config: Config) -> None:
    if config.confirm is None:
        return
    flag = f"confirm={config.confirm:g}"
    Metric.of(config.metric).require_points(flag)
    if config.seeds == 1:
        raise ConfigError(f"{flag}: requires several seeds per configuration, for example seeds=5")
    if config.search.objective is not Objective.accuracy:
        raise ConfigError(f"{flag}: requires search.objective=accuracy")
