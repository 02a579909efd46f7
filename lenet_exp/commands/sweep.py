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
from typing import TYPE_CHECKING

from lenet_exp.commands.ending import EXIT_FAILED
from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.errors import ConfigError, did_you_mean
from lenet_exp.outputs import outputs_dir

if TYPE_CHECKING:
    from lenet_exp.folders.sweep_folder import SweepFolder

SWEEP_FLAGS: FlagValues = {"sweep": "last"}
FLAGS: dict[str, FlagValues] = {
    "list": {"user": None, "model": None, "tag": None},
    "status": SWEEP_FLAGS,
    "watch": SWEEP_FLAGS,
    "stop": SWEEP_FLAGS,
    "rm": {"sweep": None, "final_states": "false", "dry_run": "true"},
}


def run(arguments: list[str]) -> int:
    """Run `lenet-sweep <arguments>` and return its exit status."""
    action = arguments[0] if arguments else "(no command)"
    if action not in FLAGS:
        expected = f"expected one of: {', '.join(FLAGS)}{did_you_mean(action, FLAGS)}"
        raise ConfigError(f"{action}: {expected}")
    values = parse(arguments[1:], FLAGS[action])

    from lenet_exp.folders.find import find_sweep
    from lenet_exp.reports.terminal.log_output import log_to_console

    log_to_console()
    if action == "rm":
        return _remove(values)
    if action == "list":
        return _list(values)
    sweep = find_sweep(str(values["sweep"]))
    if action == "stop":
        return _stop(sweep)
    if action == "watch":
        return _watch(sweep)
    _print_status(sweep)
    return 0


def _list(filters: FlagValues) -> int:
    from lenet_exp.removal.pending import log_unfinished
    from lenet_exp.reports.terminal.sweep_status import matches, print_list
    from lenet_exp.sweeps.repair import repair_all

    log_unfinished(outputs_dir())
    sweeps = repair_all(outputs_dir())
    matching_sweeps = [sweep for sweep in sweeps if matches(sweep, **filters)]
    if sweeps and not matching_sweeps:
        raise ConfigError(
            f"no sweep in {outputs_dir()} matches; run lenet-sweep list without flags"
        )
    print_list(matching_sweeps)
    return 0


def _stop(sweep: SweepFolder) -> int:
    from lenet_exp.sweeps.repair import try_repair
    from lenet_exp.sweeps.stop import stop_sweep

    try_repair(sweep)
    return stop_sweep(sweep)


def _watch(sweep: SweepFolder) -> int:
    """Watch a sweep until it ends, and return 0 if it finished."""
    from lenet_exp.folders.records import Outcome
    from lenet_exp.sweeps.follow import follow

    follow(sweep)
    _print_status(sweep)
    return 0 if sweep.started().outcome is Outcome.finished else EXIT_FAILED


def _print_status(sweep: SweepFolder) -> None:
    from lenet_exp.reports.terminal.sweep_status import print_status
    from lenet_exp.sweeps.follow import allocation_status
    from lenet_exp.sweeps.repair import repair

    repair(sweep)
    print_status(sweep)
    words = allocation_status(sweep)
    if words:
        print(words)


def _remove(values: FlagValues) -> int:
    requested_sweep = values["sweep"]
    dry_run = values["dry_run"] == "true"
    removes_final_states = values["final_states"] == "true"
    if (requested_sweep is not None) == removes_final_states:
        raise ConfigError("rm: requires exactly one of: sweep=, final_states=true")

    from lenet_exp.removal.pending import find_removal
    from lenet_exp.removal.remove import remove, remove_final_states, show

    if requested_sweep is None:
        remove_final_states(outputs_dir(), dry_run=dry_run)
        return 0
    removal = find_removal(requested_sweep)
    if not dry_run:
        return remove(removal)
    # `last` could mean a different sweep later.
    sweep = removal.name if requested_sweep == "last" else requested_sweep
    show(removal, command=f"lenet-sweep rm sweep={shlex.quote(sweep)} dry_run=false")
    return 0


def main() -> None:
    """Run the `lenet-sweep` command."""
    run_command("lenet-sweep", __doc__, run)
