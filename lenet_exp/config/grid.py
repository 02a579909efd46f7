"""The jobs of a grid: all combinations of the swept values, except for skipped ones.

Zipped flags vary together. Jobs are counted before they are created.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeGuard

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from lenet_exp.addresses import hide_password
from lenet_exp.config.check import check_flags
from lenet_exp.config.params import shown, text, values_by_flag
from lenet_exp.config.schema import SEED_FLAGS, Config
from lenet_exp.errors import ConfigError, did_you_mean

Each = Callable[[Sequence[Sequence[str]]], Iterable[Sequence[str]]]
Together = list[list[str]]  # groups of flags that are zipped

MOST_JOBS = 100_000  # maximum number of jobs if `sweep.max_jobs` is not set


def expand_grid(
    overrides: Sequence[Override], zipped: object, most: object, skipped: object = None
) -> list[list[str]]:
    """Return the overrides of each job in a grid, ordered by seed.

    The jobs with the first seed of every configuration come first.

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
    for override in overrides:
        if override.is_interval_sweep():
            raise ConfigError(
                f"{override.input_line}: a grid cannot sweep an interval; to search it, run: "
                "lenet-train -m hydra/sweeper=search n_trials=30 ..."
            )
    swept_flags = [_flag(override) for override in overrides if override.is_sweep_override()]
    together = _together(zipped, swept_flags)
    check_size(overrides, most, together=together)

    columns = {_flag(override): _column(override) for override in overrides}
    _check_zip(columns, together)
    # The last axis varies fastest, so the axes with seeds come first.
    axes = sorted(_axes(columns, together), key=_has_no_seed)
    jobs = [_in_order(columns, rows) for rows in itertools.product(*axes)]
    if not jobs:
        typed = " ".join(str(override.input_line) for override in overrides)
        raise ConfigError(f"{typed}: a swept flag must have at least one value")
    return _without_skipped(jobs, skipped, columns)


def _column(override: Override) -> list[str]:
    """Return one override for each value of an override with several values."""
    flag = _flag(override)
    if not override.is_sweep_override():
        return [f"{flag}={override.get_value_element_as_str()}"]
    return [f"{flag}={value}" for value in override.sweep_string_iterator()]


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
            config = compose(list(overrides))
            check_flags(config)
            configs.append(config)
        except ConfigError as e:
            raise ConfigError(f"{e}{which_job(overrides, jobs)}") from e
    return configs


def which_job(overrides: Sequence[str], jobs: Sequence[object]) -> str:
    """Return a job's overrides as the end of an error message; empty if the grid has one job.

    Args:
        jobs: all jobs of the grid.
    """
    if len(jobs) <= 1:
        return ""
    return f" (job: {hide_password(' '.join(overrides))})"


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

    # Only the last override of a flag counts.
    counts = {_flag(override): _count(override) for override in overrides}
    jobs = 1
    for group in together or []:
        counts_of_group = [counts.pop(flag) for flag in group]
        jobs *= max(counts_of_group)
    jobs *= math.prod(counts.values())

    if jobs > most:
        swept = [str(o.input_line) for o in overrides if o.is_sweep_override()]
        hint = more.format(jobs=jobs)
        raise ConfigError(f"{' '.join(swept)}: {jobs:,} jobs; must be at most {most:,}{hint}")


def _flag(override: Override) -> str:
    return override.get_key_element()


def _axes(columns: Mapping[str, list[str]], together: Together) -> list[list[dict[str, str]]]:
    """Return the axes of the grid.

    The axis of a flag has one row for each of its overrides. The axis of a group of zipped flags
    has rows with one override of each of them. It is at the position of the group's first flag.

    Args:
        columns: the overrides of each flag.
        together: groups of flags that are zipped.

    Returns:
        The rows of each axis, each row as a dict from flag to override. For `lr=1,2` zipped with
        `drop=3,4`, the rows are `{lr: lr=1, drop: drop=3}` and `{lr: lr=2, drop: drop=4}`.
    """
    axes = []
    done = set[str]()
    for flag in columns:
        if flag in done:
            continue
        flags = _zipped_with(flag, together)
        columns_of_flags = [columns[name] for name in flags]
        axis = []
        for overrides in zip(*columns_of_flags, strict=True):
            axis.append(dict(zip(flags, overrides, strict=True)))
        axes.append(axis)
        done.update(flags)
    return axes


def _zipped_with(flag: str, together: Together) -> list[str]:
    """Return the group of zipped flags that contains a flag, or the flag alone."""
    for group in together:
        if flag in group:
            return group
    return [flag]


def _has_no_seed(axis: list[dict[str, str]]) -> bool:
    """Return whether an axis contains no seed. Such axes vary faster than those with seeds."""
    return not axis or SEED_FLAGS.isdisjoint(axis[0])


