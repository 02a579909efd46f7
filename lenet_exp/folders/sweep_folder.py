"""A sweep on disk: outputs/sweeps/<sweep ID>/. Rerunning the command of a sweep resumes the sweep.

jobs.jsonl     the frozen jobs, one per line; a sweep can add jobs while it runs
sweep.json     the settings, the number of jobs, and the number of starts
delivered.json the part of the sweep that each MLflow store has received (delivered.py)
stop           request to stop the sweep
active/<n>     job n is being trained
ended/<n>      job n has ended (JSON: the reason why it failed before it had a record, or null)
sweep.log      log of the process of the sweep, with the reason for each retry
workers.log    output of the workers; on a cluster, workers-<host>.log for each node
lock, owner.json    the current owner of the sweep (owner.py)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet_exp.config.flags import REMOVED, without_removed
from lenet_exp.errors import DamagedError, first_line
from lenet_exp.files import from_json, read_json, read_regular, remove, write_atomic, write_json
from lenet_exp.folders.damage import damage_error, read_checked, read_or_none, warn_once
from lenet_exp.folders.delivered import (
    DeliveredSweep,
    DeliveredSweeps,
    delivered_by_release_0_3,
    mark_unreported,
    read_delivered,
    upload_lock,
    write_delivered,
)
from lenet_exp.folders.digests import verified, with_digest
from lenet_exp.folders.job import Job, job_from_json, job_to_json
from lenet_exp.folders.owner import Owner, locked_folder, owner_of
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.stored import from_stored, to_json, without_secrets
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.machine import now_ms

RESTORE_ADVICE = "rerun the sweep's command to restore it"


class SweepFolder:
    """Reader and writer of a sweep folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saving = threading.Lock()  # a search saves while another thread uploads
        self._written: SweepPlan | None = None
        # The jobs, keyed by line of jobs.jsonl; `lenet-sweep watch` reads the file often.
        self._jobs_by_line: dict[str, Job] = {}

    @property
    def id(self) -> str:
        """The ID of the sweep, which is the name of the folder."""
        return self.path.name

    @property
    def outputs(self) -> Path:
        """The path of the outputs folder, which contains this sweep and its runs."""
        return self.path.parent.parent

    def claim(self) -> AbstractContextManager[None]:
        """Own the sweep folder for the duration of a `with` block.

        If another process owns it, wait for that process.
        """
        return locked_folder(self.path, "this sweep")

    def owner(self) -> Owner | None:
        """Return the process that is running the sweep, or None if the sweep is not running."""
        return owner_of(self.path)

    def start(self, jobs: Sequence[Job], **changed: Any) -> SweepPlan:
        """Save the jobs and the plan for a new start of the sweep, and return the plan.

        Args:
            jobs: jobs with the same runs as at an earlier start; settings such as `model_path` can
                differ.
            changed: new values for fields of `SweepPlan`.
        """
        earlier_plan = self.kept_plan()
        if earlier_plan is not None and earlier_plan.runs > len(jobs):
            # first, because fewer lines than `runs` count as corruption
            self._write(replace(earlier_plan, runs=len(jobs)))
        write_atomic(self.path / "jobs.jsonl", _lines_of(jobs))

        if earlier_plan is None:
            is_lost = (self.path / "sweep.json").exists()
            earlier_plan = SweepPlan(created_ms=now_ms(), remade=is_lost)
        plan = replace(earlier_plan, **changed)
        plan = replace(
            plan,
            starts=plan.starts + 1,
            started_ms=now_ms(),
            outcome=Outcome.running,
            stopped_by="",
        )
        plan = replace(plan, other=mark_unreported(plan.other))
        self._write(plan)

        for path in (*self.path.glob("workers*.log"), self.path / "stop"):
            remove(path)
        for folder in ("active", "ended"):
            remove(self.path / folder)  # if it is a link, only the link is removed
            (self.path / folder).mkdir()
        return plan

    def add(self, job: Job) -> None:
        """Save an additional job while the sweep runs.

        The job's number must be the number of jobs so far.
        """
        with (self.path / "jobs.jsonl").open("ab") as f:
            f.write(_line(job))
            f.flush()
            os.fsync(f.fileno())

        # after the line, because every counted job must be in the file
        self.save(runs=job.number + 1)

    def kept_plan(self) -> SweepPlan | None:
        """Return the plan, or None if it is missing or corrupt; corruption is logged."""
        return read_or_none(self.path / "sweep.json", _plan, "it will be rebuilt")

    def started(self) -> SweepPlan:
        """Return the plan of the sweep, which must have been started.

        Raises:
            FileNotFoundError: the sweep was never started.
            DamagedError: sweep.json is corrupt.
        """
        plan = read_checked(self.path / "sweep.json", _plan, RESTORE_ADVICE)
        if plan is None:
            raise FileNotFoundError(errno.ENOENT, "no sweep found", str(self.path))
        return plan

    def has_digest(self) -> bool:
        """Return whether sweep.json has a digest, which reveals edits.

        Files from earlier releases have no digest.
        """
        content = read_json(self.path / "sweep.json") or {}
        return bool(content.get("digest"))

    def end(self, outcome: Outcome, stopped_by: str = "", *, counted: Mapping[str, float]) -> None:
        """Record the outcome of this start of the sweep.

        Args:
            stopped_by: name of the signal that stopped the sweep; empty if the sweep was not
                stopped by a signal.
            counted: numbers of jobs with each outcome; see `results.counts`.
        """
        plan = self.started()
        ended_ms = now_ms()
        counts_of_start = {"ended_ms": ended_ms, **counted}
        counts = plan.counted | {str(plan.starts): counts_of_start}
        self.save(outcome=outcome, stopped_by=stopped_by, ended_ms=ended_ms, counted=counts)

    def upload_lock(self) -> AbstractContextManager[None]:
        """Prevent other processes from uploading the sweep for the duration of a `with` block.

        Only processes on this machine are affected.
        """
        return upload_lock(self.path)

    def delivered(self) -> DeliveredSweeps:
        """Return the part of the sweep that each MLflow store has received; empty if unknown."""
        delivered = read_delivered(self.path, DeliveredSweeps)
        if delivered is not None:
            return delivered

        plan = self.kept_plan()
        return DeliveredSweeps() if plan is None else delivered_by_release_0_3(plan)

    def set_delivered(self, entry: DeliveredSweep) -> None:
        """Record which part of the sweep an MLflow store has received."""
        delivered = self.delivered()
        entries = [*delivered.other_runs(entry.store), entry]
        write_delivered(self.path, replace(delivered, mlflow_runs=entries))

    def forget_upload(self, store: str) -> None:
        """Record that an MLflow store may lack the report and the end of the sweep.

        The next upload sends them again.
        """
        with self.upload_lock():
            entry = self.delivered().run_in(store)
            if entry is not None:
                self.set_delivered(replace(entry, ended=0, shown="", database=""))

    def save(self, **changed: Any) -> None:
        """Change fields of sweep.json.

        A file that became corrupt after this process wrote it is replaced.
        """
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
        """Return all jobs of the sweep.

        Raises:
            FileNotFoundError: the sweep was never started.
            DamagedError: jobs are missing or corrupt.
        """
        # in this order, because jobs can be added in between
        runs = self.started().runs
        lines = self._lines()
        if len(lines) < runs:
            raise self._damaged(f"it has only {len(lines)} of {runs} jobs")

        jobs_by_line = {}
        for line in lines:
            job = self._jobs_by_line.get(line)
            jobs_by_line[line] = self._job(line) if job is None else job
        self._jobs_by_line = jobs_by_line
        return [jobs_by_line[line] for line in lines]

    def has_jobs(self, jobs: Sequence[Job]) -> bool:
        """Return whether exactly these jobs are saved, without parsing the file."""
        path = self.path / "jobs.jsonl"
        return path.is_file() and read_regular(path) == _lines_of(jobs)

    def run_ids(self) -> list[str]:
        """Return the IDs of the sweep's runs in the order of its jobs.

        The jobs' configurations are not parsed.

        Raises:
            DamagedError: jobs.jsonl is corrupt.
        """
        try:
            run_of_each_job = [str(from_json(line)["run"]) for line in self._lines()]
        except (ValueError, KeyError, TypeError) as e:
            raise self._damaged(type(e).__name__) from e
        return list(dict.fromkeys(run_of_each_job))

    def ask_to_stop(self) -> None:
        """Request a stop of the sweep, even if its process runs on another machine."""
        (self.path / "stop").touch()

    def is_asked_to_stop(self) -> bool:
        """Return whether a stop was requested, and clear the request.

        Only requests since the last start and the last call count.
        """
        stop = self.path / "stop"
        if not stop.exists():  # the usual case, checked twice a second
            return False
        stop.unlink(missing_ok=True)
        return True

    def begin_job(self, number: int) -> None:
        """Mark a job as being trained."""
        (self.path / "active" / str(number)).touch()

    def end_job(self, number: int, error: str | None) -> None:
        """Mark a job as ended.

        Args:
            error: reason why the job failed before it had a record; None if there was no such
                failure.
        """
        write_json(self.path / "ended" / str(number), without_secrets(error))
        (self.path / "active" / str(number)).unlink(missing_ok=True)

    def active(self) -> list[int]:
        """Return the numbers of the jobs that are being trained."""
        return _numbers(self.path / "active")

    def ended(self) -> list[int]:
        """Return the numbers of the jobs that have ended since the last start."""
        return _numbers(self.path / "ended")

    def has_ended(self, number: int) -> bool:
        """Return whether a job has ended since the last start."""
        return (self.path / "ended" / str(number)).exists()

    def error(self, number: int) -> str | None:
        """Return the reason why a job failed before it had a record.

        The result is None if there was no such failure.
        """
        remedy = "the reason for the job's failure is lost"
        try:
            return read_checked(self.path / "ended" / str(number), _error_text, remedy)
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
            lines = read_regular(self.path / "jobs.jsonl").decode().splitlines(keepends=True)
        except (OSError, ValueError) as e:
            raise self._damaged(first_line(e)) from e

        if lines and not lines[-1].endswith("\n"):
            del lines[-1]  # the sweep was killed while it added a job
        return lines

    def _damaged(self, why: str) -> DamagedError:
        plan = self.kept_plan()
        remedy = RESTORE_ADVICE if plan is None else f"{RESTORE_ADVICE}: {plan.command}"
        return damage_error(self.path / "jobs.jsonl", why, remedy)


