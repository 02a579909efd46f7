"""What MLflow shows of a configuration: one param per flag, named as on the command line."""

from __future__ import annotations

from typing import Any

# Names of things and where results go, not settings of a run; the logged config.yaml has them.
_NOT_PARAMS = ("tracking", "sweep")
_NOT_SHOWN = {"_target_", "name", "class_names", "monotone"}


def params(config: dict[str, Any]) -> dict[str, str]:
    """Effective flags as strings; `config` is a plain one, as in a record (`momentum` already dropped where unused)."""
    found = {group: str(config[group]["name"]) for group in ("dataset", "activation", "optimizer")}
    for key, value in config.items():
        if key in _NOT_PARAMS:
            continue
        if isinstance(value, dict):
            found |= {f"{key}.{k}": text(v) for k, v in value.items() if k not in _NOT_SHOWN}
        else:
            found[key] = text(value)
    return found


def text(value: Any) -> str:
    """As one would write it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
