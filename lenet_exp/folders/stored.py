"""What a file of the folders holds, as a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from lenet_exp.config.plain import plain
from lenet_exp.config.schema import Config


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a file holds, whatever release wrote it: keys that another one added are kept, those that an older one lacks
    have their default (`config.plain.read_as`)."""

    other: dict[str, Any] = field(default_factory=dict)


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
