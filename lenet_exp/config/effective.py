"""The effective configuration, for records and comparisons."""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.addresses import frozen_uri
from lenet_exp.config.schema import Config, Option
from lenet_exp.config.targets import keywords, option_name


def effective(config: Config) -> Config:
    """Return the configuration without keywords that have no effect (`momentum` under Adam) and without passwords."""
    return replace(
        config,
        activation=_acting("activation", config.activation),
        optimizer=_acting("optimizer", config.optimizer),
        tracking=replace(config.tracking, uri=frozen_uri(config.tracking.uri)),
    )


def _acting(group: str, option: Option) -> Option:
    used = {*keywords(group, option), "_target_", "monotone"}
    return {"name": option_name(option)} | {k: v for k, v in option.items() if k in used}
