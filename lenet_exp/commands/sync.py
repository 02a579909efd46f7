"""lenet-sync: upload results that MLflow missed.

  lenet-sync                 upload the results of all sweeps and runs in the outputs folder
  lenet-sync sweep=<which>   upload the results of one sweep; give 'last', its ID (or its first few
                             characters), its MLflow run ID, or its folder
  lenet-sync run=<which>     upload the results of one run; give its folder or its ID (or its first
                             few characters)
  lenet-sync champion=<id>   make the model of an MLflow run the champion for its network and
                             dataset, even if the champion was validated on other images
  lenet-sync again=true      upload everything again, after the store was restored from a backup
  lenet-sync follow=true     upload the last sweep, or the one in sweep=, while it runs; use this
                             beside a sweep whose machine has no route to the store

  tracking.uri=      MLflow store (default: $MLFLOW_TRACKING_URI, else the store set for each sweep
                     or run)

Nothing is stored twice in MLflow. Without follow=true, sweeps and runs that are still running are
skipped, because they upload their own results. Sweeps and runs whose processes have died are marked
as killed on disk and in MLflow; you can resume them. The outputs folder is $LENET_EXP_OUTPUTS if
set, otherwise ./outputs. Exit status: 0 if MLflow is up to date, 1 if results are missing.
"""

from __future__ import annotations

from lenet_exp.commands.ending import EXIT_FAILED
from lenet_exp.commands.literal import parse, run_command
from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

FLAGS: dict[str, str | None] = {
    "sweep": None,
    "run": None,
    "champion": None,
    "again": "false",
    "follow": "false",
    "tracking.uri": None,
}


def run(arguments: list[str]) -> int:
    """Run `lenet-sync <arguments>` and return its exit status."""
    values = parse(arguments, FLAGS)
    which = values["sweep"]
    run = values["run"]
    uri = values["tracking.uri"]
    again = values["again"] == "true"
    follows = values["follow"] == "true"
    selected = [flag for flag in ("sweep", "run", "champion") if values[flag] is not None]
    if len(selected) > 1:
        raise ConfigError(
            f"{' and '.join(f'{flag}=' for flag in selected)} are set; set only one of them"
        )
    if again and values["champion"] is not None:
        raise ConfigError("again=true and champion= are set; set only one of them")

    if follows and (run is not None or values["champion"] is not None):
        raise ConfigError("follow=true: requires a sweep; set sweep= instead of run= or champion=")

    from lenet_exp.folders.find import all_runs, find_run, find_sweep
    from lenet_exp.folders.sweep_folder import all_sweeps
    from lenet_exp.reports.terminal.log_output import log_to_console
    from lenet_exp.tracking.stores.usable import check_store
    from lenet_exp.tracking.uploader.outputs_stores import OutputsStores
    from lenet_exp.tracking.uploader.sync import Sync
    from lenet_exp.waiting import print_waiting

    log_to_console()
    results = "all results again" if again else "missing results"
    where = "" if selected else f" in {outputs_dir()}"
    print_waiting(f"uploading {results}{where}; waiting if the store restarts")
    if uri is not None:
        check_store(uri)
    if values["champion"] is not None:
        return _make_champion(values["champion"], uri)
    if which is not None or follows:
        sweep = find_sweep(which or "last")
        sync = Sync(OutputsStores(sweep.outputs, uri), everything=again)
        if follows:
            sync.follow(sweep)
        sync.sync_sweeps([sweep])
    elif run is not None:
        folder = find_run(run)
        sync = Sync(OutputsStores(folder.path.parent.parent, uri), everything=again)
        sync.learn_sweeps(all_sweeps(folder.path.parent.parent))
        sync.sync_runs([folder])
    else:
        sync = Sync(OutputsStores(outputs_dir(), uri), everything=again)
        sync.sync_sweeps(all_sweeps(outputs_dir()))
        sync.sync_runs(all_runs(outputs_dir()))
    sync.close()
    if sync.owned:
        print(f"skipped, still running: {sync.owned}")
    print(f"uploaded: {sync.uploaded}")
    print(f"missing: {sync.missing}")
    return EXIT_FAILED if sync.missing else 0


def _make_champion(run_id: str, uri: str | None) -> int:
    from lenet_exp.addresses import default_uri
    from lenet_exp.tracking.models.champion import make_champion
    from lenet_exp.tracking.models.load import store_errors
    from lenet_exp.tracking.stores.store import Store, connect

    uri = uri or default_uri()
    store = Store(uri=uri, client=connect(uri), experiment_id="", outputs=outputs_dir())
    with store_errors(f"champion={run_id}", uri):
        print(f"{make_champion(store, run_id)}@champion: run {run_id}")
    return 0


def main() -> None:
    """Run the `lenet-sync` command."""
    run_command("lenet-sync", __doc__, run)
