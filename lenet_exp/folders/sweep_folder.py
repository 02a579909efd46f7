"""A sweep on disk: outputs/sweeps/<key>/. The same line again has the same key, and so goes on here.

jobs.jsonl     the frozen jobs, one a line; a sweep may get more while it runs
sweep.json     what was asked for, how many jobs there are, the MLflow run, how often it was started
stop           its process is asked to bring it to its end
active/<n>     job n is in training now
ended/<n>      job n has come to an end (JSON: why it failed before it had a record, or null)
workers.log    what the workers printed, and workers-<host>.log those of each node
lock, owner.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet_exp.errors import DamagedError, first_line
from lenet_exp.files import from_json, read_json, read_regular, remove, write_atomic, write_json
from lenet_exp.folders.damage import damage_error, read, read_or_none, warn_once
from lenet_exp.folders.job import Job, job_to_json, job_from_json
from lenet_exp.folders.owner import Owner, own, owner_of
from lenet_exp.folders.records import Outcome, SweepPlan
from lenet_exp.folders.digests import verified, with_digest
from lenet_exp.folders.stored import from_stored, to_json, without_secrets

AGAIN = "the line that started the sweep makes it again"


class SweepFolder:
    """Reads and writes one sweep folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saving = threading.Lock()  # a search saves while another thread delivers
        self._written: SweepPlan | None = None
        self._known: dict[str, Job] = {}  # by line, as they were read last: whoever follows a sweep asks every second

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def outputs(self) -> Path:
        """The outputs folder that it lies in; so do the runs of its jobs."""
        return self.path.parent.parent

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Owns the sweep; waits while another process runs it."""
        with own(self.path, "this very sweep"):
            yield

    def owner(self) -> Owner | None:
        """The process that runs it now."""
        return owner_of(self.path)

    def start(self, jobs: Sequence[Job], **asked: Any) -> SweepPlan:
        """Freezes the jobs and counts the start.

        Args:
            jobs: the same runs as at an earlier start, but perhaps with another `model_path` and the like.
            asked: fields of `SweepPlan` that change.
        """
        kept = self.kept_plan()
        if kept is not None and kept.runs > len(jobs):
            self._write(replace(kept, runs=len(jobs)))  # first: fewer lines than are counted would be damage
        write_atomic(self.path / "jobs.jsonl", b"".join(map(_line, jobs)))
        lost = kept is None and (self.path / "sweep.json").exists()
        plan = replace(kept or SweepPlan(created_ms=_now_ms(), remade=lost), **asked)
        plan = replace(plan, starts=plan.starts + 1, started_ms=_now_ms(), outcome=Outcome.running, stopped_by="")
        self._write(plan)
        for path in (*self.path.glob("workers*.log"), self.path / "stop"):
            remove(path)
        for folder in ("active", "ended"):
            remove(self.path / folder)  # if others put a link there, what it leads to stays
            (self.path / folder).mkdir()
        return plan

    def add(self, job: Job) -> None:
        """Freezes one more job while the sweep runs; its number is the next one."""
        with (self.path / "jobs.jsonl").open("ab") as f:
            f.write(_line(job))
            f.flush()
            os.fsync(f.fileno())
        self.save(runs=job.number + 1)  # after the line: what is counted is there

    def plan(self) -> SweepPlan | None:
        """The plan of the sweep; None before the first start.

        Raises:
            DamagedError: it can't be read.
        """
        return read(self.path / "sweep.json", _plan, AGAIN)

    def kept_plan(self) -> SweepPlan | None:
        """The plan for a new start; a corrupt one is logged and made again."""
        return read_or_none(self.path / "sweep.json", _plan, "it is made again")

    def started(self) -> SweepPlan:
        """The plan of a sweep that was started.

        Raises:
            FileNotFoundError: it was not.
            DamagedError: what was asked for can't be read.
        """
        plan = self.plan()
        if plan is None:
            raise FileNotFoundError(f"{self.path}: no sweep was started here")
        return plan

    def has_digest(self) -> bool:
        """Whether sweep.json has a digest; those of earlier versions have none, and an edit would not be noticed."""
        return bool((read_json(self.path / "sweep.json") or {}).get("digest"))

    def end(self, outcome: Outcome, stopped_by: str = "") -> None:
        """How this start of the sweep ended; from now on it is what the stores have to be told.

        Args:
            stopped_by: the signal that asked for it.
        """
        self.save(outcome=outcome, stopped_by=stopped_by, ended_ms=_now_ms())

    def mark_reported(self, store: str) -> None:
        """A store knows how it ended."""
        self.save(untold=[name for name in self.started().untold if name != store])

    def mark_unreported(self, store: str) -> None:
        """A store has to be told how it ended; kept before anything else happens there."""
        untold = self.started().untold
        if store not in untold:
            self.save(untold=[*untold, store])

    def save(self, **changed: Any) -> None:
        """Changes fields of sweep.json; one that was damaged since it was written here is made again."""
        with self._saving:
            try:
                plan = self.started()
            except DamagedError as e:
                if self._written is None:
                    raise
                warn_once(e)
                plan = self._written
            self._write(replace(plan, **changed))

    def _write(self, plan: SweepPlan) -> None:
        write_json(self.path / "sweep.json", with_digest(without_secrets(to_json(plan))))
        self._written = plan

    def jobs(self) -> list[Job]:
        """All frozen jobs.

        Raises:
            DamagedError: some are missing, or can't be read.
        """
        plan, lines = self.plan(), self._lines()  # in this order: jobs may be added meanwhile
        runs = plan.runs if plan is not None else 0
        if lines and len(lines) > runs and not lines[-1].endswith("\n"):
            del lines[-1]  # the sweep was killed while it added a job
        if len(lines) < runs:
            raise self._damaged(f"it has {len(lines)} of {runs} jobs")
        known = self._known
        self._known = {line: known.get(line) or self._job(line) for line in lines}
        return [self._known[line] for line in lines]

    def job(self, number: int) -> Job:
        """One of them; the others' lines are not read."""
        return self._job("".join(self._lines()[number : number + 1]))

    def ask_to_stop(self) -> None:
        """Asks the process that runs it, on whatever machine, to bring it to its end."""
        (self.path / "stop").touch()

    def is_asked_to_stop(self) -> bool:
        """Whether somebody did, since the last start or the last time that this was heard."""
        stop = self.path / "stop"
        if not stop.exists():  # as nearly always: it is asked twice a second
            return False
        stop.unlink(missing_ok=True)
        return True

    def begin_job(self, number: int) -> None:
        (self.path / "active" / str(number)).touch()

    def end_job(self, number: int, error: str | None) -> None:
        """Job `number` has ended; `error` where it failed before it had a record."""
        write_json(self.path / "ended" / str(number), without_secrets(error))
        (self.path / "active" / str(number)).unlink(missing_ok=True)

    def active(self) -> list[int]:
        """The jobs in training."""
        return _numbers(self.path / "active")

    def ended(self) -> list[int]:
        """The jobs that ended since the last start."""
        return _numbers(self.path / "ended")

    def has_ended(self, number: int) -> bool:
        return (self.path / "ended" / str(number)).exists()

    def error(self, number: int) -> str | None:
        """Why a job failed before it had a record; None where it did not."""
        try:
            return read(self.path / "ended" / str(number), _text, "why the job failed is lost")
        except DamagedError as e:
            warn_once(e)
            return str(e)

    def _job(self, line: str | bytes) -> Job:
        try:
            return job_from_json(from_json(line), self.outputs)
        except (ValueError, RecursionError) as e:
            raise self._damaged(first_line(e)) from e

    def _lines(self) -> list[str]:
        try:
            return read_regular(self.path / "jobs.jsonl").decode().splitlines(keepends=True)
        except (OSError, ValueError) as e:
            raise self._damaged(first_line(e)) from e

    def _damaged(self, why: str) -> DamagedError:
        plan = self.kept_plan()
        return damage_error(self.path / "jobs.jsonl", why, f"{AGAIN}: {plan.command}" if plan else AGAIN)