def sweep_of(experiment: str, jobs: Sequence[Job]) -> SweepFolder:
    """Return the sweep folder for a list of jobs.

    The name of the folder is a hash (16 hex digits) of the experiment and the jobs' runs.

    Args:
        experiment: name of the MLflow experiment.
    """
    text = "\n".join([experiment, *sorted(job.run for job in jobs)])
    sweep_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    return SweepFolder(jobs[0].outputs / "sweeps" / sweep_id)


def all_sweeps(outputs: Path, *, quietly: bool = False) -> list[SweepFolder]:
    """Return the sweep folders in an outputs folder, with the most recently started sweep first.

    Args:
        quietly: whether to omit warnings about corrupt sweep.json files.
    """
    started_sweeps = []
    for path in (outputs / "sweeps").glob("*/sweep.json"):
        sweep = SweepFolder(path.parent)
        try:
            started_sweeps.append((sweep.started().started_ms, sweep))
        except DamagedError as e:
            if not quietly:
                warn_once(e)
        except FileNotFoundError:  # the sweep was removed in the meantime
            continue

    # A stable sort: sweeps with the same start time keep their order.
    started_sweeps.sort(key=lambda item: item[0], reverse=True)
    return [sweep for _, sweep in started_sweeps]


def _line(job: Job) -> bytes:
    return json.dumps(job_to_json(job)).encode() + b"\n"


