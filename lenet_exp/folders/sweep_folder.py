"""A sweep on disk: outputs/sweeps/<key>/. The same line again has the same key, and so goes on here.

jobs.jsonl     the frozen jobs, one a line
sweep.json     what was asked for, the MLflow run, how often it was started
active/<n>     job n is in training now
ended/<n>      job n has come to an end (JSON: why it failed before it had a record, or null)
workers.log    what the workers printed
lock, owner.json
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lenet_exp.files import read_json, write_atomic, write_json
from lenet_exp.folders.job import FrozenJob
from lenet_exp.folders.owner import Owner, own, owner_of


class SweepFolder:
    """Reads and writes one sweep folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Owns the sweep; waits while another process runs it."""
        with own(self.path, "this very sweep"):
            yield

    def owner(self) -> Owner | None:
        """The process that runs it now."""
        return owner_of(self.path)

    def start(self, jobs: Sequence[FrozenJob], asked: dict[str, Any]) -> None:
        """Freezes the jobs and counts the start.

        Args:
            jobs: the same runs as at an earlier start, but perhaps with another `model_path` and the like.
            asked: what sweep.json keeps.
        """
        write_atomic(self.path / "jobs.jsonl", "".join(json.dumps(asdict(job)) + "\n" for job in jobs))
        plan = self.plan()
        new: dict[str, Any] = {"created_ms": _now_ms(), "starts": 0, "mlflow_runs": {}}
        plan = new | plan | asked
        self.save(plan | {"starts": plan["starts"] + 1, "started_ms": _now_ms(), "outcome": "running"})
        (self.path / "workers.log").unlink(missing_ok=True)
        for folder in ("active", "ended"):
            (self.path / folder).mkdir(exist_ok=True)
            for old in (self.path / folder).iterdir():
                old.unlink()

    def plan(self) -> dict[str, Any]:
        return read_json(self.path / "sweep.json") or {}

    def save(self, changed: dict[str, Any]) -> None:
        """Changes entries of sweep.json."""
        write_json(self.path / "sweep.json", self.plan() | changed)

    def jobs(self) -> list[FrozenJob]:
        """All frozen jobs."""
        return [FrozenJob(**json.loads(line)) for line in self._lines()]

    def job_at(self, offset: int) -> FrozenJob:
        """The job whose line starts at this byte of jobs.jsonl."""
        with (self.path / "jobs.jsonl").open("rb") as f:
            f.seek(offset)
            return FrozenJob(**json.loads(f.readline()))

    def offsets(self) -> list[int]:
        """Where each job's line starts."""
        found, at = [], 0
        for line in self._lines():
            found.append(at)
            at += len(line.encode())
        return found

    def begin_job(self, number: int) -> None:
        (self.path / "active" / str(number)).touch()

    def end_job(self, number: int, error: str | None) -> None:
        """Job `number` has ended; `error` where it failed before it had a record."""
        write_json(self.path / "ended" / str(number), error)
        (self.path / "active" / str(number)).unlink(missing_ok=True)

    def active(self) -> list[int]:
        """The jobs in training."""
        return _numbers(self.path / "active")

    def ended(self) -> list[int]:
        """The jobs that ended since the last start."""
        return _numbers(self.path / "ended")

    def error(self, number: int) -> str | None:
        return read_json(self.path / "ended" / str(number))

    def _lines(self) -> list[str]:
        return (self.path / "jobs.jsonl").read_text().splitlines(keepends=True)


def all_sweeps(outputs: Path) -> list[SweepFolder]:
    """The sweeps in an outputs folder, the one started last first."""
    found = [SweepFolder(path.parent) for path in (outputs / "sweeps").glob("*/sweep.json")]
    return sorted(found, key=lambda sweep: sweep.plan()["started_ms"], reverse=True)


def _numbers(folder: Path) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    return []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
