"""Dataclasses as plain values, fit for YAML and JSON, and back: configurations, and what the folders keep."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from lenet_exp.config.schema import ALWAYS, Config
from lenet_exp.files import Json

T = TypeVar("T")

OTHER = "other"  # a field of this name keeps the keys that are not known
LATEST_MS = 10**14  # in the year 5138; Python's calendar ends in 9999


def plain(config: Config) -> dict[str, Json]:
    """The configuration as dicts, lists, strings and numbers; `from_plain` and `compose.typed` read it back."""
    return cast(dict[str, Json], _plain_value(asdict(config)))


def from_plain(values: object) -> Config:
    """What `plain` gave, perhaps in another release.

    A flag that it lacks has its neutral value; one that has none stays missing (`???`), as do those that nobody set.

    Raises:
        ValueError: it is no configuration.
    """
    return read_as(Config, values)


def read_as(kind: type[T], value: object) -> T:
    """A dataclass with those in it, or a list of such, of plain values.

    Raises:
        ValueError: a field without a default is missing, or one has a value of another type, or is no time.
    """
    try:
        return cast(T, _read(kind, value))
    except TypeError:
        raise ValueError(f"no {kind.__name__}") from None


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(v) for v in value]
    return value.value if isinstance(value, Enum) else value


def _read(wanted: Any, value: Any) -> Any:
    """Raises:
    TypeError: it is of another type.
    ValueError: something in it is.
    """
    if wanted is Any or (type(value) is wanted and wanted in (str, float, bool, NoneType)):
        return value
    if wanted in (int, float) and type(value) is int and -(2**63) <= value < 2**63:
        return wanted(value)
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return _read_one_of(inner, value)
    if origin is list and isinstance(value, list):
        return [_read(inner[0], v) for v in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_read, inner, value))
    if origin is dict and isinstance(value, dict):
        return {k: _read(inner[1], v) for k, v in value.items()}
    if is_dataclass(wanted) and isinstance(value, dict):
        return _read_fields(wanted, value)
    if origin is None and issubclass(wanted, Enum) and value in [member.value for member in wanted]:
        return wanted(value)
    raise TypeError


def _read_one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _read(kind, value)
        except TypeError:
            continue
    raise TypeError


@cache
def _fields(kind: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """With their types."""
    types = get_type_hints(kind)
    return [(f, types[f.name]) for f in fields(kind)]


def _read_fields(kind: Any, values: dict[str, Any]) -> Any:
    found = {}
    for f, wanted in _fields(kind):
        value, neutral = values.get(f.name, MISSING), f.metadata.get("neutral", ALWAYS)
        if f.default_factory is wanted and value == MISSING:  # a section of flags
            found[f.name] = _read_fields(wanted, {})
        elif f.name in values and f.name != OTHER and not (value == MISSING and f.metadata):
            try:
                found[f.name] = _read(wanted, value)
                if f.name.endswith("_ms") and not 0 <= (value or 0) < LATEST_MS:
                    raise TypeError
            except TypeError:
                raise ValueError(f"no {kind.__name__}: {f.name} is {value!r:.60}") from None
        elif f.name not in values and neutral is not ALWAYS:
            found[f.name] = neutral
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"no {kind.__name__}: {f.name} is missing")
    if OTHER in kind.__dataclass_fields__:
        found[OTHER] = {name: value for name, value in values.items() if name not in found}
    return kind(**found)
