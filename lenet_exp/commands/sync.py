"""lenet-sync: uploads results that MLflow is missing."""

from __future__ import annotations

from lenet_exp.commands.literal import completions, parse, run_command
from lenet_exp.errors import ConfigError

USAGE = """
lenet-sync: delivers to MLflow what is left in the outputs folder, because the store was away or lost it.

  lenet-sync                 of all sweeps and runs
  lenet-sync sweep=<which>   of one sweep: last, its id (or its first digits), its MLflow run id, or its folder
  lenet-sync run=<which>     of one run: its run folder, or that folder's name (or its first digits)

  tracking.uri=      the store (MLFLOW_TRACKING_URI, else for each the one that it was meant for)

It says how much was delivered and what is left. Nothing is delivered twice. Runs and sweeps whose process lives are
left to it; what a process that was killed left behind is marked as killed, as by lenet-sweep, and can go on.
The outputs folder is $LENET_EXP_OUTPUTS, else ./outputs. Exit status: 0; 1 while something is left.
"""

KNOWN: dict[str, str | None] = {"sweep": None, "run": None, "tracking.uri": None}
EXIT_LEFT = 1


def run(arguments: list[str]) -> int:
    """Run `lenet-sync <arguments>` and return its exit status."""
    values = parse(arguments, KNOWN)
    which, run, uri = values["sweep"], values["run"], values["tracking.uri"]
    if which is not None and run is not None:
        raise ConfigError("sweep= and run=: must not both be set")
    from lenet_exp.config.check import check_store
    from lenet_exp.folders.find import all_runs, find_run, find_sweep
    from lenet_exp.folders.sweep_folder import all_sweeps
    from lenet_exp.outputs import outputs_dir
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.sweeps.stores import Stores
    from lenet_exp.sweeps.sync import Sync
    from lenet_exp.tracking.stores import usable
    from lenet_exp.waiting import print_waiting

    log_to_console()
    print_waiting("delivering what MLflow has not got; a store that restarts is waited for")
    if uri is not None:
        check_store(uri)
        usable.check_store(uri)
    if which is not None:
        sweep = find_sweep(which)
        sync = Sync(Stores(sweep.outputs, uri))
        sync.sync_sweeps([sweep])
    elif run is not None:
        folder = find_run(run)
        sync = Sync(Stores(folder.path.parent.parent, uri))
        sync.learn_sweeps(all_sweeps(folder.path.parent.parent))
        sync.sync_runs([folder])
    else:
        sync = Sync(Stores(outputs_dir(), uri))
        sync.sync_sweeps(all_sweeps(outputs_dir()))
        sync.sync_runs(all_runs(outputs_dir()))
    if sync.owned:
        print(f"left to the processes that live: {sync.owned}")
    print(f"delivered: {sync.delivered}")
    print(f"left: {sync.left}")
    return EXIT_LEFT if sync.left else 0


def main() -> None:
    """Run the command lenet-sync."""
    run_command("lenet-sync", USAGE, run, completions(KNOWN, sweep=("", "last")))
