"""lenet-ui: start MLflow's UI for the store of a sweep, and print links to useful pages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lenet_exp.addresses import (
    SQLITE,
    default_uri,
    full_uri,
    hide_password,
    is_database,
    sqlite_path,
    sqlite_uri,
    store_name,
    store_uri,
)
from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.errors import ConfigError
from lenet_exp.outputs import outputs_dir

if TYPE_CHECKING:
    from lenet_exp.folders.sweep_folder import SweepFolder
    from lenet_exp.ui.pages import LinkedPages

USAGE = """
lenet-ui: start the MLflow UI and print links to the runs of a sweep. Press Ctrl-C to stop the server.

  lenet-ui                     show the last sweep: runs (best first), curves, and report
  lenet-ui sweep=<which>       show a different sweep; give its ID (or its first few characters), its MLflow run ID, or
                               its folder
  lenet-ui sweep=all           show all runs of the experiment
  lenet-ui port=5000           set the port to listen on; if it is in use, a free port is used instead

  tracking.uri=      MLflow store (default: the sweep's store; with sweep=all: $MLFLOW_TRACKING_URI, else mlflow.db in
                     the outputs folder); if it is an http(s):// server, only links are printed
  experiment=        MLflow experiment (default: the sweep's experiment, else lenet_exp)

Your browser asks once for the user and the password that lenet-ui prints. Only this machine can reach the server; to
give others access, run mlflow server.
The outputs folder is $LENET_EXP_OUTPUTS if set, otherwise ./outputs.
"""

SERVERS = ("http://", "https://")

FLAGS: FlagValues = {
    "sweep": None,
    "port": "5000",
    "tracking.uri": None,
    "experiment": None,
}


def run(arguments: list[str]) -> int:
    """Run `lenet-ui <arguments>` and return its exit status."""
    values = parse(arguments, FLAGS)
    port = _port(values["port"])
    from lenet_exp.reports.terminal.log_output import log_to_console
    from lenet_exp.ui.pages import ALL, linked_pages

    log_to_console()
    requested = values["sweep"]
    store = values["tracking.uri"]
    experiment = values["experiment"]
    sweep = None if requested == ALL else _sweep(requested, store, experiment)
    if not store and sweep is None:
        _create_default_store()

    uri = store or _store_of(sweep)
    if not uri.startswith((SQLITE, *SERVERS)) and not is_database(uri):
        shown = f"tracking.uri={hide_password(uri)}"
        raise ConfigError(f"{shown}: lenet-ui cannot show this store; use its own pages")

    pages = linked_pages(uri, sweep, requested, experiment)
    if uri.startswith(SERVERS):
        pages.print_links(store_name(uri).rstrip("/"))
        return 0

    def change_to_latest_sweep() -> bool:
        return requested is None and pages.change_to(_sweep(None, store, experiment))

    _serve(pages, uri, port, change_to_latest_sweep)
    return 0


def _serve(
    pages: LinkedPages,
    uri: str,
    port: int,
    change_to_latest_sweep: Callable[[], bool],
) -> None:
    """Run MLflow's server and print links to its pages until a signal arrives.

    Args:
        uri: address of the SQLite file or the database server.
        change_to_latest_sweep: changes the pages to a sweep that was started later, and returns
            whether there is one.
    """
    from lenet_exp.stopping import graceful
    from lenet_exp.ui.server import HOST, USER, free_port, serving

    used_port = free_port(port)
    if port and used_port != port:
        print(f"port {port} is in use; using port {used_port} instead", file=sys.stderr)

    database = sqlite_path(uri)
    if database is None:
        artifacts = outputs_dir() / "mlartifacts"
    else:
        uri = sqlite_uri(database)  # the server runs in another working directory
        artifacts = database.parent / "mlartifacts"
    print(f"starting the MLflow UI for {database or store_name(uri)} ...", file=sys.stderr)

    # Signals are recorded and do not raise an exception, which a library could catch and discard.
    with graceful(), serving(uri, artifacts, used_port) as server:
        if not server.wait(server.responds):
            return

        pages.print_links(server.address)
        print(f"user {USER}, password {server.password} (your browser asks once)")
        if "SSH_CONNECTION" in os.environ:
            account = f"{os.environ.get('USER', 'you')}@{os.environ['SSH_CONNECTION'].split()[2]}"
            forward = f"ssh -N -L {used_port}:{HOST}:{used_port} {account}"
            print(
                f"to open these links on your own machine, run this command there: {forward}",
                file=sys.stderr,
            )

        print("Press Ctrl-C to stop.", flush=True)
        while server.wait(change_to_latest_sweep, every=1.0):
            pages.print_links(server.address)
            print("These links show a sweep that was started later.", flush=True)


def _sweep(requested: str | None, uri: str | None, experiment: str | None) -> SweepFolder | None:
    """Return the requested sweep or, by default, the latest sweep in the outputs folder with this
    store and experiment.

    Return None if no sweep was requested and the outputs folder contains no such sweep. Also return
    None if the MLflow run ID of a sweep that is not in the outputs folder was requested.
    """
    from lenet_exp.folders.find import find_sweep, is_mlflow_run_id
    from lenet_exp.folders.sweep_folder import all_sweeps

    if requested is not None:
        try:
            return find_sweep(requested)
        except ConfigError:
            if is_mlflow_run_id(requested):
                return None
            raise

    for sweep in all_sweeps(outputs_dir()):
        plan = sweep.started()
        has_experiment = experiment in (None, plan.experiment)
        has_store = not uri or store_name(uri) in sweep.delivered().run_ids()
        if has_experiment and has_store:
            return sweep
    return None


def _store_of(sweep: SweepFolder | None) -> str:
    """Return the address of a sweep's store or, without a sweep, of the default store."""
    if sweep is None:
        return default_uri()
    return full_uri(store_uri(sweep.started().tracking_uri, sweep.outputs))


def _create_default_store() -> None:
    """Create the default store if it is a missing database in an existing folder, so that it can be
    shown empty.
    """
    from lenet_exp.config.schema import StoreAddress
    from lenet_exp.tracking.stores.store import open_store
    from lenet_exp.ui.pages import EXPERIMENT

    database = sqlite_path(default_uri())
    if database is not None and database.parent.is_dir() and not database.exists():
        open_store(StoreAddress(uri=default_uri(), experiment=EXPERIMENT))


def _port(value: str | None) -> int:
    if value is None or not value.isdecimal() or int(value) > 65535:
        raise ConfigError(f"port={value}: must be an integer from 0 (any free port) to 65535")
    return int(value)


def main() -> None:
    """Run the `lenet-ui` command."""
    run_command("lenet-ui", USAGE, run)
