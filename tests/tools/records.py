"""Records of runs that never were, for tests."""

from __future__ import annotations

from typing import Any

from lenet_exp.config.schema import Config
from lenet_exp.folders.records import Record


def a_record(**known: Any) -> Record:
    """One with these fields, and with what none is without."""
    return Record(**{"fingerprint": "f", "config": Config(), **known})
