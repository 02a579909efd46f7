"""A configuration as plain values, fit for YAML and JSON, and back."""

from __future__ import annotations

import types
from collections.abc import Hashable
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from lenet_exp.config.schema import ALWAYS, Config
from lenet_exp.files import Json

T = TypeVar("T")


def plain(config: Config) -> dict[str, Json]:
    """The configuration as dicts, lists, strings and numbers; `from_plain` and `compose.typed` read it back."""
    return cast(dict[str, Json], _plain_value(asdict(config)))


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


@dataclass(frozen=True)
class _Flag:
    """A field of a schema, looked at once: `kind` without `None`, its class, and whether it may be null."""

    name: str
    neutral: Any
    kind: Any
    base: type
    section: bool
    optional: bool


@cache
def _flags(schema: Hashable) -> list[_Flag]:
    hints, found = get_type_hints(schema), []
    for f in fields(cast(type, schema)):
        kind, optional = hints[f.name], False
        if get_origin(kind) in {types.UnionType, Union}:
            (kind,), optional = (k for k in get_args(kind) if k is not type(None)), True
        neutral = f.metadata.get("neutral", ALWAYS)
        found.append(_Flag(f.name, neutral, kind, get_origin(kind) or kind, is_dataclass(kind), optional))
    return found


def _built(schema: type[T], values: object, prefix: str) -> T:
    if not isinstance(values, dict):
        raise ValueError(f"no configuration: {prefix.rstrip('.') or 'it'} is {values!r}")
    found: dict[str, Any] = {}
    for flag in _flags(cast(Hashable, schema)):
        value = values.get(flag.name, MISSING)
        if flag.section:
            found[flag.name] = _built(flag.kind, {} if value == MISSING else value, f"{prefix}{flag.name}.")
        elif flag.name not in values:
            found[flag.name] = MISSING if flag.neutral is ALWAYS else flag.neutral
        elif type(value) is flag.base or (value is None and flag.optional) or value == MISSING:
            found[flag.name] = value
        else:
            found[flag.name] = _converted(flag, value, prefix)
    return schema(**found)


def _converted(flag: _Flag, value: object, prefix: str) -> object:
    if issubclass(flag.base, Enum):
        return flag.kind(value)
    if flag.base is float and type(value) is int:
        return float(value)
    raise ValueError(f"no configuration: {prefix}{flag.name} is {value!r}")
