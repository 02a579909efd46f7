"""Synthetic records, and changed records of the bundled MNIST model, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet_exp.config.schema import Config
from lenet_exp.folders.records import Record
from lenet_exp.tracking.models.shipped import shipped_file
from lenet_exp.training.trained.weights import load_weights, save_weights


def a_record(**known: Any) -> Record:
    """Return a record with these fields and the required fields."""
    return Record(**{"fingerprint": "f", "config": Config(), **known})


def changed_model(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the bundled MNIST model, with a changed record, to a file, and return the file."""
    weights, metadata = load_weights(shipped_file("mnist"))
    record = json.loads(metadata["record"])
    change(record)
    save_weights(path, weights, metadata | {"record": json.dumps(record)})
    return path
