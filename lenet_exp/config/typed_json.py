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

SCALARS = (str, float, bool, NoneType)  # types of values that need no conversion
OTHER = "other"  # name of the field that contains unknown keys
KEY = "stored_as"  # entry of a field's metadata; see `stored_as`
LATEST_MS = 10**14  # year 5138; Python's calendar ends in 9999


def to_plain(value: Any) -> Any:
    """Convert a dataclass, such as a configuration, to dicts, lists, strings, and numbers.

    `read_as` reverses this. The keys in the field `other` become keys of the dict.
    """
    if is_dataclass(value):
        plain = {key_of(field): to_plain(getattr(value, field.name)) for field in fields(value)}
        unknown_keys = plain.pop(OTHER, {})
        return {**unknown_keys, **plain}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value


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


def _read(kind: Any, value: Any) -> Any:
    """Convert a plain value to the required type.

    Args:
        kind: required type, such as `float`, `list[str]`, `int | None`, an enum, or a dataclass.

    Raises:
        TypeError: the value has a different type.
        ValueError: a nested value is invalid.
    """
    # `type()` instead of `isinstance()`, because a bool is an instance of int.
    type_of_value = type(value)
    if kind is Any:
        return value
    if type_of_value is kind and kind in SCALARS:
        return value
    if type_of_value is int and kind in (int, float) and -(2**63) <= value < 2**63:
        return kind(value)

    origin = get_origin(kind)
    if origin is not None:
        return _read_generic(origin, get_args(kind), value)
    if type_of_value is dict and is_dataclass(kind):
        return _read_fields(kind, value)
    if isinstance(value, str) and issubclass(kind, Enum) and value in list(kind):
        return kind(value)
    raise TypeError


def _read_generic(origin: Any, arguments: tuple[Any, ...], value: Any) -> Any:
    """Convert a plain value to a type with arguments.

    Args:
        origin: type without its arguments: `dict` for `dict[str, int]`.
        arguments: arguments of the type: `(str, int)` for `dict[str, int]`.

    Raises:
        TypeError: the value has a different type.
    """
    type_of_value = type(value)
    if origin in (Union, UnionType):
        if type_of_value in SCALARS and type_of_value in arguments:
            return value
        return _read_one_of(arguments, value)
    if origin is list and type_of_value is list:
        return [_read(arguments[0], item) for item in value]
    if origin is tuple and type_of_value is list and len(value) == len(arguments):
        return tuple(map(_read, arguments, value))
    if origin is dict and type_of_value is dict:
        return {key: _read(arguments[1], item) for key, item in value.items()}
    raise TypeError


def _read_one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """Convert a plain value to the first of these types that it has."""
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


def key_of(dataclass_field: Field[Any]) -> str:
    """Return the key of a dataclass field in stored files."""
    return str(dataclass_field.metadata.get(KEY, dataclass_field.name))


@cache
def _fields(kind: Any) -> list[tuple[Field[Any], Any]]:
    """Return the fields of a dataclass, except `other`, with their types."""
    types = get_type_hints(kind)
    return [(f, types[f.name]) for f in fields(kind) if f.name != OTHER]


def _read_fields(kind: Any, values: dict[str, Any]) -> Any:
    """Convert a dict to a dataclass.

    Args:
        kind: the dataclass.
        values: plain values of the fields, by their keys in stored files.

    Raises:
        ValueError: a field without a default is missing, or a value is invalid.
    """
    arguments = {}
    keys = set()
    for f, type_of_field in _fields(kind):
        key = key_of(f)
        keys.add(key)
        value = values.get(key, MISSING)
        has_no_value = value == MISSING

        is_section = f.default_factory is type_of_field  # a dataclass with flags of its own
        if is_section and has_no_value:
            arguments[f.name] = _read_fields(type_of_field, {})
        elif key not in values:
            if f.default is f.default_factory is dataclasses.MISSING:
                raise ValueError(f"not a valid {kind.__name__}: {key} is missing")
            if f.metadata.get("neutral", ALWAYS) is not ALWAYS:
                arguments[f.name] = f.metadata["neutral"]
        elif f.metadata and has_no_value:  # a flag without a value
            continue
        else:
            arguments[f.name] = _read_field(kind, f, type_of_field, value)

    if OTHER in kind.__dataclass_fields__:
        arguments[OTHER] = {key: value for key, value in values.items() if key not in keys}
    return kind(**arguments)


def _read_field(kind: Any, f: Field[Any], type_of_field: Any, value: Any) -> Any:
    """Convert the value of a field.

    Raises:
        ValueError: the value has the wrong type, or is a timestamp out of range.
    """
    try:
        converted = _read(type_of_field, value)
        if f.name.endswith("_ms"):
            _check_timestamp(value)
    except TypeError:
        raise ValueError(f"not a valid {kind.__name__}: {key_of(f)} is {value!r:.60}") from None
    return converted


def _check_timestamp(value: int | None) -> None:
    """Check a time in milliseconds since 1970.

    Raises:
        TypeError: the time is before 1970 or after the end of Python's calendar.
    """
    if not 0 <= (value or 0) < LATEST_MS:
        raise TypeError
