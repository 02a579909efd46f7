"""Updates the MLflow run of a sweep while the sweep is running.

The MLflow run shows counts, the best result so far, the leaderboard, and the time left. Metrics are logged only if
their values have changed. All other information is in tags, which are replaced at the end of the sweep.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from lenet_exp.comparison.compare import Comparison, compare_so_far
from lenet_exp.folders.sweep_progress import SweepProgress
from lenet_exp.machine import now_ms
from lenet_exp.reports.files.description import live_description
from lenet_exp.reports.words.search_words import best_words, progress_words
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.stores.mlflow_runs import LIVE, SHOWN, set_tags
from lenet_exp.tracking.stores.points import log_metrics
from lenet_exp.tracking.stores.store import Store
from lenet_exp.tracking.sweep_runs.parent import counts
from lenet_exp.tracking.sweep_runs.report import LONGEST, links_of

TELL_SECONDS = 8.0  # minimum time between reports; after other uploads, the thread rests first
RESTS = 100  # ratio of the pause after a comparison to its duration, because comparing 10,000 runs is slow


class LiveReport:
    """Reports the progress of a running sweep to the sweep's MLflow run.

    Args:
        delivery: object that uploads the reports.
        what: name of the sweep's MLflow run, for messages.
    """

    def __init__(self, delivery: StoreDelivery, what: str) -> None:
        self._delivery = delivery
        self._what = what
        self._asked_at = self._compared_at = -math.inf
        self._compared_for = 0.0
        self._comparisons: list[Comparison] = []
        self._told: dict[str, float] = {}
        self._closed = False

    def next(self, progress: SweepProgress) -> Callable[[], object] | None:
        """Return a function that uploads the state of the sweep, or None if the previous upload is too recent."""
        if self._closed or time.monotonic() - self._asked_at < TELL_SECONDS:
            return None
        self._asked_at = time.monotonic()
        return lambda: self._delivery.attempt(self._what, partial(self._send, progress=progress), last=False)

    def close(self) -> None:
        """Stop reporting. The final results are uploaded at the end of the sweep."""
        self._closed = True

    def _send(self, store: Store, *, progress: SweepProgress) -> None:
        from mlflow.entities import Metric

        run_id = self._delivery.parent
        if self._closed or run_id is None:
            return
        values, now = counts(progress.plan, progress.results), now_ms()
        changed = {name: value for name, value in values.items() if self._told.get(name) != value}
        log_metrics(store, run_id, [Metric(k, v, now, progress.plan.starts) for k, v in changed.items()])
        self._told = values
        said = f"{time.strftime('%H:%M:%S')}: {progress_words(progress)}"
        tags = {"sweep_progress": said, SHOWN: LIVE}
        tags |= {"sweep_best": best} if (best := best_words(progress.plan, progress.results)) else {}
        self._compare(progress)
        description = live_description(said, self._comparisons, links_of(store, progress.results))
        set_tags(store, run_id, tags | {"mlflow.note.content": description[:LONGEST]})

    def _compare(self, progress: SweepProgress) -> None:
        if time.monotonic() - self._compared_at < RESTS * self._compared_for:
            return
        start = time.monotonic()
        self._comparisons = compare_so_far(progress.plan, progress.results)
        self._compared_at, self._compared_for = time.monotonic(), time.monotonic() - start
