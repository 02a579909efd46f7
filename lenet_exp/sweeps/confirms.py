"""Sweeps that confirm the leader of an earlier sweep: checks of their jobs, and the result of the
confirmation.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    confirms, points = config.sweep.confirms, config.sweep.points
    if confirms is None:
        if points is not None:
            raise ConfigError(
                f"sweep.points={points:g}: requires sweep.confirms; use lenet-compare confirm={points:g}"
            )
        if config.sweep.against:
            raise ConfigError(
                "sweep.against=true: requires sweep.confirms; use lenet-compare confirm= against="
            )
        return
    if points is None:
        raise ConfigError(
            f"sweep.confirms={confirms}: requires sweep.points; to print a command that sets it, run: "
            f"lenet-compare sweep={confirms} confirm=0.2"
        )
    sweep = find_sweep(confirms, "sweep.confirms")
    used = {job.config.seed for job in sweep.jobs()} & {job.config.seed for job in jobs}
    if used:
        raise ConfigError(
            f"seed={min(used)}: must be a new seed; sweep {sweep.id} already used this seed"
        )
    tested = configurations(sweep)
    first = flags_of(jobs[0].config)
    for other in (flags_of(job.config) for job in jobs):
        if other not in tested and (other == first or not config.sweep.against):
            nearest = min(tested, key=lambda c: len(c ^ other))
            flag = min(flag for flag, _ in nearest ^ other)
            was, now = dict(nearest).get(flag, "none"), dict(other).get(flag, "none")
            raise ConfigError(
                f"{flag}={now}: must be {was}, as in sweep {sweep.id}, which this sweep confirms"
            )


def ended_confirmation(sweep: SweepFolder, tested: SweepFolder) -> EndedConfirmation | None:
    """Return the result of a sweep that was run to confirm the leader of the tested sweep.

    Return None if runs are missing, or if the sweeps have a seed in common.
    """
    jobs = sweep.jobs()
    if {job.config.seed for job in jobs} & {job.config.seed for job in tested.jobs()}:
        return None
    comparisons = compare_sweep(sweep, job_results(sweep, jobs, since_ms=0))
    confirmed = _answer(comparisons)
    points = sweep.started().points
    if confirmed is None or points is None:
        return None
    scored = all(comparison.scored for comparison in comparisons)
    return EndedConfirmation(sweep.id, comparisons[0].dataset, points, confirmed, scored=scored)


def save_confirmed(sweep: SweepFolder, comparisons: Sequence[Comparison]) -> None:
    """If a sweep has `sweep.confirms`, save whether it confirms the earlier sweep, or None if runs
    are missing.
    """
    if sweep.started().confirms is not None:
        sweep.save(confirmed=_answer(comparisons))


def _answer(comparisons: Sequence[Comparison]) -> bool | None:
    found = [confirmation_result(comparison) for comparison in comparisons]
    answers = {c.confirmed for c in found if c is not None}
    return None if None in answers or not answers else all(answers)
