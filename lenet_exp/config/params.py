"""What MLflow shows of a configuration: one param per flag, named as on the command line."""

from __future__ import annotations

from typing import Any

from lenet_exp.config.schema import has_effect, knobs

# Names of things and where results go, not settings of a run; the logged config.yaml has them.
_NOT_PARAMS = ("tracking", "sweep")
_NOT_SHOWN = {"_target_", "name", "monotone"}
# What defines a data set stands under its name; how it is used are settings.
_DATASET_SHOWN = {"val_size", "train_size"}


def params(config: dict[str, Any]) -> dict[str, str]:
    """Effective flags as strings, those without effect left out.

    Args:
        config: a plain one, as in a record; `momentum` is already dropped where the optimizer has none.
    """
    found = {group: str(config[group]["name"]) for group in ("dataset", "activation", "optimizer")}
    for key, value in config.items():
        if key in _NOT_PARAMS:
            continue
        if isinstance(value, dict):
            shown = _DATASET_SHOWN if key == "dataset" else value.keys() - _NOT_SHOWN
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k in shown}
        else:
            found[key] = text(value)
    mute = {flag for flag, _, f in knobs() if flag in found and not has_effect(config, f)}
    return {flag: value for flag, value in found.items() if flag not in mute}


def text(value: Any) -> str:
    """As one would write it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
