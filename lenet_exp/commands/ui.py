"""lenet-ui: MLflow's UI on the store of a sweep, with the links that show it best."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

from lenet_exp.commands.literal import parse, run_command, yes_or_no
from lenet_exp.errors import ConfigError, nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from lenet_exp.folders.sweep_folder import SweepFolder
    from lenet_exp.ui.links import Link

USAGE = """
lenet-ui: opens MLflow's UI, and prints where a sweep's runs are compared. Ctrl-C ends it.

  lenet-ui                     the last sweep: its runs best first, their curves, parallel coordinates, its report
  lenet-ui sweep=<which>       last, a sweep's id (or its first digits), its MLflow run id, or its folder
  lenet-ui sweep=all           all runs of the experiment
  lenet-ui open=true           opens the first of the links in a browser
  lenet-ui port=5000           where the UI listens; if the port is taken, on another
  lenet-ui host=127.0.0.1      for whom: this machine alone; 0.0.0.0 or a name of it: all who reach it, without password

  tracking.uri=      the store (the sweep's own; without a sweep MLFLOW_TRACKING_URI, else mlflow.db in the outputs
                     folder); of an http:// or https:// server only the links are printed
  experiment=        its experiment (the sweep's own, else lenet_exp)

The outputs folder is $LENET_EXP_OUTPUTS, else ./outputs.
"""

KNOWN: dict[str, str | None] = {
    "sweep": None,
    "open": "false",
    "host": "127.0.0.1",
    "port": "5000",
    "tracking.uri": None,
    "experiment": None,
}
EXPERIMENT = "lenet_exp"
LAST, ALL = "last", "all"
STOPPED_BY_SIGTERM = 128 + signal.SIGTERM


def run(arguments: list[str]) -> int:
    """The exit status of `lenet-ui <arguments>`."""
    values = parse(arguments, KNOWN)
    browser, port = yes_or_no("open", values["open"]), _port(values["port"])
    from lenet_exp.stopping import Terminated, raise_terminated

    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        _show(values, browser, str(values["host"]), port)
    except Terminated:
        return STOPPED_BY_SIGTERM
    return 0


def _show(values: dict[str, str | None], browser: bool, host: str, port: int) -> None:
    from lenet_exp.addresses import hide_password
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.stopping import graceful
    from lenet_exp.tracking.stores.store import answering, connect
    from lenet_exp.ui.server import is_local, listen, serving, web_address

    log_to_console()
    sweep = _sweep(values["tracking.uri"], values["sweep"], values["experiment"])
    uri = _store(values["tracking.uri"], sweep)
    client = connect(uri)
    with answering(uri):
        parent = _parent(client, uri, sweep, values["sweep"])
        experiment = None if parent is not None else _experiment(client, values["experiment"] or EXPERIMENT)
    if uri.startswith(("http://", "https://")):
        _print(_links(client, re.sub(r"//[^/@]*@", "//", uri.rstrip("/")), parent, experiment), browser)
        return
    listening = listen(port, host)
    address, taken = listening.getsockname()[:2]  # a name of this machine may be one that it alone knows
    if port and taken != port:
        print(f"port {port} is in use; taken instead: {taken}", file=sys.stderr)
    print(f"MLflow's UI of {hide_password(uri)} starts ...", file=sys.stderr)
    # Noted, and not raised: an exception that arrives in the middle of a library may be lost there.
    with graceful(), serving(uri, listening, host) as server:
        links = _links(client, web_address(host, taken), parent, experiment)
        if server.wait_until_up():
            _print(links, browser)
            if not is_local(address):
                print(f"host={host}: whoever reaches this machine can read and change these runs", file=sys.stderr)
            elif ssh := os.environ.get("SSH_CONNECTION"):
                print(_from_afar(ssh, address, taken), file=sys.stderr)
            print("Ctrl-C ends it", flush=True)
            server.wait_until_asked()


def _from_afar(ssh: str, address: str, port: int) -> str:
    """How the browser of somebody who is here over SSH reaches this machine.

    Args:
        ssh: SSH_CONNECTION: the client's address and port, the server's address and port.
        address, port: where the UI listens here.
    """
    server = ssh.split()[2] if len(ssh.split()) == 4 else "this-machine"
    user = os.environ.get("USER", "you")
    here = f"[{address}]" if ":" in address else address
    return f"to see them where you sit, type there: ssh -N -L {port}:{here}:{port} {user}@{server}"


def _links(client: MlflowClient, address: str, parent: Run | None, experiment: str | None) -> list[Link]:
    from lenet_exp.ui.links import experiment_links, sweep_links

    if parent is not None:
        return sweep_links(client, address, parent)
    return experiment_links(client, address, str(experiment))


def _print(links: list[Link], browser: bool) -> None:
    for link in links:
        print(f"{link.shows}:\n  {link.url}", flush=True)
    if browser:
        import webbrowser

        if not webbrowser.open(links[0].url):
            print("open=true: no browser was found here", file=sys.stderr)


def _sweep(uri: str | None, which: str | None, experiment: str | None) -> SweepFolder | None:
    """The sweep in the outputs folder; None where none was asked for and there is none, or the store may have it."""
    from lenet_exp.addresses import hide_password
    from lenet_exp.folders.find import find_sweep, is_mlflow_run_id
    from lenet_exp.folders.sweep_folder import all_sweeps
    from lenet_exp.outputs import outputs_dir

    if which == ALL:
        return None
    if which not in (None, LAST):
        try:
            return find_sweep(str(which))
        except ConfigError:
            if is_mlflow_run_id(str(which)):
                return None
            raise
    for sweep in all_sweeps(outputs_dir()):
        plan = sweep.started()
        if experiment in (None, plan.experiment) and (not uri or hide_password(uri) in plan.mlflow_runs):
            return sweep
    if which == LAST:
        asked = f" with experiment={experiment}" if experiment else ""
        asked += f" with tracking.uri={hide_password(uri)}" if uri else ""
        raise ConfigError(f"sweep=last: there is no sweep in {outputs_dir()}{asked}")
    return None


def _store(uri: str | None, sweep: SweepFolder | None) -> str:
    """The store's address.

    Raises:
        ConfigError: the sweep's store needs a password that was not kept.
    """
    from lenet_exp.addresses import default_uri, hide_password, sqlite_uri

    environment = os.environ.get("MLFLOW_TRACKING_URI")
    if uri or sweep is None:
        return uri or default_uri()
    kept = sweep.started().tracking_uri
    if kept is None:
        return sqlite_uri(sweep.path.parents[1] / "mlflow.db")
    if "***" not in kept:
        return str(kept)
    if environment and hide_password(environment) == kept:
        return environment
    raise ConfigError(f"tracking.uri={kept}: its password was not kept; give tracking.uri= or MLFLOW_TRACKING_URI")


def _parent(client: MlflowClient, uri: str, sweep: SweepFolder | None, which: str | None) -> Run | None:
    """The sweep's parent run in the store.

    Raises:
        ConfigError: it is not there.
    """
    from mlflow.exceptions import MlflowException

    from lenet_exp.addresses import hide_password
    from lenet_exp.folders.find import is_mlflow_run_id

    runs = sweep.started().mlflow_runs if sweep is not None else {}
    # The name of a store may have changed since: a folder that was moved, another name of a server.
    known = [runs[hide_password(uri)]] if hide_password(uri) in runs else list(runs.values())
    if sweep is None and which is not None and is_mlflow_run_id(which):
        known = [which]
    for run_id in known:
        try:
            run = client.get_run(run_id)
        except MlflowException:
            continue
        if run.data.tags.get("kind") == "sweep" and run.info.lifecycle_stage == "active":
            return run
    if which not in (None, ALL):
        raise ConfigError(f"sweep={which}: not in {hide_password(uri)}; tracking.uri= names another store")
    return None


def _experiment(client: MlflowClient, name: str) -> str:
    """The experiment's id."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return found.experiment_id
    names = [e.name for e in client.search_experiments(max_results=1000)]
    hint = nearest(name, names)
    there = f"there are {', '.join(names[:5])}" if names else "there is none"
    raise ConfigError(f"experiment={name}: not in the store; {there}" + (f"; did you mean {hint}?" if hint else ""))


def _port(value: str | None) -> int:
    if value is None or not value.isdecimal() or int(value) > 65535:
        raise ConfigError(f"port={value}: allowed is a number from 0 (any free port) to 65535")
    return int(value)


def main() -> None:
    """The command lenet-ui."""
    run_command("lenet-ui", USAGE, run)


if __name__ == "__main__":
    main()
