"""Frozen dataclasses as JSON and back, whatever release wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config

T = TypeVar("T")
S = TypeVar("S", bound="Stored")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a file holds: keys that another release added are kept, those that an older one lacks have their default."""

    other: dict[str, Any] = field(default_factory=dict)


def stored_of(kind: type[S], value: Any) -> S:
    """Reads a `kind`; values of its fields are taken as they are.

    Raises:
        ValueError: it is none.
    """
    names = {f.name for f in fields(kind)} - {"other"}
    if not isinstance(value, dict):
        raise ValueError(f"no {kind.__name__}")
    found = dataclass_of(kind, {k: v for k, v in value.items() if k in names})
    found.other.update((k, v) for k, v in value.items() if k not in names)
    return found


def dataclass_of(kind: type[T], value: Any) -> T:
    """The same of a class that keeps no other keys."""
    try:
        return kind(**value)
    except TypeError as e:
        raise ValueError(f"no {kind.__name__}: {e}") from e


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
