"""lenet-sweep: list, watch, stop, and remove sweeps.

  lenet-sweep list                 list the sweeps in the outputs folder, latest first
    user=ada model=lenet5 tag=note=first
                                   list only the sweeps of a user, with a model, or with a tag
                                   (tag=note: any value)
  lenet-sweep status [sweep=last]  show running and failed runs, their hosts, and the estimated time
                                   left
  lenet-sweep watch [sweep=last]   watch a sweep until it ends; exit with status 0 if it finished,
                                   otherwise 1
  lenet-sweep stop [sweep=last]    stop a sweep; its runs save checkpoints and can be resumed
  lenet-sweep rm sweep=<which>     show what would be removed or kept on disk and in MLflow, and why
    dry_run=false                  remove the sweep; if the removal is interrupted, rerun the same
                                   command to finish it
  lenet-sweep rm final_states=true
                                   show the size of the final training states of all runs, which
                                   runs with a larger num_epoch continue; dry_run=false removes them

For sweep=, give 'last', the sweep's ID (or its first few characters), its MLflow run ID, or its
folder. rm keeps runs that another sweep uses and runs whose model is registered. MLflow can restore
deleted runs until you run mlflow gc. The list, status, watch, and stop commands first check for
sweeps whose processes have died, and mark them and their runs as killed. To update MLflow, and to
upload results that it missed, run lenet-sync. To resume a sweep, run lenet-train -m
sweep.resume=last. The outputs folder is $LENET_EXP_OUTPUTS if set, otherwise ./outputs.
"""

from __future__ import annotations

import shlex

from lenet_exp.commands.ending import EXIT_FAILED
from lenet_exp.commands.literal import parse, run_command
from lenet_exp.errors import ConfigError, did_you_mean
from lenet_exp.outputs import outputs_dir

OF_SWEEP: dict[str, str | None] = {"sweep": "last"}
FLAGS: dict[str, dict[str, str | None]] = {
    "list": {"user": None, "model": None, "tag": None},
    "status": OF_SWEEP,
    "watch": OF_SWEEP,
    "stop": OF_SWEEP,
    "rm": {"sweep": None, "final_states": "false", "dry_run": "true"},
}


def run(arguments: list[str]) -> int:
    """Run `lenet-sweep <arguments>` and return its exit status."""
    action = arguments[0] if arguments else "(no command)"
    if action not in FLAGS:
        raise ConfigError(
            f"{action}: expected one of: {', '.join(FLAGS)}{did_you_mean(action, FLAGS)}"
        )
    values = parse(arguments[1:], FLAGS[action])
    from lenet_exp.reports.terminal.log_output import log_to_console

    log_to_console()
    if action == "rm":
        return rm(values)
    return _look_after(action, values)


def _look_after(action: str, values: dict[str, str | None]) -> int:
    from lenet_exp.folders.find import find_sweep
    from lenet_exp.folders.records import Outcome
    from lenet_exp.removal.pending import log_unfinished
    from lenet_exp.reports.terminal.sweep_status import matches, print_list, print_status
    from lenet_exp.sweeps.follow import allocation_status, follow
    from lenet_exp.sweeps.repair import repair, repair_all, try_repair
    from lenet_exp.sweeps.stop import stop_sweep

    if action == "list":
        log_unfinished(outputs_dir())
        sweeps = repair_all(outputs_dir())
        found = [sweep for sweep in sweeps if matches(sweep, **values)]
        if sweeps and not found:
            raise ConfigError(
                f"no sweep in {outputs_dir()} matches; run lenet-sweep list without flags"
            )
        print_list(found)
        return 0
    sweep = find_sweep(str(values["sweep"]))
    if action == "stop":
        try_repair(sweep)
        return stop_sweep(sweep)
    if action == "watch":
        follow(sweep)
    repair(sweep)
    print_status(sweep)
    if words := allocation_status(sweep):
        print(words)
    return (
        EXIT_FAILED if action == "watch" and sweep.started().outcome is not Outcome.finished else 0
    )


def rm(values: dict[str, str | None]) -> int:
    """Run `lenet-sweep rm` with the values of its flags and return its exit status."""
    which = values["sweep"]
    final_states = values["final_states"] == "true"
    dry_run = values["dry_run"] == "true"
    if (which is not None) == final_states:
        raise ConfigError("rm: requires exactly one of: sweep=, final_states=true")
    from lenet_exp.removal.pending import find_removal
    from lenet_exp.removal.remove import remove, remove_final_states, show

    if which is None:
        remove_final_states(outputs_dir(), dry_run=dry_run)
        return 0
    pending = find_removal(which)
    if not dry_run:
        return remove(pending)
    same = pending.name if which == "last" else which  # `last` could mean a different sweep later
    show(pending, command=f"lenet-sweep rm sweep={shlex.quote(same)} dry_run=false")
    return 0


def main() -> None:
    """Run the `lenet-sweep` command."""
    run_command("lenet-sweep", __doc__, run)
