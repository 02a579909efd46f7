"""Prints and runs the command that confirms a leader, for `lenet-compare confirm=` and for searches
with `confirm=`.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lenet_exp.amounts import duration, number_of
from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.confirmation.command import (
    ConfirmationCommand,
    ConfirmationRequest,
    confirmation_command,
    confirmations,
    confirmed_sweep,
)
from lenet_exp.errors import ConfigError
from lenet_exp.folders.results import JobResult, job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.folders.sweep_progress import sweep_seconds
from lenet_exp.machine import cpu_count
from lenet_exp.reports.words.formatting import points_words
from lenet_exp.reports.words.verdict import verdict
from lenet_exp.stopping import run_child
from lenet_exp.sweeps.confirms import configurations, is_in_own_outputs

if TYPE_CHECKING:
    from lenet_exp.searches.plan import PlannedSearch  # needs Optuna

LESS = "; each further test of the same sweep increases the risk of a false confirmation by up to 5 percentage points"


def confirm(
    which: str | None, request: ConfirmationRequest, *, run: bool, where: Sequence[str] = ()
) -> int:
    """Print the command that confirms each dataset's leader, optionally run the command, and return
    the exit status.

    Args:
        which: the sweep to confirm; see `confirmed_sweep`.
        request: the difference to detect, and other settings of the confirmation.
        run: whether to run the command.
        where: overrides that determine where the confirmation's runs are trained.

    Raises:
        ConfigError: the sweep was not found, or the confirmation cannot be planned or run.
        KeyboardInterrupt, Terminated: a signal stopped the confirmation.
    """
    sweep = confirmed_sweep(which)
    results = job_results(sweep, sweep.jobs(), since_ms=0)
    if run and not is_in_own_outputs(
        sweep
    ):  # its jobs can contain Python classes that this user did not choose
        raise ConfigError(
            f"run=true: the sweep is in a different outputs folder; set LENET_EXP_OUTPUTS={sweep.outputs}"
        )
    comparisons = compare_sweep(sweep, results)
    planned = [_planned(sweep, c, results, request, where=where) for c in comparisons]
    for lines, _ in planned:
        print(*lines, sep="\n")
    return max((_train(line) for _, line in planned if line is not None and run), default=0)


def confirm_search(planned: PlannedSearch, where: Sequence[str] = ()) -> int:
    """Confirm the best configuration of an ended search if requested, and return the exit status.

    Args:
        planned: the search.
        where: overrides that determined where the search was trained.
    """
    plan = planned.sweep.kept_plan()
    if planned.confirm is None or planned.config.sweep.dry_run or plan is None:
        return 0
    if plan.search is None or not plan.search.ended_by or plan.search.best_trial is None:
        return 0
    request = ConfirmationRequest(points=planned.confirm, uri=planned.config.tracking.uri)
    return confirm(str(planned.sweep.path), request, run=True, where=where)


def _planned(
    sweep: SweepFolder,
    comparison: Comparison,
    results: list[JobResult],
    request: ConfirmationRequest,
    where: Sequence[str],
) -> tuple[list[str], ConfirmationCommand | None]:
    """Return the lines to print, and the command to run or None if the same confirmation has
    already ended.
    """
    lines = []
    line = confirmation_command(sweep, comparison, request)
    for done in confirmations(sweep, comparison.dataset):
        plan, jobs = done.started(), done.jobs()
        same = _tested(plan) == request.flag and configurations(done) == line.configurations
        again = request.seeds not in {
            None,
            len({job.config.seed for job in jobs}),
        }  # with more or fewer seeds
        if plan.confirmed is not None and same and not again:
            for found in compare_sweep(done, job_results(done, jobs, since_ms=0)):
                lines.append(f"sweep {done.id}: {verdict(found)}")
            return lines, None
    line = replace(line, arguments=[*line.arguments, *where])
    for earlier in line.before:
        said = "confirmed" if earlier.started().confirmed else "not confirmed"
        lines.append(
            f"sweep {earlier.id} tested this with {_tested(earlier.started())}: {said}{LESS}"
        )
    wanted = line.plan
    names = request.against or ", ".join(comparison.name(g) for g in wanted.groups[1:4])
    more = f", and {len(wanted.groups) - 4} more" if len(wanted.groups) > 4 else ""
    points = None if wanted.detects is None else points_words(round(wanted.detects * 100, 2))
    how = (
        ""
        if points is None
        else f", {'which' if request.seeds else 'to'} detect a lead of {points} with 80% power"
    )
    lines.append(
        f"{comparison.name(wanted.groups[0])} vs. {names}{more}: {wanted.seeds} new seeds each{how}"
    )
    if missing := sum(g.missing for g in comparison.groups):
        lines.append(
            f"missing runs: {missing}; another configuration may lead once they are trained"
        )
    known = [r.record.seconds for r in results if r.record is not None and r.record.seconds]
    runs = wanted.seeds * len(line.configurations)
    if known:
        took = duration(sweep_seconds(statistics.fmean(known) * runs, runs))
        lines.append(f"{runs:,} runs, about {took} with {number_of(cpu_count(), 'worker')}")
    prefix = (
        "" if is_in_own_outputs(sweep) else f"LENET_EXP_OUTPUTS={shlex.quote(str(sweep.outputs))} "
    )
    lines.append(f"  {prefix}{line.line}")
    return lines, line


def _tested(plan: SweepPlan) -> str:
    """Return the flag that states the lead that a confirmation detects; see
    `ConfirmationRequest.flag`.
    """
    return f"sweep.points={plan.points:g}"


def _train(line: ConfirmationCommand) -> int:
    """Run the command in a child process, which receives this process's signals."""
    sys.stdout.flush()
    return run_child([sys.executable, "-P", "-m", "lenet_exp", "train", *line.arguments])
