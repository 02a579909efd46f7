"""The source of the runs in a comparison, for reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lenet_exp.comparison.runs import ComparedRun


@dataclass(frozen=True)
class RunSource:
    """The source of the runs in a comparison: a sweep, several sweeps, or a filter.

    Attributes:
        title: the commands of the sweeps, or the filter.
        command: command that created the runs, quoted for a shell; None if the runs are not from a
            single sweep.
        store: name of the MLflow store that contains the runs; None if unknown.
        champion: line about the champion for the model of the leader's best run, keyed by dataset.
    """

    title: str
    command: str | None = None
    store: str | None = None
    champion: Mapping[str, str] = field(default_factory=dict)

    @property
    def server(self) -> str | None:
        """The address of the MLflow server; None if the store is not a server."""
        if self.store is None or not self.store.startswith(("http://", "https://")):
            return None
        return self.store.rstrip("/")

    def page_of(self, run: ComparedRun) -> str | None:
        """Return the address of a run's page in MLflow, relative to the server, or None if the
        store lacks the run.
        """
        if self.store is None:
            return None
        run_id = run.mlflow_runs().get(self.store)
        if run_id is None or not run_id.isalnum():
            return None
        return f"#/runs/{run_id}"
