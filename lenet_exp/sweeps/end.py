"""Ends a sweep: uploads and prints its results, saves its outcome, and closes its MLflow run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.config.schema import Config, LoggedModels
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, best_of
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.reports.terminal.sweep_table import print_sweep
from lenet_exp.sweeps.confirms import save_confirmed
from lenet_exp.sweeps.repair import OWN_RUN
from lenet_exp.tracking.delivery.remaining import remaining_uploads
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.sweep_runs.parent import close_parent, remaining_sweep_uploads
from lenet_exp.tracking.sweep_runs.report import report_sweep

MANY = 50  # number of runs whose upload takes so long that it is announced

log = logging.getLogger("lenet_exp")


def end_sweep(
    sweep: SweepFolder,
    results: Sequence[JobResult],
    delivery: StoreDelivery,
    config: Config,
    *,
    outcome: Outcome,
    stopped_by: str,
    seconds: float,
) -> bool:
    """End a sweep, and return whether all its runs ended as intended (finished or pruned).

    Args:
        sweep: folder of the sweep.
        results: results of all jobs; no job may still be training.
        delivery: object that uploads results to MLflow.
        config: configuration of one job; its `tracking.*` flags apply to the sweep.
        outcome: outcome of the sweep: finished, failed, or killed.
        stopped_by: name of the signal that stopped the sweep; empty if no signal stopped it.
        seconds: duration of this session, in seconds.
    """
    _deliver(results, delivery, config)
    sweep.end(outcome, stopped_by)
    comparisons = compare_sweep(sweep, results)
    save_confirmed(sweep, comparisons)

    def report(with_pictures: bool) -> None:
        delivery.attempt(
            OWN_RUN, lambda store: report_sweep(store, sweep, results, comparisons, with_pictures=with_pictures)
        )

    report(False)  # before the run is closed, so that a closed run never shows a running sweep
    delivery.attempt(OWN_RUN, lambda store: close_parent(store, sweep, results))
    print_sweep(results, seconds, sweep, comparisons)
    if config.tracking.plots and outcome is Outcome.finished:
        report(True)
    delivery.warn_remaining(remaining_sweep_uploads(sweep, delivery.name, results), f" sweep={sweep.id}")
    return all(r.outcome.ended_well for r in results)


def _deliver(results: Sequence[JobResult], delivery: StoreDelivery, config: Config) -> None:
    """Upload the runs. With `tracking.models=best`, upload only the model of the best run."""
    runs = {r.job.run: r for r in results if r.record is not None}
    waiting = sum(remaining_uploads(r.job.folder, delivery.name, model=False).runs for r in runs.values())
    if delivery.store is not None and waiting >= MANY:
        log.info("uploading %d runs to MLflow", waiting)
    for n, result in enumerate(runs.values()):
        delivery.send(result.job.folder, last=n == 0)
    best = best_of(list(runs.values())) if config.tracking.models is LoggedModels.best else None
    if best is not None:
        delivery.send(best.job.folder, model=True)
    if (reached := best_of(list(runs.values()))) is not None:
        delivery.warn_passed_over(reached.job.folder)
