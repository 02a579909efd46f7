"""The source of a comparison's runs, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from lenet_exp.comparison.runs import ComparedRun


@dataclass(frozen=True)
class RunSource:
    """The source of runs: one sweep, several sweeps, or a filter.

    Attributes:
        title: the commands, or the filter.
        command: the command that made the runs, quoted for a shell; None if they are not from a single sweep.
        store: name of the MLflow store that has the runs; None if unknown.
    """

    title: str
    command: str | None = None
    store: str | None = None

    @property
    def server(self) -> str | None:
        """The address of MLflow's server; None if there is no server, in which case lenet-ui serves the pages."""
        if self.store is None or not self.store.startswith(("http://", "https://")):
            return None
        scheme, _, rest = self.store.rstrip("/").partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def page_of(self, run: ComparedRun) -> str | None:
        """Return the page of a run in MLflow, without the server's address; None if the store does not have the run."""
        runs = run.mlflow_runs()
        run_id = runs.get(self.store) if self.store is not None else None
        return f"#/runs/{run_id}" if run_id is not None and run_id.isalnum() else None
