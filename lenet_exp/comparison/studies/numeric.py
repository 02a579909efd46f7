"""Accuracy against the value of a numeric flag, such as `dataset.train_size`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lenet_exp.comparison.compare import Comparison, name_of
from lenet_exp.comparison.effects import number
from lenet_exp.comparison.group import ABSENT, Group
from lenet_exp.comparison.verdict import verdict_of

LEAST_VALUES = 3
WIDE_RANGE = 20  # minimum ratio of the largest value to the smallest value for a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Line:
    """The configurations that differ only in a numeric flag.

    Attributes:
        name: values of the other flags, such as `relu`; empty if no other flag differs.
        groups: the configurations with finished runs, in ascending order of the flag.
    """

    name: str
    groups: list[Group]


@dataclass(frozen=True, kw_only=True)
class NumericFlag:
    """A flag with at least three numeric values, for which at least two configurations finished runs.

    Attributes:
        flag: name of the flag.
        log: whether its values belong on a logarithmic axis.
        lines: one line for each combination of the other flags, best configuration first.
        best: the leader's value; empty if the leader has none or no difference was tested.
        not_worse: other values that could be the best, ascending: some configuration with this value is not excluded.
        worse: values whose configurations are all excluded, ascending.
    """

    flag: str
    log: bool
    lines: list[Line]
    best: str = ""
    not_worse: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


def numeric_flags(comparison: Comparison) -> list[NumericFlag]:
    """Return the numeric flags that differ between the configurations of a grid; a search has none."""
    if comparison.has_trials:
        return []
    found = [_numeric(comparison, flag) for flag in comparison.flags]
    return [numeric for numeric in found if numeric is not None]


def is_log(values: Iterable[str]) -> bool:
    """Return whether the values of a flag belong on a logarithmic axis: they are positive and span a wide range."""
    numbers = [n for n in map(number, values) if n is not None]
    return bool(numbers) and min(numbers) > 0 and max(numbers) >= WIDE_RANGE * min(numbers)


def _numeric(comparison: Comparison, flag: str) -> NumericFlag | None:
    values = {g.value(flag) for g in comparison.groups}
    known = sorted((n, value) for value in values if (n := number(value)) is not None)
    if len(known) < LEAST_VALUES or any(
        value not in {ABSENT, "null"} for value in values - {value for _, value in known}
    ):
        return None
    order = {value: position for position, (_, value) in enumerate(known)}
    lines: dict[tuple[str, ...], list[Group]] = {}
    for g in comparison.groups:
        if g.n and g.flags.get(flag) in order:
            lines.setdefault(tuple(g.value(f) for f in comparison.flags if f != flag), []).append(g)
    if sum(map(len, lines.values())) < 2:
        return None
    best, not_worse, worse = _judged(comparison, flag, order)
    return NumericFlag(
        flag=flag,
        log=is_log(order),
        lines=[
            Line(
                name=name_of([f for f in comparison.flags if f != flag], others),
                groups=sorted(groups, key=lambda g: order[g.flags[flag]]),
            )
            for others, groups in lines.items()
        ],
        best=best,
        not_worse=not_worse,
        worse=worse,
    )


def _judged(
    comparison: Comparison, flag: str, order: Mapping[str, int]
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the leader's value of a flag, the other values that could be the best, and those that could not."""
    leader = comparison.leader
    if leader is None or leader.flags.get(flag) not in order or not verdict_of(comparison).tested:
        return "", (), ()
    best, left = leader.flags[flag], {g.flags.get(flag) for g in comparison.not_excluded}
    tested = {
        g.flags.get(flag) for g, lead in zip(comparison.groups, comparison.leads, strict=True) if lead and lead.n > 1
    }
    not_worse = tuple(value for value in order if value in left and value != best)
    return best, not_worse, tuple(value for value in order if value in tested - left and value != best)
