"""The jobs of a grid: all combinations of the swept values, with zipped flags varied together,
without skipped ones.

Jobs are counted before they are created.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from lenet_exp.addresses import hide_password
from lenet_exp.config.check import check_flags
from lenet_exp.config.params import shown, text
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError, did_you_mean

Each = Callable[[Sequence[Sequence[str]]], Iterable[Sequence[str]]]
Together = list[list[str]]  # groups of flags that are zipped

SEED_FLAGS = {"seed", "split_seed"}
MOST_JOBS = 100_000  # maximum number of jobs if `sweep.max_jobs` is not set


def expand_grid(
    overrides: Sequence[Override], zipped: object, most: object, skipped: object = None
) -> list[list[str]]:
    """Return the overrides of each job in a grid, ordered by seed: the first seed of every
    configuration comes first.

    Args:
        overrides: all overrides of the sweep, as parsed by Hydra.
        zipped: unchecked value of `sweep.zip`: a list of flags that are zipped, or several such
            lists. Zipped flags must be swept and have the same number of values.
        most: unchecked value of `sweep.max_jobs`.
        skipped: unchecked value of `sweep.skip`.

    Raises:
        ConfigError: the grid has no jobs or more than `most`, a flag sweeps an interval, or the
            value of `zipped` or `skipped` is invalid.
    """
    for interval in (o for o in overrides if o.is_interval_sweep()):
        raise ConfigError(
            f"{interval.input_line}: a grid cannot sweep an interval; to search it, run: lenet-train -m "
            "hydra/sweeper=search n_trials=30 ..."
        )
    together = _together(zipped, [_flag(o) for o in overrides if o.is_sweep_override()])
    check_size(overrides, most, together=together)
    columns: dict[str, list[str]] = {}
    for override in overrides:
        swept = override.is_sweep_override()
        values = (
            override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        )
        columns[_flag(override)] = [f"{_flag(override)}={value}" for value in values]
    _check_zip(columns, together)
    axes = sorted(
        _axes(columns, together), key=lambda axis: not axis or SEED_FLAGS.isdisjoint(axis[0])
    )
    jobs = [_in_order(columns, chosen) for chosen in itertools.product(*axes)]
    if not jobs:
        given = " ".join(str(o.input_line) for o in overrides)
        raise ConfigError(f"{given}: a swept flag must have at least one value")
    return _without_skipped(jobs, skipped, columns)


def compose_jobs(
    jobs: Sequence[Sequence[str]], compose: Callable[[list[str]], Config], each: Each = iter
) -> list[Config]:
    """Compose the typed configuration of each job and check its flags, without loading torch.

    Args:
        jobs: overrides of each job.
        compose: function that returns the configuration for the overrides of a job.
        each: function that iterates over the jobs and can show progress.

    Raises:
        ConfigError: a job is invalid; the message contains the problem and the overrides of the
            first invalid job.
    """
    configs = []
    for overrides in each(jobs):
        try:
            configs.append(compose(list(overrides)))
            check_flags(configs[-1])
        except ConfigError as e:
            raise ConfigError(f"{e}{which_job(overrides, jobs)}") from e
    return configs


def which_job(overrides: Sequence[str], jobs: Sequence[object]) -> str:
    """Return a job's overrides as the end of an error message, or an empty string if the grid has
    only one job.

    Args:
        jobs: all jobs of the grid.
    """
    return f" (job: {hide_password(' '.join(overrides))})" if len(jobs) > 1 else ""


def check_size(
    overrides: Sequence[Override],
    most: object,
    more: str = "; to train them all, set sweep.max_jobs={jobs}",
    together: Together | None = None,
) -> None:
    """Check the number of jobs in a grid before the jobs are created.

    Args:
        most: maximum number of jobs: the unchecked value of `sweep.max_jobs`.
        more: end of the error message, which explains how to allow more jobs.
        together: groups of flags that are zipped.

    Raises:
        ConfigError: the overrides specify more than `most` jobs.
    """
    if not isinstance(most, int):
        return
    counts = {_flag(o): _count(o) for o in overrides}  # only the last override of a flag counts
    side_by_side = [max(counts.pop(flag) for flag in group) for group in together or []]
    jobs = math.prod([*counts.values(), *side_by_side])
    if jobs > most:
        swept = " ".join(str(o.input_line) for o in overrides if o.is_sweep_override())
        raise ConfigError(
            f"{swept}: {jobs:,} jobs; must be at most {most:,}{more.format(jobs=jobs)}"
        )


def _flag(override: Override) -> str:
    return override.get_key_element()


def _axes(columns: Mapping[str, list[str]], together: Together) -> list[list[dict[str, str]]]:
    """Return the axes of the grid: the values of each flag, or the rows of each group of zipped
    flags.

    The axis of a group is at the position of the group's first flag.
    """
    axes, done = [], set[str]()
    for flag in columns:
        flags = next((group for group in together if flag in group), [flag])
        if flag not in done:
            axes.append(
                [
                    dict(zip(flags, row, strict=True))
                    for row in zip(*(columns[f] for f in flags), strict=True)
                ]
            )
            done.update(flags)
    return axes


def _in_order(columns: Iterable[str], chosen: Sequence[Mapping[str, str]]) -> list[str]:
    values = {flag: value for part in chosen for flag, value in part.items()}
    return [values[flag] for flag in columns]


def _together(zipped: object, swept: Sequence[str]) -> Together:
    if not isinstance(zipped, list) or not zipped:
        return []
    groups = zipped if all(isinstance(group, list) for group in zipped) else [zipped]
    flags = [str(flag) for group in groups for flag in group]
    by_name = {flag.lstrip("+"): flag for flag in swept}
    allowed = "must list two or more swept flags, each only once: [a,b] or [[a,b],[c,d]]"
    if any(len(group) < 2 for group in groups) or len(set(flags)) < len(flags):
        raise ConfigError(f"sweep.zip={shown(zipped)}: {allowed}")
    for flag in flags:
        if flag not in by_name:
            why = f"{flag} is not swept; {allowed}{did_you_mean(flag, by_name)}"
            raise ConfigError(f"sweep.zip={shown(zipped)}: {why}")
    return [[by_name[flag] for flag in group] for group in groups]


def _check_zip(columns: Mapping[str, list[str]], together: Together) -> None:
    for flags in together:
        if len({len(columns[flag]) for flag in flags}) > 1:
            numbers = ", ".join(f"{flag}: {len(columns[flag])}" for flag in flags)
            raise ConfigError(
                f"sweep.zip={shown(flags)}: must pair flags with equally many values ({numbers})"
            )


def range_numbers(sweep: RangeSweep, typed: str) -> tuple[float, float, float]:
    """Return the start, the stop, and the step of a `range()` expression.

    Args:
        typed: full override, for the error message.

    Raises:
        ConfigError: a number is not finite, or the step is 0.
    """
    start, stop, step = sweep.start or 0, sweep.stop or 0, 1 if sweep.step is None else sweep.step
    if not step or not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError(
            f"{typed}: must be range(start,stop,step) with finite numbers and a nonzero step"
        )
    return start, stop, step


def _count(override: Override) -> int:
    """Return the number of values in an override; 1 if Hydra expands the values later, as for
    `glob(*)`.
    """
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        return len(sweep.list)
    if isinstance(sweep, RangeSweep):
        start, stop, step = range_numbers(sweep, str(override.input_line))
        return max(0, math.ceil((stop - start) / step))
    return 1


def _without_skipped(
    jobs: Sequence[list[str]], skipped: object, columns: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """Return the jobs that match none of the skipped combinations.

    Args:
        jobs: overrides of each job, each in the form `flag=value`.
        skipped: unchecked value of `sweep.skip`: a list of dicts that map flags to a value or a
            list of values.
        columns: all overrides of each flag, in the form `flag=value`, keyed by flag.

    Raises:
        ConfigError: a combination contains a flag or a value that is not swept, or every job would
            be skipped.
    """
    if not skipped:
        return list(jobs)
    if not isinstance(skipped, list) or not all(isinstance(one, dict) and one for one in skipped):
        raise ConfigError(f"sweep.skip={shown(skipped)}: must be [{{flag:value,...}},...]")
    swept = {
        key.lstrip("+"): [o.partition("=")[2] for o in values]
        for key, values in columns.items()
        if len(values) > 1
    }
    combinations = [_combination(one, swept) for one in skipped]
    left = [job for job in jobs if not any(_has(job, combination) for combination in combinations)]
    if not left:
        raise ConfigError(
            f"sweep.skip={shown(skipped)}: skips all jobs; must leave at least one job"
        )
    return left


def _combination(
    one: Mapping[object, object], swept: Mapping[str, Sequence[str]]
) -> dict[str, set[str]]:
    """Return the values that an entry of `sweep.skip` matches, as typed by the user, keyed by flag."""
    found = {}
    for key, given in one.items():
        flag = str(key)
        if flag not in swept:
            expected = f"; expected one of: {', '.join(swept) or 'flags with several values'}"
            raise ConfigError(
                f"sweep.skip: {flag} is not swept{did_you_mean(flag, swept) or expected}"
            )
        wanted = given if isinstance(given, list) else [given]
        found[flag] = {
            typed for typed in swept[flag] if any(_equals(typed, value) for value in wanted)
        }
        for value in wanted:
            if not any(_equals(typed, value) for typed in swept[flag]):
                raise ConfigError(
                    f"sweep.skip: {flag}={text(value)} is not swept; expected one of: {', '.join(swept[flag])}"
                )
    return found


def _has(job: Sequence[str], combination: Mapping[str, set[str]]) -> bool:
    values = dict(o.lstrip("+").split("=", 1) for o in job if "=" in o)
    return all(values[flag] in meant for flag, meant in combination.items())


def _equals(typed: str, value: object) -> bool:
    """Return whether a value equals the text that the user typed; 0.1 equals `1e-1`."""
    said = text(value)
    if typed.strip("'\"") == said or typed.lower() == said:
        return True
    try:
        return float(typed) == float(said)
    except ValueError:
        return False
