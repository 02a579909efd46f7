"""Implements `lenet-sweep rm` in steps that can be resumed after a kill at any point.

1. Move the sweep folder to outputs/removing/<sweep>/, which other commands do not read. Otherwise,
   a sweep without some of its runs would seem to be unfinished.
2. Move the run folders that no other sweep needs to the same folder, so that `lenet-sync` does not
   upload them again.
3. Delete the MLflow runs that are recorded in the moved folders, and remove the sweeps from the
   tags of runs that stay. This step comes after the moves, because the ID of each MLflow run must
   remain on disk until the run is deleted.
4. Create the file `told`, which records that the deletions in MLflow are done.
5. Delete the moved folders, followed by `told`.

All steps are idempotent. After a kill, rerunning `lenet-sweep rm` resumes the removal in
outputs/removing/<sweep>/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lenet_exp.amounts import megabytes, number_of
from lenet_exp.errors import ConfigError, UserError, printable
from lenet_exp.folders.checkpoints import END
from lenet_exp.removal.messages import print_plan, size_of
from lenet_exp.removal.pending import PendingRemoval, exclusive_removal
from lenet_exp.removal.plan import Plan, keep_needed, make_plan
from lenet_exp.removal.stored_runs import Changes, apply

EXIT_LEFT = 1  # exit status of an incomplete removal
NEXT_STEP = "Nothing has been removed yet. To proceed, run:"


def show(pending: PendingRemoval, *, command: str) -> None:
    """Print what would be removed, what would stay (and why), and how to remove the sweep.

    Nothing is changed.

    Raises:
        UserError: see `make_plan`.
    """
    plan = make_plan(pending)
    print_plan(plan, plan.changes(), done=False)
    print(f"{NEXT_STEP} {command}")


def remove(pending: PendingRemoval) -> int:
    """Remove a sweep and return the exit status.

    The exit status is 0, or 1 if the removal is incomplete. In the latter case, the reason is
    printed.

    Raises:
        UserError: the removal cannot start (see `make_plan`). In that case, nothing is changed.
    """
    with exclusive_removal(pending.outputs):
        plan = make_plan(pending)
        try:
            _move(plan)
            changes = plan.changes()
            for change in changes:
                _leave_sweeps(plan, change)
                apply(change)
        except UserError as e:
            problem = f"{plan.words}: not removed completely: {e}."
            print(printable(f"{problem} Rerun the same command to continue."))
            return EXIT_LEFT

        pending.mark_mlflow_done()
        print_plan(plan, changes, done=True)
        pending.delete()
    return 0


def remove_final_states(outputs: Path, *, dry_run: bool) -> None:
    """Remove the final training states of all runs, or only print how many there are.

    Raises:
        OSError: a state cannot be removed. How many were removed before it is printed.
    """
    states = list((outputs / "runs").glob(f"*/{END}"))
    if dry_run:
        total_size = sum(size_of(state) for state in states)
        print(f"would remove {_states_words(len(states), total_size)}")
        if states:
            print(f"{NEXT_STEP} lenet-sweep rm final_states=true dry_run=false")
        return

    removed_count = 0
    removed_size = 0
    try:
        for state in states:
            size = size_of(state)
            state.unlink(missing_ok=True)
            removed_count += 1
            removed_size += size
    finally:
        print(f"removed {_states_words(removed_count, removed_size)}")


def _states_words(count: int, size: int) -> str:
    return f"{number_of(count, 'final training state')}, {megabytes(size)} MB"


def _move(plan: Plan) -> None:
    """Move the sweep folder and its run folders to the folder of the removal.

    Raises:
        ConfigError: another process is now running the sweep.
    """
    pending = plan.pending
    if plan.sweep is not None:
        owner = pending.move_sweep(plan.sweep)
        if owner is not None:
            process = f"{owner.host}, process {owner.pid}"
            raise ConfigError(f"sweep {plan.sweep.id} is now running ({process})")
        plan.sweep = None

    # Another sweep may have started since the plan was made.
    keep_needed(plan, [folder.id for folder in plan.going])
    for folder in list(plan.going):
        plan.going.remove(folder)
        if pending.move_run(folder) is not None:
            plan.staying[folder.id] = "now training"


def _leave_sweeps(plan: Plan, change: Changes) -> None:
    """Delete the removed sweeps from the upload records of runs that stay.

    Call this function before changing MLflow; otherwise, an upload could nest the runs under the
    removed sweeps again.
    """
    for folder in plan.runs_to_keep():
        with folder.upload_lock():
            entry = folder.delivered().run_in(change.store.name)
            if entry is None or change.removed.isdisjoint(entry.sweeps):
                continue
            sweeps = [sweep for sweep in entry.sweeps if sweep not in change.removed]
            folder.set_delivered(replace(entry, sweeps=sweeps))
