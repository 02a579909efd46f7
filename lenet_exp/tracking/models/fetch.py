"""Fetches the best weights of a run from MLflow into a file.

It works for a process that never imports mlflow. The process that starts this module writes a
request to its stdin, and reads an answer: JSON objects, one per line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lenet_exp.errors import ConfigError, UserError
from lenet_exp.folders.records import record_to_json
from lenet_exp.stopping import limit_gc
from lenet_exp.tracking.models.recorded import find_recorded
from lenet_exp.training.trained.weights import save_weights


def fetch_weights(which: str, uri: str, file: Path) -> None:
    """Write the best weights of a run to a safetensors file, with the run's record as metadata.

    Args:
        which: the run; see `find_recorded`.
        uri: address of the MLflow store.

    Raises:
        UserError: the weights were not found or are corrupt.
    """
    recorded = find_recorded(which, uri)
    if recorded.altered or recorded.weights is None:
        raise ConfigError(recorded.altered or "the run has no weights")

    metadata = {}
    if recorded.record is not None:
        metadata["record"] = json.dumps(record_to_json(recorded.record))
    save_weights(file, recorded.weights, metadata)


def main() -> None:
    """Fetch the weights of one run."""
    limit_gc()
    request = json.loads(sys.stdin.buffer.readline())
    error = ""
    try:
        fetch_weights(request["which"], request["uri"], Path(request["file"]))
    except UserError as e:
        error = str(e)

    sys.stdout.buffer.write(json.dumps({"error": error}).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
