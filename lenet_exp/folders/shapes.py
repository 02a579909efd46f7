"""Whether what a JSON file holds has the types of the dataclass that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_fields(kind: type, values: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: a field without a default is missing, or one has a value of another type, or is no time.
    """
    for f in fields(kind):
        if f.name not in values:
            if f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"no {kind.__name__}: {f.name} is missing")
        elif not _fits(values[f.name], _types(kind)[f.name]) or not _is_time(f.name, values[f.name]):
            raise ValueError(f"no {kind.__name__}: {f.name} is {values[f.name]!r:.60}")


PLAIN = (int, str, float, bool)
LATEST_MS = 10**14  # in the year 5138; Python's calendar ends in 9999


def _is_time(name: str, value: Any) -> bool:
    """Of a field in milliseconds since 1970, whether that is a time."""
    return not name.endswith("_ms") or value is None or 0 <= value < LATEST_MS


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _parts(wanted: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(wanted), get_args(wanted)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any or (type(value) is wanted and wanted in PLAIN):
        return wanted is not int or -(2**63) <= value < 2**63
    origin, inner = _parts(wanted)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if wanted in (None, NoneType):
        return value is None
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, inner[1]) for v in value.values())
    if is_dataclass(wanted):
        return isinstance(value, dict | wanted)
    if issubclass(wanted, Enum):
        return isinstance(value, str)
    if isinstance(value, bool) or wanted is bool:
        return isinstance(value, bool) and wanted is bool
    if wanted is float:  # a whole one may be written as an integer
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, wanted)
