"""Frozen dataclasses as JSON and back, whatever release wrote it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lenet_exp.config.plain import from_plain, plain
from lenet_exp.config.schema import Config

T = TypeVar("T")

LATEST_MS = 10**14  # in the year 5138; Python's calendar ends in 9999


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a file holds: keys that another release added are kept, those that an older one lacks have their default."""

    other: dict[str, Any] = field(default_factory=dict)


def stored_of(kind: type[T], value: Any) -> T:
    """Reads a dataclass, with those in it, or a list of such.

    Raises:
        ValueError: a field without a default is missing, or one has a value of another type, or is no time.
    """
    try:
        return _read(kind, value)  # type: ignore[no-any-return]
    except TypeError:
        raise ValueError(f"no {kind.__name__}") from None


def to_json(value: Any) -> Any:
    """As the file holds it."""
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, Config):
        return plain(value)
    if not is_dataclass(value):
        return value
    found = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    return {**found.pop("other", {}), **found}


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """By name: the type, and whether it has to be there."""
    types = get_type_hints(kind)
    known = [f for f in fields(kind) if f.name != "other"]
    return {f.name: (types[f.name], f.default is MISSING and f.default_factory is MISSING) for f in known}


def _read(wanted: Any, value: Any) -> Any:
    """Raises:
    TypeError: it is of another type.
    ValueError: something in it is.
    """
    if wanted is Any or (type(value) is wanted and wanted in (str, float, bool, NoneType)):
        return value
    if wanted in (int, float) and type(value) is int and -(2**63) <= value < 2**63:  # a whole number may be a float
        return value
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return _read_one_of(inner, value)
    if origin is list and isinstance(value, list):
        return [_read(inner[0], v) for v in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(map(_read, inner, value))
    if origin is dict and isinstance(value, dict):
        return {k: _read(inner[1], v) for k, v in value.items()}
    if wanted is Config:
        return from_plain(value)
    if is_dataclass(wanted) and isinstance(value, dict):
        return _read_fields(wanted, value)  # type: ignore[arg-type]
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


def _read_fields(kind: type[T], value: dict[str, Any]) -> T:
    found = {}
    for name, (wanted, needed) in _fields(kind).items():
        if name in value:
            try:
                found[name] = _read(wanted, value[name])
                if name.endswith("_ms") and not 0 <= (found[name] or 0) < LATEST_MS:
                    raise TypeError
            except TypeError:
                raise ValueError(f"no {kind.__name__}: {name} is {value[name]!r:.60}") from None
        elif needed:
            raise ValueError(f"no {kind.__name__}: {name} is missing")
    if issubclass(kind, Stored):
        found["other"] = {k: v for k, v in value.items() if k not in found}
    return kind(**found)
