"""Sweeps that confirm the leader of an earlier sweep: checks of their jobs, and the result of the
confirmation.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from lenet_exp.comparison.compare import Comparison, compare_sweep
from lenet_exp.comparison.confirmation_result import confirmation_result
from lenet_exp.comparison.design import EndedConfirmation
from lenet_exp.comparison.runs import configuration
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.folders.find import find_sweep
from lenet_exp.folders.job import Job
from lenet_exp.folders.results import job_results
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.outputs import outputs_dir

Flags = frozenset[tuple[str, str]]


def is_in_own_outputs(sweep: SweepFolder) -> bool:
    """Return whether a sweep is in the user's own outputs folder. If it is, its overrides are
    trusted.
    """
    return sweep.outputs.resolve() == outputs_dir().resolve()


def flags_of(config: Config) -> Flags:
    """Return the flags of a configuration, without the seed."""
    return frozenset(configuration(config).items())


def configurations(sweep: SweepFolder) -> frozenset[Flags]:
    """Return the configurations that a sweep trains."""
    return frozenset(flags_of(job.config) for job in sweep.jobs())


def check_fresh(config: Config, jobs: Sequence[Job]) -> None:
    """Check that the jobs of a sweep can confirm the sweep in `sweep.confirms`, if it is set.

    Args:
        config: configuration of one job; its `sweep.*` flags apply to the sweep.
        jobs: all jobs of the sweep.

    Raises:
        ConfigError: the sweep to confirm was not found, used one of the jobs' seeds, or did not
            train one of their configurations. Also raised if `sweep.confirms` is set without
            `sweep.points`, or if `sweep.points` or `sweep.against` is set without `sweep.confirms`.
    """
    confirms = config.sweep.confirms
    points = config.sweep.points
    if confirms is None:
        _check_no_flags_of_confirmation(config)
        return
    if points is None:
        raise ConfigError(
            f"sweep.confirms={confirms}: requires sweep.points; to print a command that sets it, "
            f"run: lenet-compare sweep={confirms} confirm=0.2"
        )

    tested = find_sweep(confirms, "sweep.confirms")
    tested_jobs = tested.jobs()
    used_seeds = _seeds(tested_jobs) & _seeds(jobs)
    if used_seeds:
        raise ConfigError(
            f"seed={min(used_seeds)}: must be a new seed; sweep {tested.id} already used this seed"
        )

    tested_configurations = {flags_of(job.config) for job in tested_jobs}
    configurations_to_confirm = [flags_of(job.config) for job in jobs]
    leader = configurations_to_confirm[0]
    for flags in configurations_to_confirm:
        # With `sweep.against`, the leader may be compared with configurations that are new.
        may_be_new = config.sweep.against and flags != leader
        if flags not in tested_configurations and not may_be_new:
            raise ConfigError(_why_not_tested(flags, tested_configurations, tested))


def _check_no_flags_of_confirmation(config: Config) -> None:
    """Check that flags that require `sweep.confirms` are not set."""
    if config.sweep.points is not None:
        raise ConfigError(
            f"sweep.points={config.sweep.points:g}: requires sweep.confirms; "
            f"use lenet-compare confirm={config.sweep.points:g}"
        )
    if config.sweep.against:
        raise ConfigError(
            "sweep.against=true: requires sweep.confirms; use lenet-compare confirm= against="
        )


def _seeds(jobs: Sequence[Job]) -> set[int]:
    return {job.config.seed for job in jobs}


def _why_not_tested(flags: Flags, tested_configurations: Set[Flags], tested: SweepFolder) -> str:
    """Return the message that a sweep did not train a configuration.

    The message names the first flag that differs from the most similar configuration.
    """
    nearest = min(tested_configurations, key=lambda other: len(other ^ flags))
    differing_flags = [flag for flag, _ in nearest ^ flags]
    flag = min(differing_flags)
    value = dict(flags).get(flag, "none")
    tested_value = dict(nearest).get(flag, "none")
    return (
        f"{flag}={value}: must be {tested_value}, as in sweep {tested.id}, "
        "which this sweep confirms"
    )


def ended_confirmation(sweep: SweepFolder, tested: SweepFolder) -> EndedConfirmation | None:
    """Return the result of a sweep that was run to confirm the leader of the tested sweep.

    Return None if runs are missing, or if the sweeps have a seed in common.
    """
    jobs = sweep.jobs()
    if _seeds(jobs) & _seeds(tested.jobs()):
        return None

    comparisons = compare_sweep(sweep, job_results(sweep, jobs, since_ms=0))
    confirmed = _is_confirmed(comparisons)
    points = sweep.started().points
    if confirmed is None or points is None:
        return None
    scored = all(comparison.scored for comparison in comparisons)
    return EndedConfirmation(sweep.id, comparisons[0].dataset, points, confirmed, scored=scored)


def save_confirmed(sweep: SweepFolder, plan: SweepPlan, comparisons: Sequence[Comparison]) -> None:
    """If a sweep has `sweep.confirms`, save whether it confirms the earlier sweep.

    None is saved if runs are missing.

    Args:
        plan: plan of the sweep.
        comparisons: comparisons of the sweep's results, one for each dataset.
    """
    if plan.confirms is not None:
        sweep.save(confirmed=_is_confirmed(comparisons))


def _is_confirmed(comparisons: Sequence[Comparison]) -> bool | None:
    """Return whether the leader is confirmed on all datasets; None if runs are missing."""
    answers = set()
    for comparison in comparisons:
        result = confirmation_result(comparison)
        if result is not None:
            answers.add(result.confirmed)
    if not answers or None in answers:
        return None
    return all(answers)
