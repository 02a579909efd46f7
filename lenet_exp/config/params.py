"""MLflow params for a configuration: one per flag, named as on the command line."""

from __future__ import annotations

from omegaconf import MISSING

from lenet_exp.config.class_groups import CLASS_GROUPS, OWN_KEYS
from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config, has_effect, knobs
from lenet_exp.config.search import AT_THE_TOP

# Names and destinations, which are not settings of a run; the logged config.yaml contains them.
_NOT_PARAMS = ("tracking", "sweep", "search", *AT_THE_TOP)
# The dataset's name stands for its definition; these flags say how it is used.
_DATASET_SHOWN = {"val_size", "train_size"}


def params(config: Config) -> dict[str, str]:
    """Return the effective flags as strings, without flags that have no effect or that an older record lacks.

    Args:
        config: an effective configuration, such as a record contains.
    """
    options = {group: getattr(config, group) for group in CLASS_GROUPS}
    found = {"dataset": config.dataset.name} | {group: str(o["name"]) for group, o in options.items() if o}
    for key, value in plain(config).items():
        if key in _NOT_PARAMS:
            continue
        if isinstance(value, dict):
            shown = _DATASET_SHOWN if key == "dataset" else value.keys() - OWN_KEYS
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k in shown}
        else:
            found[key] = text(value)
    mute = {flag for flag, _, f in knobs() if flag in found and not has_effect(config, f)}
    return {flag: value for flag, value in found.items() if flag not in mute and value != MISSING}


def text(value: object) -> str:
    """Return a value as it is written on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """Return a list or dict as it is written on the command line."""
    return str(value).replace("'", "").replace(" ", "")
