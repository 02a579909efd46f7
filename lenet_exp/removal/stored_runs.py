"""What a store has of runs and sweeps that are removed, who else needs it there, and how it goes.

Runs and models are deleted as MLflow's own page does it: they can be restored until `mlflow gc` empties its trash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_exp.addresses import sqlite_path
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.tracking.models.champion import ALIAS
from lenet_exp.tracking.stores.mlflow_runs import join_sweeps
from lenet_exp.tracking.stores.store import Store, answering, connect
from lenet_exp.tracking.stores.usable import check_store

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE = 1000
SWEEPS = ("sweeps", "mlflow.parentRunId")  # the tags that put a run into sweeps
EACH = 50  # for so few runs each is asked for its models; for more, all models are looked through


def ids_in(folder: RunFolder) -> dict[str, list[str]]:
    """By store, the MLflow runs that a run folder knows as its own: the present one, and those of earlier tries."""
    found: dict[str, list[str]] = {}
    for entry in (*folder.delivered().mlflow_runs, *folder.abandoned()):
        found.setdefault(entry.store, []).extend([entry.run_id, *entry.former])
    return {store: list(dict.fromkeys(ids)) for store, ids in found.items()}


class StoreRemoval:
    """Args:
    store: an open one.

    Attributes:
        runs: what was looked for and is there, by id.
        models: the models of those runs that were asked for.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runs: dict[str, Run] = {}
        self.models: dict[str, list[str]] = {}
        self._parents: dict[str, Run | None] = {}
        self._registered: dict[str, str] | None = None
        database = sqlite_path(store.uri)
        self._is_own = database is not None and database.parent == store.outputs

    @property
    def name(self) -> str:
        return self.store.name

    def look(self, ids: Iterable[str]) -> None:
        """Finds out which of these runs there are."""
        wanted = [run_id for run_id in dict.fromkeys(ids) if run_id not in self.runs]
        for start in range(0, len(wanted), PAGE):
            names = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + PAGE])
            self._search(f"attributes.run_id IN ({names})")

    def forgotten(self, folder: RunFolder) -> list[str]:
        """Runs that were made for a run folder whose process died, or lost the answer, before that was kept."""
        begun = folder.begun()
        if begun is None:
            return []
        return self._search(f"tags.run_folder = '{folder.id}' and tags.created_ms = '{begun.created_ms}'")

    def parent_of(self, plan: SweepPlan, folder: Path) -> str | None:
        """The run of a sweep, if it is there.

        Args:
            folder: where the sweep lay; the same line may have made another one there since.
        """
        known, sweep = plan.mlflow_runs.get(self.name), folder.name
        if known is not None:
            return known if self._parent(known) is not None else None
        for run_id in self._search(f"tags.sweep = '{sweep}'"):
            self._parents[run_id] = self.runs.pop(run_id)
        for run_id, run in self._parents.items():
            mine = run is not None and _sweep(run) == sweep and self._lay(run) == folder
            if run is not None and mine and (plan.remade or run.info.start_time == plan.created_ms):
                return run_id
        return None

    def others(self, run_id: str, removed: set[str]) -> list[str]:
        """The sweeps that use a run besides those that are removed: their MLflow runs.

        One of this outputs folder whose own folder is gone does not count.
        """
        found = []
        for other in _sweeps_of(self.runs[run_id]):
            parent = self._parent(other) if other not in removed else None
            if parent is not None:
                lay = self._lay(parent)
                if lay.parent.parent != self.store.outputs or lay.is_dir():
                    found.append(other)
        return found

    def registered(self) -> dict[str, str]:
        """By MLflow run and by logged model: which registered model it is."""
        if self._registered is not None:
            return self._registered
        found: dict[str, str] = {}
        client = self.store.client
        with answering(self.store.uri):
            champions = {
                (model.name, str(version))
                for model in _pages(client.search_registered_models)
                for alias, version in model.aliases.items()
                if alias == ALIAS
            }
            for version in _pages(client.search_model_versions):
                is_champion = (version.name, str(version.version)) in champions
                words = f"{version.name} version {version.version}" + (f", the {ALIAS}" if is_champion else "")
                for key in filter(None, (version.run_id, version.model_id)):
                    if is_champion or key not in found:
                        found[key] = words
        self._registered = found
        return found

    def look_for_models(self, ids: Collection[str]) -> None:
        """Finds the models of runs; one may be half sent, and no output of its run."""
        each = [f"source_run_id = '{run_id}'" for run_id in ids] if len(ids) <= EACH else [None]
        with answering(self.store.uri):
            for query in each:
                for model in _pages(self.store.client.search_logged_models, [self.store.experiment_id], query):
                    if model.source_run_id in ids:
                        self.models.setdefault(model.source_run_id, []).append(model.model_id)

    def leave(self, run_id: str, removed: set[str]) -> None:
        """Takes a run that stays out of sweeps that go."""
        had = _sweeps_of(self.runs[run_id])
        sweeps = [sweep for sweep in had if sweep not in removed]
        with answering(self.store.uri):
            if sweeps and sweeps != had:
                join_sweeps(self.store, run_id, sweeps)
            for tag in SWEEPS if had and not sweeps else ():
                if tag in self.store.client.get_run(run_id).data.tags:
                    self.store.client.delete_tag(run_id, tag)

    def delete(self, run_id: str) -> None:
        """Deletes a run and its models; the run last, which leads to them."""
        with answering(self.store.uri):
            for model in self.models.get(run_id, ()):
                _unless_gone(self.store.client.delete_logged_model, model)
            _unless_gone(self.store.client.delete_run, run_id)

    def _lay(self, parent: Run) -> Path:
        """Where a sweep was made; all in the outputs folder's own database lie here, also once that was moved."""
        if self._is_own:
            return self.store.outputs / "sweeps" / _sweep(parent)
        return Path(parent.data.tags.get("sweep_folder", ""))

    def _search(self, query: str) -> list[str]:
        with answering(self.store.uri):
            found = self.store.client.search_runs([self.store.experiment_id], query, max_results=PAGE)
        self.runs.update((run.info.run_id, run) for run in found)
        return [str(run.info.run_id) for run in found]

    def _parent(self, run_id: str) -> Run | None:
        if run_id not in self._parents:
            self.look([run_id])
            self._parents[run_id] = self.runs.pop(run_id, None)
        return self._parents[run_id]


def open_removal(uri: str, experiment: str, outputs: Path) -> StoreRemoval | None:
    """An experiment of a store that has to answer; None where there is no such thing (any more).

    Raises:
        StoreError: it can't be reached, or not be written.
    """
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        return None
    check_store(uri)
    client = connect(uri)
    with answering(uri):
        found = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage != "active":
        return None
    return StoreRemoval(Store(uri, client, experiment, found.experiment_id, outputs))


def _sweep(parent: Run) -> str:
    return str(parent.data.tags.get("sweep", ""))


def _sweeps_of(run: Run) -> list[str]:
    return [sweep for sweep in run.data.tags.get("sweeps", "").split(",") if sweep]


def _pages(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _unless_gone(delete: Callable[[str], None], which: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        delete(which)
    except MlflowException as e:
        if e.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
