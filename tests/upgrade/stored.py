"""Reads the JSON objects that earlier releases stored in outputs folders."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any

HERE = Path(__file__).parent
RELEASES = ("0.3",)  # releases with an archive
MOVED = (
    "mlflow_runs",
    "shown",
    "untold",
    "database",
)  # fields of sweep.json that are now in delivered.json
FILES = {
    "job.json": "Record",
    "record.json": "Record",
    "history.json": "History",
    "delivered.json": "Delivered",
}
FILES |= {"test.json": "TestResult", "sweep.json": "SweepPlan", "jobs.jsonl": "Job"}


@cache
def stored(release: str) -> dict[str, list[dict[str, Any]]]:
    """Return the JSON objects that a release stored, by the name of their class."""
    found = defaultdict(list)
    for name, text in _files(release):
        for line in text.splitlines() if name == "jobs.jsonl" else [text]:
            _add(found, FILES[name], json.loads(line))
    return dict(found)


def _files(release: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each JSON file in the run and sweep folders of a release."""
    with tarfile.open(HERE / f"release_{release.replace('.', '_')}.tar.xz") as archive:
        for member in archive:
            path = PurePath(member.name)
            if path.name in FILES and path.parts[1] in ("runs", "sweeps"):
                yield path.name, archive.extractfile(member).read().decode()  # type: ignore[union-attr]


def _add(found: dict[str, list[dict[str, Any]]], kind: str, value: dict[str, Any]) -> None:
    """Add an object and those that it contains."""
    found[kind].append(value)
    inner = {
        "History": [("epochs", "EpochResult"), ("commits", "Checkpoint"), ("best", "BestWeights")],
        "Checkpoint": [("best", "BestWeights")],
        "Delivered": [("mlflow_runs", "DeliveredRun")],
        "SweepPlan": [("search", "SearchPlan")],
    }
    if kind == "SweepPlan":
        _add(found, "UploadsOfRelease03", {name: value[name] for name in MOVED if name in value})
    for key, part in inner.get(kind, ()):
        parts = value.get(key)
        for one in parts if isinstance(parts, list) else [parts] if parts else ():
            _add(found, part, one)