def _in_order(columns: Iterable[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the overrides in one row of each axis, in the order of the columns."""
    by_flag: dict[str, str] = {}
    for row in rows:
        by_flag.update(row)
    return [by_flag[flag] for flag in columns]


def _together(zipped: object, swept: Sequence[str]) -> Together:
    """Return the groups of zipped flags, with their names as typed.

    Args:
        zipped: unchecked value of `sweep.zip`.
        swept: names of the swept flags, possibly with the prefix `+`.
    """
    if not isinstance(zipped, list) or not zipped:
        return []
    is_list_of_groups = all(isinstance(group, list) for group in zipped)
    groups = zipped if is_list_of_groups else [zipped]
    flags = [str(flag) for group in groups for flag in group]

    allowed = "must list two or more swept flags, each only once: [a,b] or [[a,b],[c,d]]"
    has_short_group = any(len(group) < 2 for group in groups)
    if has_short_group or len(set(flags)) < len(flags):
        raise ConfigError(f"sweep.zip={shown(zipped)}: {allowed}")

    by_name = {flag.lstrip("+"): flag for flag in swept}
    for flag in flags:
        if flag not in by_name:
            problem = f"{flag} is not swept; {allowed}{did_you_mean(flag, by_name)}"
            raise ConfigError(f"sweep.zip={shown(zipped)}: {problem}")

    groups_as_typed = []
    for group in groups:
        groups_as_typed.append([by_name[flag] for flag in group])
    return groups_as_typed


def _check_zip(columns: Mapping[str, list[str]], together: Together) -> None:
    for flags in together:
        counts = {flag: len(columns[flag]) for flag in flags}
        if len(set(counts.values())) > 1:
            numbers = ", ".join(f"{flag}: {count}" for flag, count in counts.items())
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
    start = sweep.start or 0
    stop = sweep.stop or 0
    step = 1 if sweep.step is None else sweep.step
    if not step or not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError(
            f"{typed}: must be range(start,stop,step) with finite numbers and a nonzero step"
        )
    return start, stop, step


def _count(override: Override) -> int:
    """Return the number of values in an override; 1 if Hydra expands them later (`glob(*)`)."""
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
    if not _are_dicts(skipped):
        raise ConfigError(f"sweep.skip={shown(skipped)}: must be [{{flag:value,...}},...]")

    swept: dict[str, list[str]] = {}
    for key, overrides in columns.items():
        if len(overrides) > 1:
            swept[key.lstrip("+")] = [override.partition("=")[2] for override in overrides]
    combinations = [_combination(entry, swept) for entry in skipped]

    remaining = []
    for job in jobs:
        is_skipped = any(_matches(job, combination) for combination in combinations)
        if not is_skipped:
            remaining.append(job)
    if not remaining:
        raise ConfigError(
            f"sweep.skip={shown(skipped)}: skips all jobs; must leave at least one job"
        )
    return remaining


def _are_dicts(skipped: object) -> TypeGuard[list[dict[object, object]]]:
    """Return whether a value is a list of dicts that are not empty."""
    if not isinstance(skipped, list):
        return False
    return all(isinstance(entry, dict) and entry for entry in skipped)


def _combination(
    entry: Mapping[object, object], swept: Mapping[str, Sequence[str]]
) -> dict[str, set[str]]:
    """Return the values that an entry of `sweep.skip` matches, as typed by the user.

    Args:
        entry: a value or a list of values, keyed by flag.
        swept: all values of each swept flag, as typed by the user.
    """
    combination = {}
    for key, value_or_values in entry.items():
        flag = str(key)
        if flag not in swept:
            expected = ", ".join(swept) or "flags with several values"
            hint = did_you_mean(flag, swept) or f"; expected one of: {expected}"
            raise ConfigError(f"sweep.skip: {flag} is not swept{hint}")

        values = value_or_values if isinstance(value_or_values, list) else [value_or_values]
        combination[flag] = set[str]()
        for value in values:
            equal = [typed for typed in swept[flag] if _equals(typed, value)]
            if not equal:
                raise ConfigError(
                    f"sweep.skip: {flag}={text(value)} is not swept; "
                    f"expected one of: {', '.join(swept[flag])}"
                )
            combination[flag].update(equal)
    return combination


def _matches(job: Sequence[str], combination: Mapping[str, set[str]]) -> bool:
    """Return whether a job has one of the skipped values of each flag in a combination."""
    values = values_by_flag(job)
    return all(values[flag] in skipped_values for flag, skipped_values in combination.items())


def _equals(typed: str, value: object) -> bool:
    """Return whether a value equals the text that the user typed; 0.1 equals `1e-1`."""
    value_text = text(value)
    if typed.strip("'\"") == value_text or typed.lower() == value_text:
        return True
    try:
        return float(typed) == float(value_text)
    except ValueError:
        return False
