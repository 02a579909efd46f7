"""Finds the pages of MLflow's UI that `lenet-ui` links to, and prints the links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lenet_exp.addresses import hide_password
from lenet_exp.errors import ConfigError, did_you_mean, printable
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.tracking.stores.store import answering, connect
from lenet_exp.ui.links import experiment_links, sweep_links

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "lenet_exp"
ALL = "all"


@dataclass
class LinkedPages:
    """The pages of MLflow's UI that `lenet-ui` links to.

    Attributes:
        client: client of the store.
        sweep_run: MLflow run of the shown sweep, or None to show an experiment.
        experiment_id: ID of the experiment to show if there is no sweep.
    """

    client: MlflowClient
    sweep_run: Run | None
    experiment_id: str

    def print_links(self, address: str) -> None:
        """Print links to the pages of the server at `address`."""
        if self.sweep_run is None:
            links = experiment_links(self.client, address, self.experiment_id)
        else:
            links = sweep_links(self.client, address, self.sweep_run)

        for link in links:
            print(f"{printable(link.shows)}:\n  {printable(link.url)}", flush=True)

    def change_to(self, sweep: SweepFolder | None) -> bool:
        """Show this sweep from now on. Return False if it is already shown or not in the store."""
        later_run = _sweep_run(self.client, sweep)
        if later_run is None:
            return False

        if self.sweep_run is not None and self.sweep_run.info.run_id == later_run.info.run_id:
            return False

        self.sweep_run = later_run
        return True


def linked_pages(
    uri: str, sweep: SweepFolder | None, requested: str | None, experiment: str | None
) -> LinkedPages:
    """Return the pages to link to: those of a sweep or of an experiment.

    The pages of an experiment are returned if there is no sweep, or if all runs are requested.

    Raises:
        ConfigError: the store does not contain the requested sweep or the experiment.
    """
    client = connect(uri)
    with answering(uri):
        if requested == ALL:
            sweep_run = None
        elif sweep is None and requested is not None:
            sweep_run = _active_sweep_run(client, requested)
        else:
            sweep_run = _sweep_run(client, sweep)

        if sweep_run is not None:
            return LinkedPages(client, sweep_run, experiment_id="")
        if requested not in (None, ALL):
            where = hide_password(uri)
            raise ConfigError(
                f"sweep={requested}: not found in {where}; set tracking.uri= to another store"
            )
        experiment_id = _experiment_id(client, experiment or EXPERIMENT)
        return LinkedPages(client, None, experiment_id=experiment_id)


def _sweep_run(client: MlflowClient, sweep: SweepFolder | None) -> Run | None:
    """Return the MLflow run of a sweep, or None if the store does not contain it."""
    if sweep is None:
        return None

    # Accept the run IDs from any store, because the name of a store changes when its folder is
    # moved.
    for run_id in sweep.delivered().run_ids().values():
        sweep_run = _active_sweep_run(client, run_id)
        if sweep_run is not None:
            return sweep_run
    return None


def _active_sweep_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return the MLflow run of a sweep with this ID.

    The result is None if the run is missing, deleted, or not the run of a sweep.
    """
    from mlflow.exceptions import MlflowException

    try:
        mlflow_run = client.get_run(run_id)
    except MlflowException:
        return None

    is_sweep = mlflow_run.data.tags.get("kind") == "sweep"
    is_active = mlflow_run.info.lifecycle_stage == "active"
    return mlflow_run if is_sweep and is_active else None


def _experiment_id(client: MlflowClient, name: str) -> str:
    """Return the ID of an experiment.

    Raises:
        ConfigError: the store does not contain the experiment.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "active":
        return experiment.experiment_id

    names = [experiment.name for experiment in client.search_experiments(max_results=1000)]
    choices = ""
    if names:
        choices = f"; expected one of: {', '.join(names[:5])}{did_you_mean(name, names)}"
    raise ConfigError(f"experiment={name}: not found in the store{choices}")
