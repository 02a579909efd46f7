"""What goes and what stays of what `lenet-sweep rm` was asked for; decided anew at each start: others may use it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from lenet_exp.addresses import hide_password, store_uri
from lenet_exp.errors import ConfigError, StoreError
from lenet_exp.executors.slurm.driver import queued
from lenet_exp.folders.owner import owner_of
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import all_sweeps
from lenet_exp.removal.references import Uses
from lenet_exp.removal.stored_runs import StoreRemoval, ids_in, open_removal
from lenet_exp.removal.units import Unit

Books = list[tuple[RunFolder, dict[str, list[str]]]]  # run folders, and by store the MLflow runs that they know


@dataclass
class Decision:
    """What becomes of one unit.

    Attributes:
        went_on: whether an earlier start began it.
        going: run folders.
        staying: run folders, and why they stay.
        delete: by store, MLflow runs.
        leave: by store, MLflow runs that are kept and leave the sweep.
        kept: those of them whose folder goes, and why they are kept.
        parents: by store, the sweep's own run.
        known: by name of a run folder in its place, stores and the MLflow runs that it has there.
    """

    unit: Unit
    went_on: bool
    going: list[RunFolder] = field(default_factory=list)
    staying: dict[str, str] = field(default_factory=dict)
    delete: dict[str, list[str]] = field(default_factory=dict)
    leave: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    known: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def stays(self, folder: RunFolder, why: str) -> None:
        """A folder that should go does not."""
        self.going.remove(folder)
        self.staying[folder.id] = why
        for store, run_id in self.known.get(folder.id, ()):
            if run_id in self.delete.get(store, ()):
                self.delete[store].remove(run_id)
                self.leave.setdefault(store, []).append(run_id)


class Decisions:
    """Args:
    units: that are removed together, in this order.
    mlflow: whether their MLflow runs go, too; else no store is asked.

    Raises:
        ConfigError: one of them lives, or something that stays needs it.
        StoreError: a store can't be reached, or needs a password that was not kept.
    """

    def __init__(self, units: list[Unit], *, mlflow: bool) -> None:
        self.outputs = units[0].removing.outputs
        self.uses = Uses(self.outputs)
        self.together = {unit.removing.name for unit in units if unit.is_whole}
        self.stores: list[StoreRemoval] = []
        for unit in units:
            self._check(unit)
        self.all = [Decision(unit, unit.began) for unit in units]
        self._share_out()
        if mlflow:
            try:
                self._ask_stores(next((unit.experiment for unit in units if unit.experiment), ""))
            except StoreError as e:
                raise StoreError(f"{e}; nothing was removed; mlflow=false removes the folders alone") from e

    def removed(self, store: StoreRemoval) -> set[str]:
        """The MLflow runs of all sweeps that go."""
        return {decision.parents[store.name] for decision in self.all if store.name in decision.parents}

    def _check(self, unit: Unit) -> None:
        """Raises:
        ConfigError: as the class.
        """
        name, sweep = unit.removing.name, unit.sweep
        if sweep is None or not unit.is_whole:
            return
        owner = sweep.owner()
        if owner is not None:
            raise ConfigError(
                f"sweep {name} runs ({owner.host}, process {owner.pid}); allowed once it has ended: "
                f"lenet-sweep stop sweep={name}"
            )
        driver, allocations = queued(sweep.path)
        waiting = [*([driver] if driver is not None else []), *allocations]
        if waiting:
            raise ConfigError(
                f"sweep {name} has {', '.join(job.id for job in waiting)} in Slurm's queue; allowed once they are out: "
                f"lenet-sweep stop sweep={name}"
            )
        for other in all_sweeps(self.outputs):
            if other.started().confirms == name and other.id not in self.together:
                raise ConfigError(
                    f"sweep {name} is what sweep {other.id} confirms; allowed once that is removed: "
                    f"lenet-sweep rm sweep={other.id}"
                )

    def _share_out(self) -> None:
        """Which folders go."""
        users: dict[str, list[str]] = {}
        for sweep, runs in self.uses.by_sweep().items():
            for run in runs if sweep not in self.together else ():
                users.setdefault(run, []).append(sweep)
        seen: set[str] = set()
        for decision in self.all:
            for run in decision.unit.runs:
                folder = RunFolder(self.outputs / "runs" / run)
                if run in seen or not folder.path.is_dir():
                    continue
                if run in users:
                    decision.staying[run] = used_by(users[run])
                    continue
                seen.add(run)
                owner = owner_of(folder.path)
                if owner is not None:
                    raise ConfigError(
                        f"run {run} trains ({owner.host}, process {owner.pid}); allowed once it has ended"
                    )
                decision.going.append(folder)

    def _ask_stores(self, experiment: str) -> None:
        books = [self._books(decision) for decision in self.all]
        for name in dict.fromkeys(
            n for decision, book in zip(self.all, books, strict=True) for n in _names(decision, book)
        ):
            store = open_removal(_address(name), experiment, self.outputs)
            self.stores += [store] if store is not None else []
        for store in self.stores:
            for decision in self.all:
                unit = decision.unit
                if unit.plan is not None:
                    parent = store.parent_of(unit.plan, unit.lies)
                    decision.parents |= {store.name: parent} if parent is not None else {}
        for decision, book in zip(self.all, books, strict=True):
            self._in_stores(decision, book)

    def _books(self, decision: Decision) -> Books:
        """What the folders say that the stores have: of those that go, that were moved before, and that stay."""
        staying = [RunFolder(self.outputs / "runs" / run) for run in decision.staying]
        return [(f, ids_in(f)) for f in (*decision.going, *decision.unit.removing.runs(), *staying)]

    def _in_stores(self, decision: Decision, books: Books) -> None:
        """First why runs have to be kept, in whatever store: then their folder stays, and they are kept in all."""
        found: list[tuple[RunFolder, StoreRemoval, str, str | None]] = []
        for store in self.stores:
            store.look(run_id for _, ids in books for run_id in ids.get(store.name, ()))
            mine = {
                f.path: [i for i in ids.get(store.name) or store.forgotten(f) if i in store.runs] for f, ids in books
            }
            store.look_for_models({run_id for ids in mine.values() for run_id in ids})
            registered = store.registered() if any(mine.values()) else {}
            for folder, _ in books:
                for run_id in mine[folder.path]:
                    found.append((folder, store, run_id, self._why_kept(folder, run_id, store, registered)))
        for folder, _, _, why in found:
            if why is not None and folder in decision.going and not is_adopted(folder):
                decision.stays(folder, why)
        for folder, store, run_id, why in found:
            in_place = folder.path.parent.parent == self.outputs
            stays = in_place and folder.id in decision.staying
            if in_place:
                decision.known.setdefault(folder.id, []).append((store.name, run_id))
            which = decision.leave if stays or why is not None else decision.delete
            which.setdefault(store.name, []).append(run_id)
            decision.kept |= {run_id: why} if why is not None and not stays else {}

    def _why_kept(self, folder: RunFolder, run_id: str, store: StoreRemoval, registered: dict[str, str]) -> str | None:
        """Why an MLflow run has to stay; None where it need not."""
        keys = [run_id, *store.models.get(run_id, ())]
        which = next((registered[key] for key in keys if key in registered), None)
        if which is not None:
            return f"its model is {which}"
        others = store.others(run_id, self.removed(store))
        if others:
            return f"the sweep that is MLflow run {others[0]} uses it, too"
        if is_adopted(folder):
            return "it was trained in another outputs folder"
        again = RunFolder(self.outputs / "runs" / folder.id.partition("-")[0])
        if again.path != folder.path and run_id in ids_in(again).get(store.name, ()):
            return "it was taken over again meanwhile"
        return None


def used_by(sweeps: Iterable[str]) -> str:
    """Why a run stays that sweeps use."""
    return f"sweep {', '.join(sorted(sweeps))} uses it, too"


def is_adopted(folder: RunFolder) -> bool:
    """Whether it was taken over from a store that others share: there is a record, and no epoch was trained here."""
    if folder.log_file.exists():
        return False
    record = folder.record()
    return record is not None and record.epochs > 0 and not folder.history().epochs


def _address(store: str) -> str:
    """Raises:
    StoreError: its password was not kept.
    """
    if "***" not in store:
        return store
    given = os.environ.get("MLFLOW_TRACKING_URI") or ""
    if hide_password(given) != store:
        raise StoreError(f"tracking.uri={store}: its password was not kept; set MLFLOW_TRACKING_URI")
    return given


def _names(decision: Decision, books: Books) -> Iterable[str]:
    """Of stores that may have something of it: that which was meant, too, where an answer may have been lost."""
    plan = decision.unit.plan
    for _, ids in books:
        yield from ids
    if plan is not None:
        yield from plan.mlflow_runs
        yield hide_password(store_uri(plan.tracking_uri, decision.unit.removing.outputs))
