"""`lenet-sweep rm`: in an order in which a kill anywhere leaves something that the same line brings to its end.

The folders are moved out of sight first, then MLflow is told, then they are deleted (removal/removing.py).
"""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.addresses import hide_password
from lenet_exp.amounts import number_of
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.removal.disk import size_of
from lenet_exp.removal.messages import FEW, Removal, print_removal, print_trash
from lenet_exp.removal.plan import Decision, Decisions, used_by
from lenet_exp.removal.removing import alone
from lenet_exp.removal.study import study_of
from lenet_exp.removal.units import Unit

EXIT_LEFT = 1


def show(units: list[Unit], *, mlflow: bool, line: str) -> int:
    """Says what would go, what stays and why, and by which line it goes; nothing is changed.

    Raises:
        UserError: as `Decisions`.
    """
    decisions = Decisions(units, mlflow=mlflow)
    for decision in decisions.all:
        print_removal(_shown(decision, decisions), done=False)
    print(f"nothing was removed; to remove it: {line}")
    return 0


def remove(units: list[Unit], *, mlflow: bool) -> int:
    """Removes them; the exit status: 0, or 1 where something is left, which is said.

    Raises:
        UserError: as `Decisions`, before anything is changed.
    """
    with alone(units[0].removing.outputs):
        decisions = Decisions(units, mlflow=mlflow)
        for decision in decisions.all:
            removing = decision.unit.removing
            try:
                _move(decision, decisions)
                shown = _shown(decision, decisions)
                if mlflow and not removing.is_told:
                    _tell(decision, decisions)
            except UserError as e:
                print(f"{decision.unit.words}: {e}; it is not removed yet, and the same line goes on")
                return EXIT_LEFT
            removing.told()
            removing.delete()
            print_removal(shown, done=True)
        trash = {store for decision in decisions.all for store in (*decision.delete, *decision.parents)}
        print_trash([store.name for store in decisions.stores if store.name in trash])
    return 0


def _move(decision: Decision, decisions: Decisions) -> None:
    """Out of everybody's sight, the sweep first: half of its runs gone, it would look like one that has to train them.

    Raises:
        ConfigError: another process runs it by now.
    """
    unit = decision.unit
    if unit.sweep is not None and unit.is_whole:
        owner = unit.removing.take_sweep(unit.sweep)
        if owner is not None:
            raise ConfigError(f"{owner.host}, process {owner.pid} runs it now")
        decisions.together.discard(unit.removing.name)  # whoever types its line now makes it anew, and uses its runs
    for folder in list(decision.going):
        others = decisions.uses.of(folder.id) - decisions.together
        if others:
            decision.stays(folder, used_by(others))
        elif unit.removing.take_run(folder) is not None:
            decision.stays(folder, "it trains now")
        else:
            decision.going.remove(folder)


def _tell(decision: Decision, decisions: Decisions) -> None:
    """Tells the stores and the study's database, the sweep's own run last: it leads to the others.

    Raises:
        UserError: one does not answer any more.
    """
    for store in decisions.stores:
        parent = decision.parents.get(store.name)
        for run_id in decision.leave.get(store.name, ()):
            store.leave(run_id, {parent} if parent is not None else set())
        for run in decision.staying:
            _forget_sweep(RunFolder(decisions.outputs / "runs" / run), store.name, parent)
        for run_id in decision.delete.get(store.name, ()):
            store.delete(run_id)
        if parent is not None:
            store.delete(parent)
    study = study_of(decision.unit)
    if study is not None:
        study.delete()


def _forget_sweep(folder: RunFolder, store: str, parent: str | None) -> None:
    with folder.delivery_lock():
        delivered = folder.delivered()
        entry = delivered.of(store)
        if entry is not None and parent in entry.sweeps:
            sweeps = [sweep for sweep in entry.sweeps if sweep != parent]
            folder.set_delivered(delivered.having(replace(entry, sweeps=sweeps)))


def _shown(decision: Decision, decisions: Decisions) -> Removal:
    unit, runs = decision.unit, decisions.outputs / "runs"
    moved = unit.removing.runs()
    going = [*decision.going, *moved]
    bytes_ = size_of(unit.removing.path) + sum(size_of(folder.path) for folder in decision.going)
    bytes_ += size_of(unit.sweep.path) if unit.sweep is not None and unit.is_whole else 0
    stores = []
    for store in decisions.stores:
        ids = decision.delete.get(store.name, [])
        models = sum(len(store.models.get(run_id, ())) for run_id in ids)
        stores.append((store.name, len(ids) + (store.name in decision.parents), models))
    return Removal(
        words=unit.words,
        is_sweep=unit.sweep is not None,
        going=[(_name(folder), folder.id) for folder in going[:FEW]],
        runs=len(going),
        bytes=bytes_,
        staying=[(_name(RunFolder(runs / run)), run, why) for run, why in list(decision.staying.items())[:FEW]],
        stay=len(decision.staying),
        stores=stores,
        kept=list(decision.kept.items()),
        notes=_notes(decision, decisions),
    )


def _name(folder: RunFolder) -> str:
    begun = folder.begun()
    return begun.name if begun is not None else "nothing was trained"


def _notes(decision: Decision, decisions: Decisions) -> list[str]:
    """What a person may not have thought of."""
    unit, notes = decision.unit, []
    if unit.removing.is_told:
        notes.append("MLflow was told before; only files were left")
    elif decision.went_on:
        notes.append("lenet-sweep rm was ended in the middle of it, and goes on")
    if unit.plan is not None and unit.plan.confirms is not None:
        notes.append(f"it confirms sweep {unit.plan.confirms}, and its answer goes with it")
    tested = sum(
        "test_opened" in store.runs[run_id].data.tags
        for store in decisions.stores
        for run_id in decision.delete.get(store.name, ())
    )
    if tested:
        notes.append(f"that the test set was opened for {number_of(tested, 'run')} of it is forgotten, too")
    study = study_of(unit)
    if study is not None and not study.can_be_opened:
        notes.append(f"its study stays in its database; to delete it: {study.by_hand}")
    elif study is not None and study.is_there():
        notes.append(f"its study goes, too: {study.name} in {hide_password(study.url)}")
    return notes
