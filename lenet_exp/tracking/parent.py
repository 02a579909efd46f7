"""A sweep's parent run in MLflow: what was asked for, the counts, a true state at the end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from lenet_exp.config.schema import Tracking
from lenet_exp.errors import first_line
from lenet_exp.execution import git_state, host, versions
from lenet_exp.reports.sweep_table import markdown
from lenet_exp.sweeps.plan import SweepFolder
from lenet_exp.sweeps.run_folder import RunFolder
from lenet_exp.tracking.deliver import set_tags, strings, user
from lenet_exp.tracking.delivery import Delivery
from lenet_exp.tracking.store import hide_password, store_uri

log = logging.getLogger("lenet_exp")

STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
OUTCOMES = ("finished", "diverged", "failed", "killed")


class Parent:
    """The parent run of one sweep; where the store is away, it does nothing.

    Raises:
        StoreError: the store answers but can't be used.
    """

    def __init__(self, tracking: Tracking) -> None:
        self.uri = store_uri(tracking)
        self.run_id: str | None = None
        self._tags = tracking.tags
        self._delivery = Delivery(tracking, in_sweep=True)

    def open(self, sweep: SweepFolder, swept: list[str]) -> str | None:
        """Makes the run; its id."""
        self.run_id = self._try(lambda: self._create(sweep, swept))
        self._delivery.parent = self.run_id
        return self.run_id

    def close(self, sweep: SweepFolder, outcome: str) -> None:
        """Counts, leaderboard and state.

        Args:
            outcome: of the sweep itself: finished (whatever its runs came to), failed or killed.
        """
        self._try(lambda: self._end(sweep, outcome))

    def log_best_model(self, best: RunFolder | None) -> None:
        """For `tracking.models=best`."""
        if best is not None:
            self._delivery.send(best, model=True)

    def _create(self, sweep: SweepFolder, swept: list[str]) -> str:
        store, plan = self._delivery.store, sweep.plan()
        assert store is not None
        tags: dict[str, Any] = {
            "kind": "sweep",
            "sweep_folder": sweep.id,
            "command": plan["command"],
            "overrides": " ".join(plan["overrides"]),
            "swept": " ".join(swept),
            "host": host(),
            "mlflow.source.name": plan["command"],
            "mlflow.source.type": "LOCAL",
            "mlflow.user": user(),
            **{f"version.{name}": v for name, v in versions().items()},
            **git_state(),
            **self._tags,
        }
        name = "sweep " + (" ".join(s.rpartition(".")[2] for s in swept) or "of one")
        run = store.client.create_run(
            store.experiment_id, start_time=plan["created_ms"], run_name=name, tags=strings(tags)
        )
        store.client.log_dict(run.info.run_id, plan, "sweep.json")
        return run.info.run_id

    def _end(self, sweep: SweepFolder, outcome: str) -> None:
        from mlflow.entities import Metric

        store = self._delivery.store
        if store is None or self.run_id is None:
            return
        results = [sweep.result(job.number) for job in sweep.jobs()]
        counts = Counter(r["outcome"] for r in results if r is not None)
        finished = [r for r in results if r is not None and r["outcome"] == "finished"]
        now = max([r["ended_ms"] for r in results if r is not None] or [sweep.plan()["created_ms"]])
        points = [Metric(f"runs_{name}", counts[name], now, 0) for name in OUTCOMES]
        points += [Metric("runs", len(results), now, 0), Metric("runs_missing", results.count(None), now, 0)]
        if finished:
            points.append(Metric("best_val_accuracy", max(r["best_val_accuracy"] for r in finished), now, 0))
        store.client.log_batch(self.run_id, metrics=points)
        set_tags(store, self.run_id, {"outcome": outcome, "mlflow.note.content": markdown(sweep)})
        store.client.set_terminated(self.run_id, STATUS[outcome])

    def _try(self, action: Callable[[], str | None]) -> str | None:
        """Bookkeeping must not end a sweep."""
        if self._delivery.store is None:
            return None
        try:
            return action()
        except Exception as e:
            reason = hide_password(first_line(e))
            log.warning("the sweep's own MLflow run can't be written: %s", reason)
            log.debug("parent run", exc_info=True)
            return None
