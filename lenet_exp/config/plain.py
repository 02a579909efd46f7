"""A configuration as plain values, fit for YAML and JSON, and back."""

from __future__ import annotations

import types
from collections.abc import Hashable
from dataclasses import Field, asdict, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from lenet_exp.config.schema import ALWAYS, Config

T = TypeVar("T")


def plain(config: Config) -> dict[str, Any]:
    """The configuration as dicts, lists, strings and numbers; `from_plain` and `compose.typed` read it back."""
    return cast(dict[str, Any], _plain_value(asdict(config)))


def from_plain(values: object) -> Config:
    """What `plain` gave, perhaps in another release.

    A flag that it lacks has its neutral value; one that has none stays missing (`???`), as do those that nobody set.

    Raises:
        ValueError: it is no configuration.
    """
    return _built(Config, values, "")


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(v) for v in value]
    return value.value if isinstance(value, Enum) else value


def _built(schema: type[T], values: object, prefix: str) -> T:
    if not isinstance(values, dict):
        raise ValueError(f"no configuration: {prefix.rstrip('.') or 'it'} is {values!r}")
    found: dict[str, Any] = {}
    for f, kind in _typed_fields(cast(Hashable, schema)):
        name, value = f"{prefix}{f.name}", values.get(f.name, MISSING)
        if is_dataclass(kind):
            found[f.name] = _built(cast(type, kind), {} if value == MISSING else value, f"{name}.")
        elif f.name not in values:
            found[f.name] = MISSING if f.metadata["neutral"] is ALWAYS else f.metadata["neutral"]
        else:
            found[f.name] = value if value == MISSING else _value(kind, value, name)
    return schema(**found)


@cache
def _typed_fields(schema: Hashable) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(schema)
    return [(f, hints[f.name]) for f in fields(cast(type, schema))]


def _value(kind: Any, value: object, name: str) -> object:
    if get_origin(kind) in {types.UnionType, Union}:
        if value is None:
            return None
        (kind,) = (k for k in get_args(kind) if k is not type(None))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    base = get_origin(kind) or kind
    if not isinstance(value, base) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"no configuration: {name} is {value!r}")
    return value
