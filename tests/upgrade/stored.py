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
# fields of sweep.json that are now in delivered.json
MOVED = ("mlflow_runs", "shown", "untold", "database")
# the class of the objects in each file
FILES = {
    "job.json": "Record",
    "record.json": "Record",
    "history.json": "History",
    "delivered.json": "Delivered",
    "test.json": "TestResult",
    "sweep.json": "SweepPlan",
    "jobs.jsonl": "Job",
}
# the keys of a class whose values are objects or lists of objects, and the class of these
INNER = {
    "History": [("epochs", "EpochResult"), ("commits", "Checkpoint"), ("best", "BestWeights")],
    "Checkpoint": [("best", "BestWeights")],
    "Delivered": [("mlflow_runs", "DeliveredRun")],
    "SweepPlan": [("search", "SearchPlan")],
}


@cache
def stored(release: str) -> dict[str, list[dict[str, Any]]]:
    """Return the JSON objects that a release stored, by the name of their class."""
    objects: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, text in _files(release):
        if name == "jobs.jsonl":
            texts = text.splitlines()
        else:
            texts = [text]
        for one in texts:
            _add(objects, FILES[name], json.loads(one))
    return dict(objects)


def _files(release: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each JSON file in the run and sweep folders of a release."""
    with tarfile.open(HERE / f"release_{release.replace('.', '_')}.tar.xz") as archive:
        for member in archive:
            path = PurePath(member.name)
            if path.name in FILES and path.parts[1] in ("runs", "sweeps"):
                file = archive.extractfile(member)
                assert file is not None
                yield path.name, file.read().decode()


def _add(objects: dict[str, list[dict[str, Any]]], kind: str, value: dict[str, Any]) -> None:
    """Add an object and those that it contains."""
    objects[kind].append(value)
    if kind == "SweepPlan":
        moved = {name: value[name] for name in MOVED if name in value}
        _add(objects, "UploadsOfRelease03", moved)
    for key, kind_of_part in INNER.get(kind, ()):
        parts = value.get(key)
        if isinstance(parts, list):
            for part in parts:
                _add(objects, kind_of_part, part)
        elif parts:
            _add(objects, kind_of_part, parts)
