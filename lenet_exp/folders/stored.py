"""Conversion of dataclasses that are stored as JSON files in run and sweep folders."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lenet_exp.addresses import hide_password, store_name
from lenet_exp.config.typed_json import read_as, to_plain

T = TypeVar("T")
ADDRESS = re.compile(r"\w[\w+]*://\S+")

# The JSON values of a dataclass, or of a list of dataclasses; `from_stored` reverses this.
to_json = to_plain


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Base class for the content of a JSON file, regardless of which release wrote the file.

    Unknown keys are kept in `other`. Missing keys get their default values (see
    `config.typed_json.read_as`).
    """

    other: dict[str, Any] = field(default_factory=dict)


def from_stored(kind: type[T], value: Any) -> T:
    """Convert a JSON value to a dataclass with `read_as`, without secrets.

    Old files can contain secrets.
    """
    return read_as(kind, without_secrets(value))


def without_secrets(value: Any) -> Any:
    """Return a JSON value without users, passwords, and queries in addresses.

    A user's own tags stay unchanged.
    """
    if isinstance(value, str) and ":" in value:
        is_address = ADDRESS.fullmatch(value) is not None
        return store_name(value) if is_address else hide_password(value)

    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]

    if isinstance(value, dict):
        clean = {}
        for key, item in value.items():
            clean_key = without_secrets(key)
            clean[clean_key] = item if key == "tags" else without_secrets(item)
        return clean

    return value
