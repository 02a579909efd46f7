"""Functions that apply to all flags: their list, their values, conditions, and ranges."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from typing import Any, cast, get_type_hints

from lenet_exp.config.schema import Config


def all_flags(schema: type = Config) -> tuple[tuple[str, Any, Field[Any]], ...]:
    """Return all flags of a schema, each as a tuple (dotted name, type, dataclass field)."""
    return _all_flags(cast(Hashable, schema))


@cache  # a sweep calls this several times per job
def _all_flags(schema: Hashable) -> tuple[tuple[str, Any, Field[Any]], ...]:
    types = get_type_hints(schema)
    flags: list[tuple[str, Any, Field[Any]]] = []
    for field in fields(cast(type, schema)):
        kind = types[field.name]
        if is_dataclass(kind):
            for flag, kind_of_flag, field_of_flag in _all_flags(cast(Hashable, kind)):
                flags.append((f"{field.name}.{flag}", kind_of_flag, field_of_flag))
        else:
            flags.append((field.name, kind, field))
    return tuple(flags)


def value_of(config: Any, flag: str) -> Any:
    """Return the value of a flag.

    Args:
        config: a configuration, or its plain form (dicts).
        flag: dotted name of the flag, such as `optimizer.lr`.
    """
    value = config
    for part in flag.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def with_value(config: Any, flag: str, value: Any) -> Any:
    """Return a copy of a configuration, or of its plain form (dicts), with another value of a flag.

    Args:
        flag: dotted name of the flag, such as `optimizer.lr`.
    """
    first_part, _, rest = flag.partition(".")
    if rest:
        value = with_value(value_of(config, first_part), rest, value)

    if isinstance(config, dict):
        return {**config, first_part: value}
    return replace(config, **{first_part: value})


# Flags of release 0.3 that its stored sweeps and the user's own option files may still set.
REMOVED = ("dataset.shows", "sweep.margin", "sweep.webhook")


def without_removed(overrides: Sequence[str]) -> list[str]:
    """Return stored overrides without those of removed flags."""
    remaining = []
    for override in overrides:
        flag = override.lstrip("+~").partition("=")[0]
        if flag not in REMOVED:
            remaining.append(override)
    return remaining


def has_effect(config: Any, field: Field[Any]) -> bool:
    """Return whether a flag has an effect in a configuration.

    Args:
        field: field of the flag. Its condition is in `only_with`; see `result_flag`.
    """
    condition = field.metadata["only_with"]
    if condition is None:
        return True

    other_flag_name, _, required_value = condition.partition("=")
    value = value_of(config, other_flag_name)
    if required_value:
        return bool(value == required_value)

    other_field = next(field for name, _, field in all_flags() if name == other_flag_name)
    return bool(value != other_field.metadata["neutral"])


SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
WORDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}


def range_text(limits: dict[str, float | None], signs: dict[str, str] = SIGNS) -> str:
    """Format a range: `{"ge": 0, "lt": 1}` as `>= 0 and < 1`.

    A range without limits is an empty string.
    """
    parts = []
    for relation, bound in limits.items():
        if bound is not None:
            number = "2**63" if bound == 2**63 else f"{bound:g}"
            parts.append(f"{signs[relation]} {number}")
    return " and ".join(parts)


# Functions that check a value against a bound, by the relation that the value must have to it.
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}


def within(value: float, limits: dict[str, float | None]) -> bool:
    """Return whether a value is in a range.

    The result is False for infinity, NaN, and integers that are too large for a float.
    """
    if not abs(value) <= sys.float_info.max:  # this comparison is False for NaN
        return False
    for relation, bound in limits.items():
        if bound is not None and not _COMPARISONS[relation](value, bound):
            return False
    return True
