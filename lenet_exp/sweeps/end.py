"""Ends a sweep: saves its outcome, and prints its results."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.comparison.compare import compare_sweep
from lenet_exp.config.schema import Config
from lenet_exp.config.tags import flat
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import JobResult, counts, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import now_ms, user
from lenet_exp.reports.terminal.sweep_table import print_sweep
from lenet_exp.sweeps.confirms import save_confirmed


def end_sweep(
    sweep: SweepFolder,
    results: Sequence[JobResult],
    *,
    outcome: Outcome,
    stopped_by: str,
    seconds: float,
) -> bool:
    """End a sweep, print its results, and return whether all its runs ended as intended (finished
    or pruned).

    Args:
        sweep: folder of the sweep.
        results: results of all jobs; no job may still be training.
        outcome: outcome of the sweep: finished, failed, or killed.
        stopped_by: name of the signal that stopped the sweep; empty if no signal stopped it.
        seconds: duration of this session, in seconds.
    """
    plan = sweep.started()
    sweep.end(outcome, stopped_by, counted=counts(plan, results))
    comparisons = compare_sweep(sweep, results)
    save_confirmed(sweep, plan, comparisons)
    print_sweep(results, seconds, sweep, comparisons)
    return all(result.outcome.ended_well for result in results)


def is_complete(
    sweep: SweepFolder, jobs: Sequence[Job], config: Config, overrides: Sequence[str]
) -> bool:
    """Return whether a sweep with exactly these jobs has finished, and the same user started it
    with the same tags.

    Args:
        jobs: jobs of the sweep, all of which have a result.
        config: configuration of one job; its `tracking.*` flags apply to the sweep.
        overrides: overrides that define the sweep.
    """
    plan = sweep.kept_plan()
    if plan is None or plan.outcome is not Outcome.finished or plan.overrides != overrides:
        return False
    if sweep.owner() is not None:
        return False

    tags = flat(config.tracking.tags)
    has_all_tags = tags.items() <= plan.tags.items()
    if user() not in plan.users or not has_all_tags:
        return False
    return sweep.has_jobs(jobs)


def print_complete(sweep: SweepFolder, jobs: Sequence[Job]) -> list[JobResult]:
    """Print the results of a complete sweep again, and return them."""
    results = job_results(sweep, jobs, now_ms())
    comparisons = compare_sweep(sweep, results)
    print_sweep(results, 0.0, sweep, comparisons)
    return results
