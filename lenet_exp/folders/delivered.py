"""The upload record of a run or a sweep in delivered.json: what MLflow stores have received.

Only the process that uploads writes these files. An upload lock keeps two such processes apart.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from lenet_exp.config.typed_json import stored_as
from lenet_exp.files import remove_temporary_files, write_json
from lenet_exp.folders.damage import read_or_none
from lenet_exp.folders.owner import DELIVERED
from lenet_exp.folders.stored import Stored, from_stored, to_json
from lenet_exp.folders.sweep_plan import SweepPlan

REBUILT = "it will be rebuilt from MLflow"

T = TypeVar("T")


@dataclass(frozen=True)
class DeliveredRun(Stored):
    """The part of a run that an MLflow store has received.

    Attributes:
        store: name of the store (see `addresses.store_name`).
        run_id: ID of the MLflow run.
        created_ms: start time of the attempt at the run that this entry is about, in milliseconds
            since 1970; 0 if unknown, as in files from release 0.3.
        epochs: number of epochs that the store has received.
        ended_ms: end time of the run according to the store, in milliseconds since 1970; None
            while the store shows the run as running.
        model: whether the store has received the best model.
        sweeps: IDs of the MLflow runs of the sweeps that include this run.
        reason: one-line reason why the run did not finish, as reported to the store; empty if the
            run finished.
        former: IDs of earlier MLflow runs that a user deleted, and of surplus ones for the same
            folder; they are ignored even if they are restored.
        begun: whether the store has received the data from the run's start: parameters, datasets,
            and sweeps.
        users: users whom the MLflow run names.
        abandoned: IDs of the MLflow runs of earlier attempts at the run, which started over.
    """

    store: str
    run_id: str
    created_ms: int = 0
    epochs: int = 0
    ended_ms: int | None = None
    model: bool = False
    sweeps: list[str] = field(default_factory=list)
    reason: str = ""
    former: list[str] = field(default_factory=list)
    begun: bool = True
    users: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)


class Entry(Protocol):
    """The part of an entry that is the same for runs and sweeps."""

    @property
    def store(self) -> str:
        """The name of the store."""

    @property
    def run_id(self) -> str:
        """The ID of the MLflow run."""


E = TypeVar("E", bound=Entry)


class Entries(Generic[E]):
    """The entries of a delivered.json, one for each store."""

    mlflow_runs: list[E]

    def run_in(self, store: str) -> E | None:
        """Return the entry for a store, or None if there is no such entry."""
        for entry in self.mlflow_runs:
            if entry.store == store:
                return entry
        return None

    def run_id(self, store: str) -> str | None:
        """Return the ID of the MLflow run in a store, or None if the store has received nothing."""
        entry = self.run_in(store)
        return None if entry is None else entry.run_id

    def other_runs(self, store: str) -> list[E]:
        """Return the entries for all other stores."""
        return [entry for entry in self.mlflow_runs if entry.store != store]


@dataclass(frozen=True)
class Delivered(Entries[DeliveredRun], Stored):
    """The content of delivered.json in a run folder.

    There is an entry for each store that has received a part of the run.
    """

    mlflow_runs: list[DeliveredRun] = field(default_factory=list)


@dataclass(frozen=True)
class DeliveredSweep(Stored):
    """The part of a sweep that an MLflow store has received, apart from its runs.

    Attributes:
        store: name of the store (see `addresses.store_name`).
        run_id: ID of the MLflow run that represents the sweep.
        started: number of the last start of the sweep (`SweepPlan.starts`) that the store shows.
        ended: number of the last start whose end the store shows; 0 if it shows none.
        shown: digest of the results in the report that the store has received; empty if it has
            received none.
        database: state of the SQLite database (see `usable.database_state`) when all uploads were
            complete; empty if they are not complete, or if the store is not a SQLite database.
    """

    store: str
    run_id: str
    started: int = 0
    ended: int = 0
    shown: str = ""
    database: str = ""


@dataclass(frozen=True)
class DeliveredSweeps(Entries[DeliveredSweep], Stored):
    """The content of delivered.json in a sweep folder: one entry for each store."""

    mlflow_runs: list[DeliveredSweep] = field(default_factory=list)

    def run_ids(self) -> dict[str, str]:
        """Return the ID of the sweep's MLflow run in each store, keyed by the store's name."""
        return {run.store: run.run_id for run in self.mlflow_runs}


@dataclass(frozen=True, kw_only=True)
class UploadsOfRelease03(Stored):
    """Fields of sweep.json in which release 0.3 recorded what stores had received.

    Attributes:
        mlflow_runs: ID of the sweep's own MLflow run in each store, keyed by store name.
        shown: digest of the report in each MLflow run, keyed by the ID of the MLflow run.
        unreported_stores: names of the stores that lack the current start or the end of the sweep.
        database: as in `DeliveredSweep`.
    """

    mlflow_runs: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    unreported_stores: list[str] = stored_as("untold", default_factory=list)
    database: str = ""


def delivered_by_release_0_3(plan: SweepPlan) -> DeliveredSweeps:
    """Return what stores have received of a sweep according to the sweep.json of release 0.3."""
    try:
        uploads = from_stored(UploadsOfRelease03, plan.other)
    except ValueError:
        # as if nothing were known: the next upload finds the MLflow run by its tags
        return DeliveredSweeps()

    entries = []
    for store, run_id in uploads.mlflow_runs.items():
        is_reported = store not in uploads.unreported_stores
        entry = DeliveredSweep(store, run_id, shown=uploads.shown.get(run_id, ""))
        if is_reported:
            entry = replace(
                entry, started=plan.starts, ended=plan.starts, database=uploads.database
            )
        entries.append(entry)
    return DeliveredSweeps(mlflow_runs=entries)


def mark_unreported(other: dict[str, Any]) -> dict[str, Any]:
    """Return the unknown fields of sweep.json (`SweepPlan.other`) for a new start of the sweep.

    No store has received this start yet. Therefore, fields from release 0.3 are changed; see
    `UploadsOfRelease03`.
    """
    stores = other.get("mlflow_runs")
    if not isinstance(stores, dict):
        return other
    return {**other, "untold": list(stores)}


def read_delivered(folder: Path, kind: type[T]) -> T | None:
    """Return the content of delivered.json in a run or sweep folder.

    The result is None if the file is missing or corrupt. Corruption is logged.
    """
    return read_or_none(folder / DELIVERED, partial(from_stored, kind), REBUILT)


def write_delivered(folder: Path, delivered: Delivered | DeliveredSweeps) -> None:
    """Write delivered.json in a run or sweep folder. The caller must hold the upload lock."""
    write_json(folder / DELIVERED, to_json(delivered))


@contextmanager
def upload_lock(folder: Path) -> Iterator[None]:
    """Prevent other processes from uploading a run or a sweep for the duration of a `with` block.

    Only processes on this machine are affected. If one is uploading it, wait for that process.

    Args:
        folder: run folder or sweep folder. The lock is a flock of the folder itself, because the
            file `lock` belongs to the process that trains.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        remove_temporary_files(folder, only=DELIVERED)
        yield
    finally:
        os.close(descriptor)


def is_uploading(folder: Path) -> bool:
    """Return whether a process on this machine is uploading a run or a sweep."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
