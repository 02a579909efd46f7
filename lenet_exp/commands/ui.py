"""lenet-ui: start MLflow's UI for the store of a sweep, and print links to its most useful pages."""

from __future__ import annotations

import os
import re
import secrets
import sys
from typing import TYPE_CHECKING

from lenet_exp.addresses import default_uri, full_uri, hide_password, sqlite_path, store_name, store_uri
from lenet_exp.commands.literal import parse, run_command
from lenet_exp.commands.streams import print_secret
from lenet_exp.errors import ConfigError, did_you_mean, printable
from lenet_exp.outputs import outputs_dir

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from lenet_exp.folders.sweep_folder import SweepFolder

USAGE = """
lenet-ui: start the MLflow UI and print links to the runs of a sweep. Press Ctrl-C to stop the server.

  lenet-ui                     show the last sweep: runs (best first), curves, and report
  lenet-ui sweep=<which>       show a different sweep; give its ID (or its first few characters), its MLflow run ID, or
                               its folder
  lenet-ui sweep=all           show all runs of the experiment
  lenet-ui port=5000           set the port to listen on; if it is in use, a free port is used instead
  lenet-ui host=127.0.0.1      set the address to listen on: 127.0.0.1 (this machine only) or 0.0.0.0 (all addresses)
  lenet-ui token=none          require no token; anyone who can reach the address can read and change the runs

  tracking.uri=      MLflow store (default: the sweep's store; with sweep=all: $MLFLOW_TRACKING_URI, else mlflow.db in
                     the outputs folder); if it is an http(s):// server, only links are printed
  experiment=        MLflow experiment (default: the sweep's experiment, else lenet_exp)
  token=             token to require (default: a random one); set $LENET_EXP_UI_TOKEN instead to hide it from other
                     users of this machine

The outputs folder is $LENET_EXP_OUTPUTS if set, otherwise ./outputs.
"""

KNOWN: dict[str, str | None] = {
    "sweep": None,
    "host": "127.0.0.1",
    "port": "5000",
    "token": None,
    "tracking.uri": None,
    "experiment": None,
}
EXPERIMENT = "lenet_exp"
ALL = "all"


def run(arguments: list[str]) -> int:
    """Run `lenet-ui <arguments>` and return its exit status."""
    values = parse(arguments, KNOWN)
    port, host = _port(values["port"]), str(values["host"])
    from lenet_exp.config.schema import StoreAddress
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.stopping import graceful
    from lenet_exp.tracking.stores.store import answering, connect, open_store
    from lenet_exp.ui.links import experiment_links, sweep_links
    from lenet_exp.ui.server import TOKEN, free_port, is_local, serving, web_address

    token = _token(values["token"] or os.environ.get(TOKEN) or secrets.token_urlsafe(16))
    log_to_console()
    which = values["sweep"]
    sweep = None if which == ALL else _sweep(which, values["tracking.uri"], values["experiment"])
    of_sweep = "" if sweep is None else full_uri(store_uri(sweep.started().tracking_uri, sweep.outputs))
    uri = values["tracking.uri"] or of_sweep or default_uri()
    database = sqlite_path(uri)
    is_default = sweep is None and not values["tracking.uri"]
    if is_default and database is not None and database.parent.is_dir() and not database.exists():
        open_store(StoreAddress(uri=uri, experiment=EXPERIMENT))
    client = connect(uri)
    with answering(uri):
        parent = None if which == ALL else _parent(client, uri, sweep, which)
        experiment = "" if parent is not None else _experiment(client, values["experiment"] or EXPERIMENT)

    def print_links(address: str, token: str = "") -> None:
        if parent is None:
            links = experiment_links(client, address, experiment)
        else:
            links = sweep_links(client, address, parent)
        for link in links:
            print_secret(f"{printable(link.shows)}:\n  {printable(link.with_token(token).url)}")

    def started() -> bool:
        """Return whether another sweep has become the last one, and show it from now on."""
        nonlocal parent
        latest = _sweep(None, values["tracking.uri"], values["experiment"]) if which is None else None
        shown, parent = parent, (_parent(client, uri, latest, None) if latest is not None else None) or parent
        return parent is not None and (shown is None or parent.info.run_id != shown.info.run_id)

    if database is None:
        print_links(store_name(uri).rstrip("/"))
        return 0
    taken = free_port(port, host)
    if port and taken != port:
        print(f"port {port} is in use; using port {taken} instead", file=sys.stderr)
    print(f"starting the MLflow UI for {hide_password(uri)} ...", file=sys.stderr)
    # Signals are recorded and do not raise an exception, which a library could catch and discard.
    with graceful(), serving(database, host, taken, token) as server:
        if server.wait(server.answers):
            print_links(web_address(host, taken), token)
            if not token or not is_local(host):
                some = "any user of" if is_local(host) else "anyone who can reach"
                who = "anyone with these links" if token else f"{some} this machine"
                print(f"host={host}: {who} can read and change these runs", file=sys.stderr)
            if is_local(host) and "SSH_CONNECTION" in os.environ:
                here = f"{os.environ.get('USER', 'you')}@{os.environ['SSH_CONNECTION'].split()[2]}"
                there = f"ssh -N -L {taken}:{host}:{taken} {here}"
                print(f"to open these links on your own machine, run this command there: {there}", file=sys.stderr)
            print("Press Ctrl-C to stop.", flush=True)
            while server.wait(started, every=1.0):
                print_links(web_address(host, taken), token)
                print("These links show a sweep that was started later.", flush=True)
    return 0


