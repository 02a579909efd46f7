"""Synthetic records for tests."""

from __future__ import annotations

from typing import Any

from lenet_exp.config.schema import Config
from lenet_exp.folders.records import Record


def a_record(**known: Any) -> Record:
    """Return a record with these fields and the required fields."""
    return Record(**{"fingerprint": "f", "config": Config(), **known})
