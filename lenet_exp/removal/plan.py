"""Plans a removal: determines what is removed and what stays.

A new plan is made each time a removal is started, because another sweep may have started to use one of the runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from lenet_exp.addresses import missing_database
from lenet_exp.errors import ConfigError, StoreError
from lenet_exp.executors.queues import queued
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder, all_sweeps
from lenet_exp.removal.stored_runs import Changes, changes_in, ids_in, open_stored
from lenet_exp.removal.target import RemovalTarget
from lenet_exp.tracking.stores.store import Store


@dataclass
class Plan:
    """The plan of a removal.

    Attributes:
        target: sweeps and runs to remove.
        sweeps: sweep folders to remove that have not been moved yet.
        going: run folders to remove that have not been moved yet.
        staying: reason why each run folder that is not removed stays, keyed by run ID.
        stores: stores that contain some of the target's runs.
        notes: notes for the user.
    """

    target: RemovalTarget
    sweeps: list[SweepFolder]
    going: list[RunFolder] = field(default_factory=list)
    staying: dict[str, str] = field(default_factory=dict)
    stores: list[Store] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        """The folder that contains all run folders."""
        return self.target.pending.outputs / "runs"

    def all_sweeps(self) -> list[SweepFolder]:
        """Return the sweeps to remove, including sweeps that were already moved."""
        return [*self.target.pending.sweeps(), *self.sweeps]

    def all_going(self) -> list[RunFolder]:
        """Return the run folders to remove, including folders that were already moved."""
        return [*self.target.pending.runs(), *self.going]

    def changes(self) -> list[Changes]:
        """Return the changes that the removal makes in each store."""
        staying = [RunFolder(self.runs / run) for run in self.staying]
        return [changes_in(store, self.all_going(), staying, sweeps=self.all_sweeps()) for store in self.stores]


def make_plan(target: RemovalTarget, *, mlflow: bool) -> Plan:
    """Return the plan of a removal.

    Args:
        mlflow: whether to also delete the target's MLflow runs; otherwise, no store is contacted.

    Raises:
        ConfigError: the target is in use, or it includes a sweep that another sweep confirms.
        DamagedError: another sweep is corrupt, so its runs are unknown.
        StoreError: a store does not respond or is not supported.
    """
    plan = Plan(target, list(target.sweeps))
    for sweep in target.sweeps:
        _check(sweep, target)
    keep_used(plan, target.runs)
    if mlflow:
        try:
            _ask_stores(plan)
        except (ConfigError, StoreError) as e:
            raise StoreError(f"{e}; nothing was removed. To remove only the folders, set mlflow=false.") from e
    return plan


def keep_used(plan: Plan, runs: list[str]) -> None:
    """Divide runs into runs to remove and runs that stay, and record the division in the plan.

    Runs stay if another sweep needs them, or if they were trained individually before the removed sweep.

    Raises:
        ConfigError: a run to remove is being trained.
    """
    users = _users_of(plan.target.pending.outputs, {sweep.id for sweep in plan.sweeps})
    moved = {folder.id for folder in plan.target.pending.runs()}
    plan.going = []
    for folder in (RunFolder(plan.runs / run) for run in runs):
        if not folder.path.is_dir():
            continue
        if folder.id in users:
            plan.staying[folder.id] = f"also used by sweep {', '.join(users[folder.id])}"
        elif folder.id in plan.target.alone:
            plan.staying[folder.id] = f"trained before the sweep; to remove it, run: lenet-sweep rm run={folder.id[:8]}"
        elif folder.id in moved:
            plan.staying[folder.id] = "retrained in the meantime"
        elif (owner := owner_of(folder.path)) is not None:
            raise ConfigError(f"run {folder.id} is still training ({owner.host}, process {owner.pid}); stop it first")
        else:
            plan.going.append(folder)


def _users_of(outputs: Path, but: Collection[str]) -> dict[str, list[str]]:
    """Return the IDs of the sweeps that need each run, keyed by run ID.

    Args:
        but: IDs of sweeps to ignore.

    Raises:
        DamagedError: the jobs of a sweep are corrupt, so its runs are unknown.
    """
    users: dict[str, list[str]] = {}
    for path in sorted((outputs / "sweeps").glob("*/sweep.json")):
        sweep = SweepFolder(path.parent)
        for run in sweep.run_ids() if sweep.id not in but else ():
            users.setdefault(run, []).append(sweep.id)
    return users


def _check(sweep: SweepFolder, target: RemovalTarget) -> None:
    """Check that a sweep can be removed.

    Raises:
        ConfigError: the sweep is running or in Slurm's queue, or another sweep confirms it.
    """
    owner = sweep.owner()
    if owner is not None:
        raise ConfigError(
            f"sweep {sweep.id} is still running ({owner.host}, process {owner.pid}); stop it first: "
            f"lenet-sweep stop sweep={sweep.id}"
        )
    if waiting := queued(sweep.path):
        raise ConfigError(
            f"sweep {sweep.id} has jobs {', '.join(waiting)} in Slurm's queue; stop it first: "
            f"lenet-sweep stop sweep={sweep.id}"
        )
    together = {one.id for one in target.sweeps}
    for other in all_sweeps(sweep.outputs):
        if other.started().confirms == sweep.id and other.id not in together:
            raise ConfigError(
                f"sweep {sweep.id} is confirmed by sweep {other.id}; remove that sweep first: "
                f"lenet-sweep rm sweep={other.id}"
            )


def _ask_stores(plan: Plan) -> None:
    """Open the stores that are recorded in the folders, and keep the runs whose models are registered."""
    staying = [RunFolder(plan.runs / run) for run in plan.staying]
    names = dict.fromkeys(name for folder in (*plan.all_going(), *staying) for name in ids_in(folder))
    for sweep in plan.all_sweeps():
        names |= dict.fromkeys(sweep.started().mlflow_runs)
    for name in names:
        if missing_database(name) is not None:
            plan.notes.append(f"{name}: database not found; nothing will be deleted there")
        else:
            plan.stores.append(open_stored(name, plan.target.pending.outputs))
    for change in plan.changes():
        for folder in [folder for folder in plan.going if folder.id in change.registered]:
            plan.going.remove(folder)
            plan.staying[folder.id] = change.registered[folder.id]
