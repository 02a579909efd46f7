"""The flags that configure a search. Setting them outside a search is an error."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from lenet_exp.config.flags import all_flags, value_of
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError

BUDGETS = ("n_trials", "max_epochs", "max_seconds")
AT_THE_TOP = (*BUDGETS, "seeds", "confirm")
FLAGS = (*AT_THE_TOP, "search.")
SWEEPER = "hydra/sweeper=search"

# The flags `sweep.*` that apply only to grids.
GRID_FLAGS = (
    "zip",
    "skip",
    "confirms",
    "points",
    "against",
    "within",
    "most_seeds",
    "force",
    "resume",
)


def check_no_search(config: Config) -> None:
    """Check that a configuration outside a search sets no search flags.

    Raises:
        ConfigError: a search flag is set.
    """
    for flag, neutral in _neutral_values():
        value = value_of(config, flag)
        if flag == "max_seconds" and config.sweep.within is not None:
            continue  # it limits the time in which seeds are added
        if value != neutral:
            raise ConfigError(
                f"{flag}={value}: needs a search; "
                f"run: lenet-train -m {SWEEPER} {flag}={value} ...{_or_with_grid(flag, value)}"
            )


def _or_with_grid(flag: str, value: object) -> str:
    """Return the end of a message, which says how to do the same with a grid, if that is
    possible.
    """
    if flag == "confirm":
        return f" or, after a grid: lenet-compare confirm={value}"
    if flag == "max_seconds":
        return " or set sweep.within"
    if flag == "seeds":
        return f" or: 'seed=range({value})'"
    return ""


def without_search(composed: DictConfig) -> DictConfig:
    """Reset all search flags in a composed configuration, because trials have none.

    The configuration is changed and returned.
    """
    for flag, neutral in _neutral_values():
        OmegaConf.update(composed, flag, neutral, merge=False)
    return composed


def _neutral_values() -> list[tuple[str, Any]]:
    """Return each search flag with its value outside a search."""
    neutral_values = []
    for flag, _, field in all_flags():
        if flag.startswith(FLAGS):
            neutral_values.append((flag, field.metadata["neutral"]))
    return neutral_values


def is_of_search(override: str) -> bool:
    """Return whether an override configures the search rather than its trials."""
    return override.lstrip("+~").startswith(FLAGS)
