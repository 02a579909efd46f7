"""Conversion between dataclasses and plain values for YAML and JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import Field, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from lenet_exp.config.schema import ALWAYS

T = TypeVar("T")

WHOLE = (str, float, bool, NoneType)
OTHER = "other"  # name of the field that contains unknown keys
KEY = "stored_as"  # entry of a field's metadata; see `stored_as`
LATEST_MS = 10**14  # year 5138; Python's calendar ends in 9999


def to_plain(value: Any) -> Any:
    """Convert a dataclass, such as a configuration, to dicts, lists, strings, and numbers;
    `read_as` reverses this.

    The keys in the field `other` become keys of the dict.
    """
    if is_dataclass(value):
        found = {key_of(f): to_plain(getattr(value, f.name)) for f in fields(value)}
        return {**found.pop(OTHER, {}), **found}
    if isinstance(value, dict):
        return {key: to_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value.value if isinstance(value, Enum) else value


def read_as(kind: type[T], value: object) -> T:
    """Convert plain values, possibly from another release, to a dataclass or to a list of
    dataclasses.

    A missing flag of a configuration is set to its neutral value. A missing flag without a neutral
    value stays missing (`???`).

    Args:
        kind: type of the result.

    Raises:
        ValueError: a field without a default is missing, a value has the wrong type, or a timestamp
            is out of range.
    """
    try:
        return cast(T, _read(kind, value))
    except TypeError:
        raise ValueError(f"not a valid {kind.__name__}") from None


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
    origin, inner = get_origin(wanted), get_args(wanted)
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
    if (
        isinstance(value, str)
        and origin is None
        and issubclass(wanted, Enum)
        and value in list(wanted)
    ):
        return wanted(value)
    raise TypeError


def _read_one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _read(kind, value)
        except TypeError:
            continue
    raise TypeError


def stored_as(key: str, **options: Any) -> Any:
    """Declare a dataclass field whose key in stored files differs from its name.

    Args:
        key: key in the files, which earlier releases wrote, too.
        options: arguments of `dataclasses.field`, such as `default`.
    """
    return field(metadata={KEY: key}, **options)


def key_of(f: Field[Any]) -> str:
    """Return the key of a dataclass field in stored files."""
    return str(f.metadata.get(KEY, f.name))


@cache
def _fields(kind: Any) -> list[tuple[Field[Any], Any]]:
    """Return the fields of a dataclass, except `other`, with their types."""
    types = get_type_hints(kind)
    return [(f, types[f.name]) for f in fields(kind) if f.name != OTHER]


def _read_fields(kind: Any, values: dict[str, Any]) -> Any:
    arguments = {}
    for f, wanted in _fields(kind):
        key = key_of(f)
        value = values.get(key, MISSING)
        is_missing_value = value == MISSING

        if f.default_factory is wanted and is_missing_value:  # a section with its own flags
            arguments[f.name] = _read_fields(wanted, {})
        elif key not in values:
            if f.default is f.default_factory is dataclasses.MISSING:
                raise ValueError(f"not a valid {kind.__name__}: {key} is missing")
            if f.metadata.get("neutral", ALWAYS) is not ALWAYS:
                arguments[f.name] = f.metadata["neutral"]
        elif f.metadata and is_missing_value:  # a flag without a value
            continue
        else:
            arguments[f.name] = _read_field(kind, f, wanted, value)

    if OTHER in kind.__dataclass_fields__:
        keys = {key_of(f) for f, _ in _fields(kind)}
        arguments[OTHER] = {key: value for key, value in values.items() if key not in keys}
    return kind(**arguments)


def _read_field(kind: Any, f: Field[Any], wanted: Any, value: Any) -> Any:
    """Convert the value of a field.

    Raises:
        ValueError: the value has the wrong type, or is a timestamp out of range.
    """
    try:
        converted = _read(wanted, value)
        if f.name.endswith("_ms") and not 0 <= (value or 0) < LATEST_MS:
            raise TypeError
    except TypeError:
        raise ValueError(f"not a valid {kind.__name__}: {key_of(f)} is {value!r:.60}") from None
    return converted
