"""`lenet-sweep rm`, in an order that makes a kill anywhere repairable.

1. The sweep folders are moved to outputs/removing/<name>/, out of sight of every other command: a sweep with half of
   its runs gone would look like one that has to train them.
2. The run folders that no sweep needs are moved there. So `lenet-sync` has nothing to upload again.
3. MLflow deletes what the moved folders name, and what stays leaves the sweeps. Only now, since each deleted MLflow run
   has to be known to some folder until it is deleted.
4. The file `told` notes that MLflow is done.
5. What was moved is deleted, `told` last.

After a kill the same command finds outputs/removing/<name>/ and repeats these steps; each changes nothing that is done.
"""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.errors import ConfigError, UserError, printable
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.removal.messages import print_plan, print_trash
from lenet_exp.removal.plan import Plan, keep_used, make_plan
from lenet_exp.removal.pending import exclusive_removal
from lenet_exp.removal.stored_runs import Changes, apply
from lenet_exp.removal.target import Target

EXIT_LEFT = 1


def show(target: Target, *, mlflow: bool, command: str) -> int:
    """Prints what would go, what stays and why, and the command that removes it; nothing is changed.

    Raises:
        UserError: as of `make_plan`.
    """
    plan = make_plan(target, mlflow=mlflow)
    print_plan(plan, plan.changes(), done=False)
    print(f"nothing was removed; to remove it: {command}")
    return 0


def remove(target: Target, *, mlflow: bool) -> int:
    """Removes it. The exit status: 0, or 1 where something is left, which is said.

    Raises:
        UserError: as of `make_plan`, before anything is changed.
    """
    pending = target.pending
    with exclusive_removal(pending.outputs):
        plan = make_plan(target, mlflow=mlflow and not pending.is_mlflow_done)
        try:
            _move(plan)
            changes = plan.changes()
            for change in changes:
                _leave_sweeps(plan, change)
                apply(change)
        except UserError as e:
            print(printable(f"{target.words}: {e}; it is not removed yet, and the same line goes on"))
            return EXIT_LEFT
        pending.mark_mlflow_done()
        print_plan(plan, changes, done=True)
        pending.delete()
        print_trash(changes)
    return 0


def _move(plan: Plan) -> None:
    """Raises:
    ConfigError: another process runs a sweep by now.
    """
    pending = plan.target.pending
    for sweep in list(plan.sweeps):
        owner = pending.move_sweep(sweep)
        if owner is not None:
            raise ConfigError(f"{owner.host}, process {owner.pid} runs sweep {sweep.id} now")
        plan.sweeps.remove(sweep)
    keep_used(plan, [folder.id for folder in plan.going])  # another sweep may have started meanwhile
    for folder in list(plan.going):
        plan.going.remove(folder)
        if pending.move_run(folder) is not None:
            plan.staying[folder.id] = "it trains now"


def _leave_sweeps(plan: Plan, change: Changes) -> None:
    """Takes run folders that stay out of the sweeps that go; before MLflow does, or it would seem to have lost them."""
    for run in plan.staying:
        folder = RunFolder(plan.runs / run)
        with folder.delivery_lock():
            delivered = folder.delivered()
            entry = delivered.run_in(change.store.name)
            if entry is not None and change.removed & {*entry.sweeps}:
                sweeps = [sweep for sweep in entry.sweeps if sweep not in change.removed]
                folder.set_delivered(delivered.with_run(replace(entry, sweeps=sweeps)))