def sweep_of(experiment: str, jobs: Sequence[Job]) -> SweepFolder:
    """The sweep of jobs that are all known: its name is 16 hex digits of what it trains and where it goes."""
    text = "\n".join([experiment, *sorted(job.run for job in jobs)])
    return SweepFolder(jobs[0].outputs / "sweeps" / hashlib.sha256(text.encode()).hexdigest()[:16])


def all_sweeps(outputs: Path, *, quietly: bool = False) -> list[SweepFolder]:
    """The sweeps in an outputs folder, the one started last first; one whose sweep.json is damaged is said, unless
    quietly."""
    found = []
    for path in (outputs / "sweeps").glob("*/sweep.json"):
        sweep = SweepFolder(path.parent)
        try:
            found.append((sweep.started().started_ms, sweep))
        except DamagedError as e:
            if not quietly:
                warn_once(e)
        except FileNotFoundError:  # it was removed meanwhile
            continue
    return [sweep for _, sweep in sorted(found, key=lambda item: item[0], reverse=True)]


def _line(job: Job) -> bytes:
    return json.dumps(job_to_json(job)).encode() + b"\n"


def _plan(value: Any) -> SweepPlan:
    kept = verified(value)
    return from_stored(SweepPlan, {k: v for k, v in kept.items() if k != "digest"} if isinstance(kept, dict) else kept)


def _numbers(folder: Path) -> list[int]:
    with contextlib.suppress(OSError):  # it is gone, or no folder
        return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    return []


def _text(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise ValueError("no text")
    return value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
