"""Implements `lenet-sweep rm` in steps that can be resumed after a kill at any point.

1. Move the sweep folders to outputs/removing/<name>/, which other commands do not read. Otherwise, a sweep without some
   of its runs would seem to be unfinished.
2. Move the run folders that no other sweep needs to the same folder, so that `lenet-sync` does not upload them again.
3. Delete the MLflow runs that are recorded in the moved folders, and remove the sweeps from the tags of runs that stay.
   This step comes after the moves, because the ID of each MLflow run must remain on disk until the run is deleted.
4. Create the file `told`, which records that the deletions in MLflow are done.
5. Delete the moved folders, followed by `told`.

All steps are idempotent. After a kill, rerunning `lenet-sweep rm` resumes the removal in outputs/removing/<name>/.
"""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.errors import ConfigError, UserError, printable
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.removal.messages import print_plan
from lenet_exp.removal.pending import exclusive_removal
from lenet_exp.removal.plan import Plan, keep_used, make_plan
from lenet_exp.removal.stored_runs import Changes, apply
from lenet_exp.removal.target import RemovalTarget

EXIT_LEFT = 1  # exit status of an incomplete removal


def show(target: RemovalTarget, *, mlflow: bool, command: str) -> int:
    """Print what would be removed, what would stay (and why), and the command that removes the target.

    Nothing is changed.

    Raises:
        UserError: see `make_plan`.
    """
    plan = make_plan(target, mlflow=mlflow)
    print_plan(plan, plan.changes(), done=False)
    print(f"Nothing has been removed yet. To proceed, run: {command}")
    return 0


def remove(target: RemovalTarget, *, mlflow: bool) -> int:
    """Remove the target and return the exit status.

    The exit status is 0, or 1 if the removal is incomplete. In the latter case, the reason is printed.

    Raises:
        UserError: the removal cannot start (see `make_plan`). In that case, nothing is changed.
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
            print(printable(f"{target.words}: not removed completely: {e}. Rerun the same command to continue."))
            return EXIT_LEFT
        pending.mark_mlflow_done()
        print_plan(plan, changes, done=True)
        pending.delete()
    return 0


def _move(plan: Plan) -> None:
    """Move the sweep and run folders to the folder of the removal.

    Raises:
        ConfigError: another process is now running one of the sweeps.
    """
    pending = plan.target.pending
    for sweep in list(plan.sweeps):
        owner = pending.move_sweep(sweep)
        if owner is not None:
            raise ConfigError(f"sweep {sweep.id} is now running ({owner.host}, process {owner.pid})")
        plan.sweeps.remove(sweep)
    keep_used(plan, [folder.id for folder in plan.going])  # again, because another sweep may have started since
    for folder in list(plan.going):
        plan.going.remove(folder)
        if pending.move_run(folder) is not None:
            plan.staying[folder.id] = "now training"


def _leave_sweeps(plan: Plan, change: Changes) -> None:
    """Delete the removed sweeps from the upload records of runs that stay.

    Call this function before changing MLflow; otherwise, the change would look like lost data.
    """
    for run in plan.staying:
        folder = RunFolder(plan.runs / run)
        with folder.delivery_lock():
            entry = folder.delivered().run_in(change.store.name)
            if entry is not None and change.removed & {*entry.sweeps}:
                sweeps = [sweep for sweep in entry.sweeps if sweep not in change.removed]
                folder.set_delivered(replace(entry, sweeps=sweeps))
