"""Plans a removal: determines what is removed and what stays.

A new plan is made each time a removal is started, because another sweep may have started to use one
of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.addresses import missing_database
from lenet_exp.errors import ConfigError, StoreError
from lenet_exp.executors.queues import queued
from lenet_exp.folders.delivered import is_uploading
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.removal.pending import PendingRemoval
from lenet_exp.removal.stored_runs import Changes, changes_in, ids_in, open_stored
from lenet_exp.tracking.stores.store import Store

# The command of a sweep contains one of these arguments.
MULTIRUN = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})


@dataclass
class Plan:
    """The plan of a removal.

    Attributes:
        pending: folder to which the removed folders are moved.
        words: description of what is removed.
        sweep: sweep folder to remove; None if it has been moved.
        going: run folders to remove that have not been moved yet.
        staying: reason why each run folder that is not removed stays, keyed by run ID.
        stores: stores that contain some of the runs.
        notes: notes for the user.
    """

    pending: PendingRemoval
    words: str
    sweep: SweepFolder | None
    going: list[RunFolder] = field(default_factory=list)
    staying: dict[str, str] = field(default_factory=dict)
    stores: list[Store] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        """The folder that contains all run folders."""
        return self.pending.outputs / "runs"

    def all_sweeps(self) -> list[SweepFolder]:
        """Return the sweep to remove, also if it was already moved."""
        not_moved = [] if self.sweep is None else [self.sweep]
        return [*self.pending.sweeps(), *not_moved]

    def runs_to_remove(self) -> list[RunFolder]:
        """Return the run folders to remove, including folders that were already moved."""
        return [*self.pending.runs(), *self.going]

    def runs_to_keep(self) -> list[RunFolder]:
        """Return the run folders of the sweep that stay."""
        return [RunFolder(self.runs / run) for run in self.staying]

    def changes(self) -> list[Changes]:
        """Return the changes that the removal makes in each store."""
        sweeps = self.all_sweeps()
        return [
            changes_in(store, self.runs_to_remove(), self.runs_to_keep(), sweeps=sweeps)
            for store in self.stores
        ]


def make_plan(pending: PendingRemoval) -> Plan:
    """Return the plan of a removal.

    Raises:
        ConfigError: the sweep is in use, or another sweep confirms it.
        DamagedError: this sweep or another sweep is corrupt, so its runs are unknown.
        StoreError: a store does not respond or is not supported.
    """
    plan = _new_plan(pending)
    if pending.is_mlflow_done:
        return plan
    if plan.sweep is not None:
        _check(plan.sweep)

    runs: list[str] = []
    for sweep in plan.all_sweeps():
        runs += sweep.run_ids()
    keep_needed(plan, runs)

    try:
        _open_stores(plan)
    except (ConfigError, StoreError) as e:
        place = pending.path if plan.sweep is None else plan.sweep.path
        raise StoreError(
            f"{e}; nothing was removed. If that store no longer exists, delete {place} instead."
        ) from e
    return plan


def keep_needed(plan: Plan, runs: list[str]) -> None:
    """Divide runs into runs to remove and runs that stay, and record the division in the plan.

    Runs stay if another sweep needs them, or if they were trained individually before the removed
    sweep.

    Raises:
        ConfigError: a run to remove is being trained.
    """
    plan.going = []
    if not runs:  # the jobs of a sweep that is being deleted can be incomplete
        return

    sweeps_of_run = _other_sweeps_of_runs(plan)
    trained_alone = _trained_alone(plan)
    moved = {folder.id for folder in plan.pending.runs()}
    for run in runs:
        folder = RunFolder(plan.runs / run)
        if not folder.path.is_dir():
            continue

        if folder.id in sweeps_of_run:
            sweeps = ", ".join(sweeps_of_run[folder.id])
            plan.staying[folder.id] = f"also used by sweep {sweeps}"
        elif folder.id in trained_alone:
            plan.staying[folder.id] = "trained before the sweep"
        elif folder.id in moved:
            plan.staying[folder.id] = "retrained in the meantime"
        else:
            _check_not_training(folder)
            plan.going.append(folder)


def _check_not_training(folder: RunFolder) -> None:
    """Check that no process is training a run.

    Raises:
        ConfigError: a process is training it.
    """
    owner = owner_of(folder.path)
    if owner is not None:
        process = f"{owner.host}, process {owner.pid}"
        raise ConfigError(f"run {folder.id} is still training ({process}); stop it first")


def _new_plan(pending: PendingRemoval) -> Plan:
    if pending.is_started:
        return Plan(pending, f"{pending.name} (finishing an interrupted removal)", sweep=None)
    sweep = SweepFolder(pending.outputs / "sweeps" / pending.name)
    return Plan(pending, f"sweep {sweep.id} ({sweep.started().command})", sweep)


def _other_sweeps_of_runs(plan: Plan) -> dict[str, list[str]]:
    """Return the IDs of the other sweeps that need each run, keyed by run ID.

    Raises:
        DamagedError: the jobs of a sweep are corrupt, so its runs are unknown.
    """
    sweeps_of_run: dict[str, list[str]] = {}
    for path in sorted((plan.pending.outputs / "sweeps").glob("*/sweep.json")):
        sweep = SweepFolder(path.parent)
        if plan.sweep is not None and sweep.id == plan.sweep.id:
            continue
        for run in sweep.run_ids():
            sweeps_of_run.setdefault(run, []).append(sweep.id)
    return sweeps_of_run


def _trained_alone(plan: Plan) -> set[str]:
    """Return the IDs of the runs that were started individually before the sweep's first start.

    Raises:
        DamagedError: sweep.json or jobs.jsonl is corrupt.
    """
    trained_alone: set[str] = set()
    for sweep in plan.all_sweeps():
        sweep_created_ms = sweep.started().created_ms
        for run in sweep.run_ids():
            folder = RunFolder(plan.runs / run)
            begun = folder.begun()
            if begun is None or begun.created_ms >= sweep_created_ms:
                continue

            arguments = begun.command.removeprefix("python -m ").split()
            is_of_sweep = not MULTIRUN.isdisjoint(arguments)
            # A run from a different outputs folder has no log.
            is_from_elsewhere = not folder.log_file.exists()
            if not is_of_sweep and not is_from_elsewhere:
                trained_alone.add(run)
    return trained_alone


def _check(sweep: SweepFolder) -> None:
    """Check that a sweep can be removed.

    Raises:
        ConfigError: the sweep is running, being uploaded, or in Slurm's queue, or another sweep
            confirms it.
    """
    stop = f"stop it first: lenet-sweep stop sweep={sweep.id}"
    owner = sweep.owner()
    if owner is not None:
        process = f"{owner.host}, process {owner.pid}"
        raise ConfigError(f"sweep {sweep.id} is still running ({process}); {stop}")

    if is_uploading(sweep.path):
        raise ConfigError(
            f"sweep {sweep.id} is being uploaded; "
            "wait until the upload has ended, or press Ctrl-C there"
        )

    queued_jobs = queued(sweep.path)
    if queued_jobs:
        jobs = ", ".join(queued_jobs)
        raise ConfigError(f"sweep {sweep.id} has jobs {jobs} in Slurm's queue; {stop}")

    for other in all_sweeps(sweep.outputs):
        if other.started().confirms == sweep.id:
            raise ConfigError(
                f"sweep {sweep.id} is confirmed by sweep {other.id}; remove that sweep first: "
                f"lenet-sweep rm sweep={other.id}"
            )


def _open_stores(plan: Plan) -> None:
    """Open the stores that are recorded in the folders.

    Runs whose models are registered in one of them stay.
    """
    for name in _store_names(plan):
        if missing_database(name) is not None:
            plan.notes.append(f"{name}: database not found; nothing will be deleted there")
        else:
            plan.stores.append(open_stored(name, plan.pending.outputs))

    for change in plan.changes():
        registered = [folder for folder in plan.going if folder.id in change.registered]
        for folder in registered:
            plan.going.remove(folder)
            plan.staying[folder.id] = change.registered[folder.id]


def _store_names(plan: Plan) -> list[str]:
    """Return the names of the stores that are recorded in the folders, without repetitions."""
    names: list[str] = []
    for folder in (*plan.runs_to_remove(), *plan.runs_to_keep()):
        names += ids_in(folder)
    for sweep in plan.all_sweeps():
        names += sweep.delivered().run_ids()
    return list(dict.fromkeys(names))
