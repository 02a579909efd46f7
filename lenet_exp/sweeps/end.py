"""Ends a sweep: saves its outcome, prints its results, uploads them, and closes its MLflow run, in this order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lenet_exp.addresses import store_name, store_uri
from lenet_exp.amounts import number_of
from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.config.schema import Config
from lenet_exp.config.tags import flat
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, best_of, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import now_ms, user
from lenet_exp.reports.terminal.progress import uploading
from lenet_exp.reports.terminal.sweep_table import print_sweep
from lenet_exp.stopping import raise_discarded
from lenet_exp.sweeps.confirms import save_confirmed
from lenet_exp.sweeps.hooks import run_hook
from lenet_exp.sweeps.repair import close_in_store
from lenet_exp.tracking.delivery.store_delivery import StoreDelivery
from lenet_exp.tracking.stores.usable import database_state
from lenet_exp.tracking.sweep_runs.parent import models_of, remaining_sweep_uploads


def end_sweep(
    sweep: SweepFolder,
    results: Sequence[JobResult],
    delivery: StoreDelivery,
    *,
    outcome: Outcome,
    stopped_by: str,
    seconds: float,
) -> bool:
    """End a sweep, and return whether all its runs ended as intended (finished or pruned).

    The results are printed before the uploads. If a signal interrupts the uploads, the sweep keeps its outcome, and
    `lenet-sync` uploads the rest.

    Args:
        sweep: folder of the sweep.
        results: results of all jobs; no job may still be training.
        delivery: object that uploads results to MLflow.
        outcome: outcome of the sweep: finished, failed, or killed.
        stopped_by: name of the signal that stopped the sweep; empty if no signal stopped it.
        seconds: duration of this session, in seconds.
    """
    sweep.end(outcome, stopped_by)
    comparisons = compare_sweep(sweep, results)
    save_confirmed(sweep, comparisons)
    try:
        print_sweep(results, seconds, sweep, comparisons)
        with uploading() as show:
            _deliver(results, delivery, show)
            close_in_store(delivery, sweep, results, comparisons)
    finally:
        left = remaining_sweep_uploads(sweep, delivery.name, results)
        delivery.warn_remaining(left, f" sweep={sweep.id}")
    if not left:
        sweep.save(database=database_state(delivery.uri))
    print(f"view in MLflow: lenet-ui sweep={sweep.id}", flush=True)  # readers of a pipe need it before the hooks end
    return all(r.outcome.ended_well for r in results)


def is_complete(sweep: SweepFolder, jobs: Sequence[Job], config: Config, overrides: Sequence[str]) -> bool:
    """Return whether a sweep with exactly these jobs has finished and its uploads are complete.

    The result is False unless the store is a SQLite database that has not changed since the uploads.

    Args:
        jobs: jobs of the sweep, all of which have a result.
        config: configuration of one job; its `tracking.*` flags apply to the sweep.
        overrides: overrides that define the sweep.
    """
    plan = sweep.kept_plan()
    if plan is None or plan.outcome is not Outcome.finished or plan.overrides != overrides or sweep.owner() is not None:
        return False
    if user() not in plan.users or not flat(config.tracking.tags).items() <= plan.tags.items():
        return False
    uri = store_uri(config.tracking.uri, sweep.outputs)
    return plan.database == database_state(uri) != "" and store_name(uri) in plan.mlflow_runs and sweep.has_jobs(jobs)


def print_complete(sweep: SweepFolder, jobs: Sequence[Job], config: Config) -> bool:
    """Print the results of a complete sweep again, and run its hooks.

    Return whether all its runs ended as intended.
    """
    results = job_results(sweep, jobs, now_ms())
    print_sweep(results, 0.0, sweep, compare_sweep(sweep, results))
    print(f"view in MLflow: lenet-ui sweep={sweep.id}", flush=True)
    run_hook(sweep, results, config, outcome=Outcome.finished, seconds=0.0)
    return all(r.outcome.ended_well for r in results)


def _deliver(results: Sequence[JobResult], delivery: StoreDelivery, show: Callable[[str], None]) -> None:
    """Upload the runs, with the models that `tracking.models` selects."""
    runs, wanted = {r.job.run: r for r in results if r.record is not None}, models_of(results)
    for n, (run, result) in enumerate(runs.items()):
        raise_discarded()
        show(f"{n} of {number_of(len(runs), 'run')}")
        delivery.send(result.job.folder, model=run in wanted, last=n == 0)
    if (best := best_of(results)) is not None:
        delivery.warn_passed_over(best.job.folder)
