"""Frozen dataclasses as JSON and back, whatever release wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config
from lenet_exp.folders.shapes import check_fields

T = TypeVar("T")
S = TypeVar("S", bound="Stored")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a file holds: keys that another release added are kept, those that an older one lacks have their default."""

    other: dict[str, Any] = field(default_factory=dict)


def stored_of(kind: type[S], value: Any) -> S:
    """Reads a `kind`; what becomes a dataclass or an enum is taken as it is.

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
    """The same of a class that does not keep other keys."""
    if not isinstance(value, dict):
        raise ValueError(f"no {kind.__name__}")
    check_fields(kind, value)
    return kind(**{f.name: value[f.name] for f in fields(kind) if f.name in value})  # type: ignore[arg-type]


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
