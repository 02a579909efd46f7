"""The classes that option files name by `_target_`: found, checked against their signature, and built.

A new activation or optimizer is one YAML file: `_target_`, keywords, and for an activation `monotone`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

import torch

from lenet_exp.config.schema import Option, within
from lenet_exp.errors import ConfigError, nearest

# Keywords that say how an optimizer's step is executed; the harness picks the fastest that the device has.
EXECUTION_KEYWORDS = {"foreach", "fused", "capturable", "differentiable"}


@cache
def find_class(target: str, base: type) -> type:
    """The class that a dotted path names.

    Raises:
        ConfigError: there is none, or it isn't a subclass of `base`.
    """
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as e:  # a module of a person's own may raise anything
        raise ConfigError(f"_target_={target}: can't be imported ({e})") from e
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"_target_={target}: has to be a subclass of {base.__module__}.{base.__qualname__}")
    return found


def keywords(group: str, option: Option) -> Option:
    """The keywords an option file hands to its class, checked; `momentum` is dropped where the class has none.

    Raises:
        ConfigError: `_target_` is missing, the class lacks a keyword, or a value has the wrong type.
    """
    cls = option_class(group, option)
    accepted = inspect.signature(cls).parameters
    skip = {"_target_", "name"} | ({"monotone"} if group == "activation" else set())
    found: Option = {}
    for key, value in option.items():
        if key in skip:
            continue
        if group == "optimizer" and key == "momentum" and key not in accepted:
            _checked("optimizer.momentum", value, 0.0)
            continue
        if key in EXECUTION_KEYWORDS | {"params"} or (group == "optimizer" and key == "weight_decay"):
            where = "regularization.weight_decay" if key == "weight_decay" else "the harness itself"
            raise ConfigError(f"{group}.{key}={value}: set by {where}")
        if key not in accepted:
            hint = nearest(key, accepted)
            raise ConfigError(
                f"{group}.{key}={value}: {cls.__name__} has no such keyword"
                + (f"; did you mean {hint}?" if hint else f"; it has {', '.join(k for k in accepted if k != 'params')}")
            )
        found[key] = _checked(f"{group}.{key}", value, accepted[key].default)
    return found


def option_class(group: str, option: Option) -> type:
    """The class of an `activation` or `optimizer` option."""
    target = option.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{group}: its option file has no _target_ (a dotted path to a class)")
    return find_class(target, torch.nn.Module if group == "activation" else torch.optim.Optimizer)


def option_name(option: Option) -> str:
    """The option's name as a person chose it; a file of one's own may leave it out."""
    return str(option.get("name") or str(option["_target_"]).rpartition(".")[2].lower())


def effective_keywords(group: str, option: Option) -> Option:
    """Those keywords that differ from the class's own defaults, numbers as floats: what can change the result."""
    accepted = inspect.signature(option_class(group, option)).parameters
    given = {key: _canonical(value) for key, value in keywords(group, option).items()}
    return {key: value for key, value in given.items() if value != _canonical(accepted[key].default)}


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return value
    return float(value) if isinstance(value, int | float) else [_canonical(v) for v in value]


def _checked(flag: str, value: Any, default: Any) -> Any:
    """`value` in the type of the keyword's default, where that tells the type."""
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int) and not within(number, {}):
            raise ConfigError(f"{flag}={value}: must be a finite number")
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{flag}={value}: must be true or false")
    elif isinstance(default, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{flag}={value}: must be a number")
        if not within(value, {}):
            raise ConfigError(f"{flag}={value}: must be a finite number")
        return value if isinstance(default, int) and isinstance(value, int) else float(value)
    elif isinstance(default, tuple):
        numbers = isinstance(value, Iterable) and not isinstance(value, str) and list(value)
        if not numbers or len(numbers) != len(default) or not all(_is_number(v) for v in numbers):
            raise ConfigError(f"{flag}={value}: must be {len(default)} numbers, as in [{', '.join(map(str, default))}]")
        return tuple(float(v) for v in numbers)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
