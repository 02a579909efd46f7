"""What MLflow shows of a configuration: one param per flag, named as on the command line."""

from __future__ import annotations

from omegaconf import MISSING

from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config, has_effect, knobs
from lenet_exp.config.search import AT_THE_TOP

# Names of things and where results go, not settings of a run; the logged config.yaml has them.
_NOT_PARAMS = ("tracking", "sweep", "search", *AT_THE_TOP)
_NOT_SHOWN = {"_target_", "name", "monotone"}
# What defines a data set stands under its name; how it is used are settings.
_DATASET_SHOWN = {"val_size", "train_size"}


def params(config: Config) -> dict[str, str]:
    """Effective flags as strings, those without effect left out, and those that an older record lacks.

    Args:
        config: an effective one, as in a record.
    """
    found = {"dataset": config.dataset.name, "activation": str(config.activation["name"])}
    found["optimizer"] = str(config.optimizer["name"])
    for key, value in plain(config).items():
        if key in _NOT_PARAMS:
            continue
        if isinstance(value, dict):
            shown = _DATASET_SHOWN if key == "dataset" else value.keys() - _NOT_SHOWN
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k in shown}
        else:
            found[key] = text(value)
    mute = {flag for flag, _, f in knobs() if flag in found and not has_effect(config, f)}
    return {flag: value for flag, value in found.items() if flag not in mute and value != MISSING}


def text(value: object) -> str:
    """As one would write it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """A list or dict as one would write it there."""
    return str(value).replace("'", "").replace(" ", "")
