"""The configuration as it acts, for records and comparisons."""

from __future__ import annotations

from typing import Any

from lenet_exp.addresses import frozen_uri
from lenet_exp.config.compose import plain
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import keywords, option_name


def effective(config: Config) -> dict[str, Any]:
    """The plain configuration as it acts: flags without effect (`momentum` under Adam) left out, no password in it."""
    values = plain(config)
    for group in ("activation", "optimizer"):
        option = values[group]
        used = keywords(group, option)
        values[group] = {"name": option_name(option)} | {
            k: v for k, v in option.items() if k in used or k in {"_target_", "monotone"}
        }
    values["tracking"]["uri"] = frozen_uri(values["tracking"]["uri"])
    return values
