"""Conversion between dataclasses and plain values for YAML and JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from lenet_exp.config.schema import ALWAYS, Config
from lenet_exp.files import Json

T = TypeVar("T")

WHOLE = (str, float, bool, NoneType)
OTHER = "other"  # name of the field that contains unknown keys
LATEST_MS = 10**14  # year 5138; Python's calendar ends in 9999


def plain(config: Config) -> dict[str, Json]:
    """Convert a configuration to dicts, lists, strings, and numbers; `from_plain` and `compose.typed` reverse this."""
    return cast(dict[str, Json], _plain_value(asdict(config)))


def from_plain(values: object) -> Config:
    """Convert plain values, possibly from another release, to a configuration.

    A missing flag is set to its neutral value. A missing flag without a neutral value stays missing (`???`).

    Raises:
        ValueError: the values do not describe a configuration.
    """
    return read_as(Config, values)


def read_as(kind: type[T], value: object) -> T:
    """Convert plain values to a dataclass, including nested dataclasses, or to a list of dataclasses.

    Args:
        kind: type of the result.

    Raises:
        ValueError: a field without a default is missing, a value has the wrong type, or a timestamp is out of range.
    """
    try:
        return cast(T, _read(kind, value))
    except TypeError:
        raise ValueError(f"not a valid {kind.__name__}") from None


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(v) for v in value]
    return value.value if isinstance(value, Enum) else value


def _read(wanted: Any, value: Any) -> Any:
    """Convert a plain value to the required type.

    Raises:
        TypeError: the value has a different type.
        ValueError: a nested value is invalid.
    """
    kind = type(value)
    if wanted is Any or (kind is wanted and kind in WHOLE):
        return value
    if kind is int and wanted in (int, float) and -(2**63) <= value < 2**63:
        return wanted(value)
    origin, inner = _parts(wanted)
    if origin in (Union, UnionType):
        return value if kind in WHOLE and kind in inner else _read_one_of(inner, value)
    if origin is list and kind is list:
        return [_read(inner[0], v) for v in value]
    if origin is tuple and kind is list and len(value) == len(inner):
        return tuple(map(_read, inner, value))
    if origin is dict and kind is dict:
        return {k: _read(inner[1], v) for k, v in value.items()}
    if kind is dict and is_dataclass(wanted):
        return _read_fields(wanted, value)
    if isinstance(value, str) and origin is None and issubclass(wanted, Enum) and value in list(wanted):
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
def _parts(wanted: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(wanted), get_args(wanted)


@dataclass(frozen=True)
class _Field:
    """Properties of a dataclass field, computed once.

    Attributes:
        section: whether the field is a section with its own flags.
        flag: whether the field is a flag, which can be missing (`???`).
        neutral: neutral value of the flag, used if the flag is missing; ALWAYS if it has no neutral value.
        needed: whether the field has no default.
        time: whether the field is a timestamp in milliseconds since 1970.
    """

    name: str
    kind: Any
    section: bool
    flag: bool
    neutral: Any
    needed: bool
    time: bool


@cache
def _fields(kind: Any) -> list[_Field]:
    types, found = get_type_hints(kind), []
    for f in fields(kind):
        wanted, needed = types[f.name], f.default is f.default_factory is dataclasses.MISSING
        section, neutral = f.default_factory is wanted, f.metadata.get("neutral", ALWAYS)
        found.append(_Field(f.name, wanted, section, bool(f.metadata), neutral, needed, f.name.endswith("_ms")))
    return [field for field in found if field.name != OTHER]


def _read_fields(kind: Any, values: dict[str, Any]) -> Any:
    found = {}
    for f in _fields(kind):
        value = values.get(f.name, MISSING)
        if f.section and value == MISSING:
            found[f.name] = _read_fields(f.kind, {})
        elif f.name not in values:
            if f.needed:
                raise ValueError(f"not a valid {kind.__name__}: {f.name} is missing")
            if f.neutral is not ALWAYS:
                found[f.name] = f.neutral
        elif not (f.flag and value == MISSING):
            try:
                found[f.name] = _read(f.kind, value)
                if f.time and not 0 <= (value or 0) < LATEST_MS:
                    raise TypeError
            except TypeError:
                raise ValueError(f"not a valid {kind.__name__}: {f.name} is {value!r:.60}") from None
    if OTHER in kind.__dataclass_fields__:
        found[OTHER] = {name: value for name, value in values.items() if name not in found}
    return kind(**found)
