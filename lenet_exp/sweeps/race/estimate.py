"""Estimates for `sweep.dry_run=true` with `sweep.within`: how many runs the sweep adds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lenet_exp.amounts import duration, number_of
from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.design import race_design
from lenet_exp.comparison.statistics.looks import FEWEST_SEEDS
from lenet_exp.comparison.within_plan import can_be_simulated, plan_within
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import RacePlan
from lenet_exp.machine import now_ms
from lenet_exp.sweeps.race.race_plan import swept_configuration

# Number of races that are simulated after each look. Workers wait for it, so it is small.
SIMULATED_AT_LOOK = 8


def race_estimate(sweep: SweepFolder, jobs: Sequence[Job], plan: RacePlan, workers: int) -> str:
    """Describe how many runs a sweep adds to its jobs.

    If all jobs have results, and these show how noisy the configurations are, the number is
    simulated. Otherwise, it is unknown, and only its range is given.

    Args:
        sweep: folder of the sweep.
        jobs: all jobs of the sweep so far.
        plan: plan of the race, as requested now.
        workers: number of runs that are trained in parallel.
    """
    subject = f"sweep.within={plan.within:g}"
    if any(job.folder.checked_result() is None for job in jobs):
        hint = "for an estimate, repeat this command when they are trained"
        return f"{subject} adds {_range(jobs, plan)} to these, depending on their results; {hint}"

    comparisons = compare_sweep(sweep, job_results(sweep, jobs, now_ms()))
    if not all(can_be_simulated(comparison) for comparison in comparisons):
        return f"{subject} adds {_range(jobs, plan)}, depending on their results"
    return f"{subject} {_simulated(comparisons, plan, workers)}"


def _range(jobs: Sequence[Job], plan: RacePlan) -> str:
    """Return how many runs a race can add at least and at most, such as `0 to 68 runs`."""
    job_of_run = {job.run: job for job in jobs}
    num_configurations = len({swept_configuration(job) for job in job_of_run.values()})
    fewest = max(plan.listed, FEWEST_SEEDS) * num_configurations
    most = len(plan.replicates) * num_configurations
    fewest_added = max(fewest - len(job_of_run), 0)
    most_added = most - len(job_of_run)
    return f"{fewest_added:,} to {number_of(most_added, 'run')}"


def _simulated(comparisons: Sequence[Comparison], plan: RacePlan, workers: int) -> str:
    """Return what a race adds, according to simulations from the results so far."""
    runs = 0
    seconds = 0.0
    for comparison in comparisons:
        design = race_design(plan, comparison.metric)
        added = plan_within(comparison, design, plan.within)
        if added is None:
            return _not_reached(plan)
        runs += added.runs
        seconds += added.seconds

    if not runs:
        return "adds no runs"
    if math.isnan(seconds):
        return f"adds about {number_of(runs, 'run')}"
    return f"adds about {number_of(runs, 'run')}, {duration(seconds / workers)} of training"


def remaining_runs(comparison: Comparison, plan: RacePlan, seconds_per_run: float) -> str:
    """Describe how many more runs the race on one dataset takes, and how long, such as `about 34
    more runs, 40 s`; an empty string if that is unknown.

    Args:
        comparison: comparison of the runs so far.
        plan: plan of the race.
        seconds_per_run: time in which this session has trained one run, on all its workers; NaN if
            unknown.
    """
    if not can_be_simulated(comparison):
        return ""
    design = race_design(plan, comparison.metric)
    added = plan_within(comparison, design, plan.within, simulated=SIMULATED_AT_LOOK)
    if added is None:
        return f"sweep.within={plan.within:g} {_not_reached(plan)}"

    runs = max(added.runs, 1)
    text = f"about {number_of(runs, 'more run')}"
    if math.isnan(seconds_per_run):
        return text
    return f"{text}, {duration(runs * seconds_per_run)}"


def _not_reached(plan: RacePlan) -> str:
    return f"is probably not reached with sweep.most_seeds={plan.most_seeds}"
