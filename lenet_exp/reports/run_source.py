"""Where a comparison's runs came from, as a report tells it."""

from __future__ import annotations

from dataclasses import dataclass

from lenet_exp.comparison.runs import ComparedRun


@dataclass(frozen=True)
class RunSource:
    """Runs of one sweep, of several, or of a filter.

    Attributes:
        title: what they are called: the commands, or the filter.
        command: that made them, quoted for a shell; None where that was not one sweep.
        store: the name of the MLflow store that has them; None where that is not known.
    """

    title: str
    command: str | None = None
    store: str | None = None

    @property
    def server(self) -> str | None:
        """Where MLflow's pages are; None where that is wherever lenet-ui serves them."""
        if self.store is None or not self.store.startswith(("http://", "https://")):
            return None
        scheme, _, rest = self.store.rstrip("/").partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def page_of(self, run: ComparedRun) -> str | None:
        """The page of a run in MLflow, without the server's address; None where the store has none of it."""
        runs = run.mlflow_runs()
        run_id = runs.get(self.store) if self.store is not None else None
        return f"#/runs/{run_id}" if run_id is not None and run_id.isalnum() else None
