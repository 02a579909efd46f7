"""Combinations of values that a grid skips: `sweep.skip=[{optimizer:adam,optimizer.lr:0.1}]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lenet_exp.config.params import shown, text
from lenet_exp.errors import ConfigError, did_you_mean


def without_skipped(
    jobs: Sequence[list[str]], skipped: object, columns: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """Return the jobs that match none of the skipped combinations.

    Args:
        jobs: overrides of each job, each in the form `flag=value`.
        skipped: unchecked value of `sweep.skip`: a list of dicts that map flags to a value or a list of values.
        columns: all overrides of each flag, in the form `flag=value`, keyed by flag.

    Raises:
        ConfigError: a combination contains a flag or a value that is not swept, or every job would be skipped.
    """
    if not skipped:
        return list(jobs)
    if not isinstance(skipped, list) or not all(isinstance(one, dict) and one for one in skipped):
        raise ConfigError(f"sweep.skip={shown(skipped)}: must be [{{flag:value,...}},...]")
    swept = {
        key.lstrip("+"): [o.partition("=")[2] for o in values] for key, values in columns.items() if len(values) > 1
    }
    combinations = [_combination(one, swept) for one in skipped]
    left = [job for job in jobs if not any(_has(job, combination) for combination in combinations)]
    if not left:
        raise ConfigError(f"sweep.skip={shown(skipped)}: skips all jobs; must leave at least one job")
    return left


def _combination(one: Mapping[object, object], swept: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Return the values that a combination matches, as typed by the user, keyed by flag."""
    found = {}
    for key, given in one.items():
        flag = str(key)
        if flag not in swept:
            expected = f"; expected one of: {', '.join(swept) or 'flags with several values'}"
            raise ConfigError(f"sweep.skip: {flag} is not swept{did_you_mean(flag, swept) or expected}")
        wanted = given if isinstance(given, list) else [given]
        found[flag] = {typed for typed in swept[flag] if any(_same(typed, value) for value in wanted)}
        for value in wanted:
            if not any(_same(typed, value) for typed in swept[flag]):
                raise ConfigError(
                    f"sweep.skip: {flag}={text(value)} is not swept; expected one of: {', '.join(swept[flag])}"
                )
    return found


def _has(job: Sequence[str], combination: Mapping[str, set[str]]) -> bool:
    values = dict(o.lstrip("+").split("=", 1) for o in job if "=" in o)
    return all(values[flag] in meant for flag, meant in combination.items())


def _same(typed: str, value: object) -> bool:
    """Return whether a value equals the text that the user typed; 0.1 equals `1e-1`."""
    said = text(value)
    if typed.strip("'\"") == said or typed.lower() == said:
        return True
    try:
        return float(typed) == float(said)
    except ValueError:
        return False
