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

from typing import TYPE_CHECKING

from lenet_exp.commands.ending import EXIT_FAILED
from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

if TYPE_CHECKING:
    from lenet_exp.tracking.uploader.sync import Sync

FLAGS: FlagValues = {
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
    _check_combination(values)
    uri = values["tracking.uri"]
    uploads_again = values["again"] == "true"

    from lenet_exp.reports.terminal.log_output import log_to_console
    from lenet_exp.tracking.stores.usable import check_store
    from lenet_exp.waiting import print_waiting

    log_to_console()
    results = "all results again" if uploads_again else "missing results"
    place = "" if _selecting_flags(values) else f" in {outputs_dir()}"
    print_waiting(f"uploading {results}{place}; waiting if the store restarts")
    if uri is not None:
        check_store(uri)

    if values["champion"] is not None:
        return _make_champion(values["champion"], uri)
    if values["run"] is not None:
        return _upload_run(values["run"], uri, again=uploads_again)
    if values["follow"] == "true":
        return _upload_sweep(values["sweep"] or "last", uri, again=uploads_again, follow=True)
    if values["sweep"] is not None:
        return _upload_sweep(values["sweep"], uri, again=uploads_again)
    return _upload_all(uri, again=uploads_again)


def _selecting_flags(values: FlagValues) -> list[str]:
    """Return the flags that select what to upload, as far as they are set."""
    return [flag for flag in ("sweep", "run", "champion") if values[flag] is not None]


def _check_combination(values: FlagValues) -> None:
    selecting_flags = _selecting_flags(values)
    if len(selecting_flags) > 1:
        flags = " and ".join(f"{flag}=" for flag in selecting_flags)
        raise ConfigError(f"{flags} are set; set only one of them")
    if values["again"] == "true" and values["champion"] is not None:
        raise ConfigError("again=true and champion= are set; set only one of them")
    if values["follow"] == "true" and selecting_flags in (["run"], ["champion"]):
        raise ConfigError("follow=true: requires a sweep; set sweep= instead of run= or champion=")


def _upload_sweep(
    requested_sweep: str, uri: str | None, *, again: bool, follow: bool = False
) -> int:
    from lenet_exp.folders.find import find_sweep
    from lenet_exp.tracking.uploader.outputs_stores import OutputsStores
    from lenet_exp.tracking.uploader.sync import Sync

    sweep = find_sweep(requested_sweep)
    sync = Sync(OutputsStores(sweep.outputs, uri), everything=again)
    if follow:
        sync.follow(sweep)
    sync.sync_sweeps([sweep])
    return _close(sync)


def _upload_run(requested_run: str, uri: str | None, *, again: bool) -> int:
    from lenet_exp.folders.find import find_run
    from lenet_exp.folders.sweep_folder import all_sweeps
    from lenet_exp.tracking.uploader.outputs_stores import OutputsStores
    from lenet_exp.tracking.uploader.sync import Sync

    folder = find_run(requested_run)
    outputs = folder.path.parent.parent
    sync = Sync(OutputsStores(outputs, uri), everything=again)
    sync.learn_sweeps(all_sweeps(outputs))
    sync.sync_runs([folder])
    return _close(sync)


def _upload_all(uri: str | None, *, again: bool) -> int:
    from lenet_exp.folders.find import all_runs
    from lenet_exp.folders.sweep_folder import all_sweeps
    from lenet_exp.tracking.uploader.outputs_stores import OutputsStores
    from lenet_exp.tracking.uploader.sync import Sync

    sync = Sync(OutputsStores(outputs_dir(), uri), everything=again)
    sync.sync_sweeps(all_sweeps(outputs_dir()))
    sync.sync_runs(all_runs(outputs_dir()))
    return _close(sync)


def _close(sync: Sync) -> int:
    """Print the counts of an upload that has ended, and return the exit status."""
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
