"""Prints and runs the command that confirms a leader, for `lenet-compare confirm=` and for searches
with `confirm=`.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

MOST_RIVALS_NAMED = 3


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
    # Jobs of other outputs folders can contain Python classes that this user did not choose.
    if run and not is_in_own_outputs(sweep):
        raise ConfigError(
            "run=true: the sweep is in a different outputs folder; "
            f"set LENET_EXP_OUTPUTS={sweep.outputs}"
        )

    comparisons = compare_sweep(sweep, results)
    planned = [
        _planned(sweep, comparison, results, request, where=where) for comparison in comparisons
    ]
    for confirmation in planned:
        print(*confirmation.lines, sep="\n")

    exit_statuses = []
    for confirmation in planned:
        if run and confirmation.command is not None:
            exit_statuses.append(_train(confirmation.command))
    return max(exit_statuses, default=0)


def confirm_search(planned: PlannedSearch, where: Sequence[str] = ()) -> int:
    """Confirm the best configuration of an ended search if requested, and return the exit status.

    Args:
        planned: the search.
        where: overrides that determined where the search was trained.
    """
    plan = planned.sweep.kept_plan()
    if planned.confirm is None or planned.config.sweep.dry_run:
        return 0
    if plan is None or plan.search is None:
        return 0

    has_ended = bool(plan.search.ended_by)
    if not has_ended or plan.search.best_trial is None:
        return 0
    request = ConfirmationRequest(points=planned.confirm, uri=planned.config.tracking.uri)
    return confirm(str(planned.sweep.path), request, run=True, where=where)


@dataclass(frozen=True)
class PlannedConfirmation:
    """A confirmation on one dataset.

    Attributes:
        lines: the lines to print.
        command: the command to run; None if the same confirmation has already ended.
    """

    lines: list[str]
    command: ConfirmationCommand | None


def _planned(
    sweep: SweepFolder,
    comparison: Comparison,
    results: list[JobResult],
    request: ConfirmationRequest,
    where: Sequence[str],
) -> PlannedConfirmation:
    """Plan the confirmation on one dataset, unless the same confirmation has already ended."""
    command = confirmation_command(sweep, comparison, request)
    for earlier in confirmations(sweep, comparison.dataset):
        if _is_same_and_ended(earlier, command, request):
            return PlannedConfirmation(_verdicts(earlier), command=None)

    command = replace(command, arguments=[*command.arguments, *where])
    lines = [_describe_earlier_test(earlier) for earlier in command.before]
    lines.append(_describe_test(comparison, command, request))

    missing = sum(group.missing for group in comparison.groups)
    if missing:
        lines.append(
            f"missing runs: {missing}; another configuration may lead once they are trained"
        )

    run_seconds = [
        result.record.seconds
        for result in results
        if result.record is not None and result.record.seconds
    ]
    if run_seconds:
        runs = command.plan.seeds * len(command.configurations)
        took = duration(sweep_seconds(statistics.fmean(run_seconds) * runs, runs))
        lines.append(f"{runs:,} runs, about {took} with {number_of(cpu_count(), 'worker')}")

    prefix = ""
    if not is_in_own_outputs(sweep):
        prefix = f"LENET_EXP_OUTPUTS={shlex.quote(str(sweep.outputs))} "
    lines.append(f"  {prefix}{command.line}")
    return PlannedConfirmation(lines, command)


def _is_same_and_ended(
    earlier: SweepFolder, command: ConfirmationCommand, request: ConfirmationRequest
) -> bool:
    """Return whether an earlier confirmation has ended and answers the request.

    Its seeds are others than those of the command. Their number must match only if it was
    requested.
    """
    plan = earlier.started()
    if plan.confirmed is None or _points_flag(plan) != request.flag:
        return False
    if configurations(earlier) != command.configurations:
        return False

    seeds = {job.config.seed for job in earlier.jobs()}
    return request.seeds is None or request.seeds == len(seeds)


def _verdicts(confirmed: SweepFolder) -> list[str]:
    """Return the lines that state the result of an ended confirmation."""
    results = job_results(confirmed, confirmed.jobs(), since_ms=0)
    return [
        f"sweep {confirmed.id}: {verdict(comparison)}"
        for comparison in compare_sweep(confirmed, results)
    ]


def _describe_earlier_test(earlier: SweepFolder) -> str:
    """Return the line that states the result of an earlier confirmation of the same sweep."""
    plan = earlier.started()
    answer = "confirmed" if plan.confirmed else "not confirmed"
    return (
        f"sweep {earlier.id} tested this with {_points_flag(plan)}: {answer}; each further test of "
        "the same sweep increases the risk of a false confirmation by up to 5 percentage points"
    )


def _describe_test(
    comparison: Comparison, command: ConfirmationCommand, request: ConfirmationRequest
) -> str:
    """Return, for example, `selu vs. relu, tanh: 12 new seeds each, to detect a lead of 0.2
    percentage points with 80% power`.
    """
    plan = command.plan
    leader, *rivals = plan.groups
    named_rivals = rivals[:MOST_RIVALS_NAMED]
    names = request.against or ", ".join(comparison.name(rival) for rival in named_rivals)
    if len(rivals) > MOST_RIVALS_NAMED:
        names += f", and {len(rivals) - MOST_RIVALS_NAMED} more"
    line = f"{comparison.name(leader)} vs. {names}: {plan.seeds} new seeds each"
    if plan.detects is None:
        return line

    lead = points_words(round(plan.detects * 100, 2))
    aim = "which" if request.seeds else "to"
    return f"{line}, {aim} detect a lead of {lead} with 80% power"


def _points_flag(plan: SweepPlan) -> str:
    """Return the flag that states the lead that a confirmation detects; see
    `ConfirmationRequest.flag`.
    """
    return f"sweep.points={plan.points:g}"


def _train(command: ConfirmationCommand) -> int:
    """Run the command in a child process, which receives this process's signals."""
    sys.stdout.flush()
    return run_child([sys.executable, "-P", "-m", "lenet_exp", "train", *command.arguments])