def _lines_of(jobs: Sequence[Job]) -> bytes:
    return b"".join(_line(job) for job in jobs)


def _error_text(value: Any) -> Any:
    """Return the content of a file in ended/ as text, or unchanged if it is null or empty."""
    return str(value) if value else value


def _plan(value: Any) -> SweepPlan:
    content = verified(value)
    if isinstance(content, dict):
        content = {key: field for key, field in content.items() if key != "digest"}
    return _without_removed_flags(from_stored(SweepPlan, content))


def _without_removed_flags(plan: SweepPlan) -> SweepPlan:
    """Return a plan whose command can be typed again, without flags of earlier releases.

    A confirmation of equivalence, which has no lead to detect, becomes an ordinary sweep.
    """
    is_about_equivalence = plan.confirms is not None and plan.points is None
    has_removed_flag = any(flag in plan.command for flag in REMOVED)
    if not is_about_equivalence and not has_removed_flag:
        return plan

    words = without_removed(shlex.split(plan.command))
    if is_about_equivalence:
        words = [word for word in words if not word.startswith("sweep.confirms=")]
        plan = replace(plan, confirms=None)
    return replace(plan, command=shlex.join(words))


def _numbers(folder: Path) -> list[int]:
    with contextlib.suppress(OSError):  # the folder does not exist
        return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    return []