def _sweep(which: str | None, uri: str | None, experiment: str | None) -> SweepFolder | None:
    """Return the requested sweep or, by default, the latest sweep in the outputs folder with this store and
    experiment.

    Return None if no sweep was requested and the outputs folder contains no such sweep. Also return None if the MLflow
    run ID of a sweep that is not in the outputs folder was requested.
    """
    from lenet_exp.folders.find import find_sweep, is_mlflow_run_id
    from lenet_exp.folders.sweep_folder import all_sweeps

    if which is not None:
        try:
            return find_sweep(which)
        except ConfigError:
            if is_mlflow_run_id(which):
                return None
            raise
    for sweep in all_sweeps(outputs_dir()):
        plan = sweep.started()
        if experiment in (None, plan.experiment) and (not uri or store_name(uri) in plan.mlflow_runs):
            return sweep
    return None


def _parent(client: MlflowClient, uri: str, sweep: SweepFolder | None, which: str | None) -> Run | None:
    """Return the MLflow run of a sweep in the store, or None if the store does not contain the sweep.

    Raises:
        ConfigError: the user requested a sweep that the store does not contain.
    """
    from mlflow.exceptions import MlflowException

    # Accept the run IDs from any store, because the name of a store changes when its folder is moved.
    for run_id in sweep.started().mlflow_runs.values() if sweep is not None else [which] if which is not None else []:
        try:
            run = client.get_run(run_id)
        except MlflowException:
            continue
        if run.data.tags.get("kind") == "sweep" and run.info.lifecycle_stage == "active":
            return run
    if which is not None:
        raise ConfigError(f"sweep={which}: not found in {hide_password(uri)}; set tracking.uri= to another store")
    return None


def _experiment(client: MlflowClient, name: str) -> str:
    """Return the ID of an experiment."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return found.experiment_id
    names = [experiment.name for experiment in client.search_experiments(max_results=1000)]
    there = f"; expected one of: {', '.join(names[:5])}{did_you_mean(name, names)}" if names else ""
    raise ConfigError(f"experiment={name}: not found in the store{there}")


def _token(value: str) -> str:
    """Check the value of the `token` flag, and return the token, or an empty string for `none`."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
        raise ConfigError("token=: must be none or consist only of letters, digits, and the characters . _ ~ -")
    return "" if value == "none" else value


def _port(value: str | None) -> int:
    if value is None or not value.isdecimal() or int(value) > 65535:
        raise ConfigError(f"port={value}: must be an integer from 0 (any free port) to 65535")
    return int(value)


def main() -> None:
    """Run the `lenet-ui` command."""
    run_command("lenet-ui", USAGE, run)
