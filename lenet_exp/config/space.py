"""The space of a search, specified in Hydra's grammar: lists, ranges, intervals, tags, and
casts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import DictConfig

from lenet_exp.config.check import check_ranges, check_value
from lenet_exp.config.compose import typed
from lenet_exp.config.grid import range_numbers
from lenet_exp.config.schema import EXECUTION_FLAGS, SEED_FLAGS
from lenet_exp.config.search import FLAGS
from lenet_exp.errors import ConfigError, did_you_mean
from lenet_exp.package_files import config_groups

WHOLE_SWEEP = ("sweep.", "tracking.", *FLAGS, "hydra.", "hydra/")


@dataclass(frozen=True)
class Choice:
    """A choice among several options, each in the form used on the command line."""

    options: tuple[str, ...]

    def text(self, value: object) -> str:
        """Return the value as it is written on the command line."""
        return str(value)

    @property
    def all(self) -> tuple[str, ...]:
        """All values."""
        return self.options


@dataclass(frozen=True)
class IntegerRange:
    """Integers from `low` to `high`, inclusive, in increments of `step`."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def text(self, value: object) -> str:
        """Return the value as it is written on the command line."""
        return str(value)

    @property
    def all(self) -> range:
        """All values."""
        return range(self.low, self.high + 1, self.step)

    def holds(self, value: float) -> bool:
        """Return whether a value is in the range."""
        return value in self.all


@dataclass(frozen=True)
class FloatRange:
    """Numbers from `low` to `high`, inclusive, in increments of `step`.

    The range is continuous if `step` is None.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def text(self, value: object) -> str:
        """Return the value in the form that a grid uses.

        It is computed in decimal arithmetic, in which 0.1 + 2 * 0.1 is 0.3.
        """
        number = float(str(value))
        if self.step is not None:
            number = self._at(round((number - self.low) / self.step))
        return repr(number)

    def _at(self, position: int) -> float:
        """Return the value at a position, counted from 0."""
        low = Decimal(repr(self.low))
        step = Decimal(repr(self.step or 0))
        return float(low + position * step)

    @property
    def count(self) -> int | None:
        """The number of values, or None for a continuous range."""
        if self.step is not None:
            return round((self.high - self.low) / self.step) + 1
        if self.low < self.high:
            return None
        return 1

    @property
    def all(self) -> list[float] | None:
        """The list of all values, or None for a continuous range."""
        if self.count is None:
            return None
        return [self._at(position) for position in range(self.count)]

    def holds(self, value: float) -> bool:
        """Return whether a value is in the range, and at one of its steps."""
        if not self.low <= value <= self.high:
            return False
        return self.text(value) == repr(float(value))


Values = Choice | IntegerRange | FloatRange


@dataclass(frozen=True)
class Flag:
    """A flag that is searched.

    Attributes:
        key: name of the flag as typed, possibly with the prefix `+`.
        values: values among which the search chooses.
        group: whether the flag is a config group, whose options are the flag's values.
        typed: full override, for messages.
    """

    key: str
    values: Values
    group: bool
    typed: str

    @property
    def name(self) -> str:
        """The name of the flag without the prefix `+`."""
        return self.key.lstrip("+")

    @property
    def ends(self) -> tuple[str | float, ...]:
        """The values that are checked before the search: all options, or the limits of a range."""
        if isinstance(self.values, Choice):
            return self.values.options
        return (self.values.low, self.values.high)


def flag_of(override: Override, groups: Collection[str]) -> Flag:
    """Return the searched flag that an override with several values specifies.

    Args:
        groups: names of the config groups.

    Raises:
        ConfigError: the flag cannot be searched, or its values are invalid.
    """
    key = override.get_key_element()
    name = key.lstrip("+")
    override_as_typed = str(override.input_line)
    reason = _why_not_searched(name)
    if reason:
        raise ConfigError(f"{override_as_typed}: must be a single value; {reason}")

    values = _values(override, override_as_typed)
    return Flag(key, values, name in groups, override_as_typed)


def _why_not_searched(name: str) -> str:
    """Return why a flag cannot be searched, or an empty string."""
    if name in SEED_FLAGS:
        return f"a search over {name} would select configurations by chance"
    if name in EXECUTION_FLAGS:
        return f"{name} changes how a run is executed, not its configuration"
    if name.startswith(WHOLE_SWEEP):
        return f"{name} applies to the whole search"
    return ""


def check_space(overrides: Sequence[Override], composed: DictConfig) -> None:
    """Check the types and ranges of a search's fixed flags and the limits of its searched flags.

    The check does not load torch.

    Args:
        overrides: all overrides of the search.
        composed: configuration composed without the searched flags.

    Raises:
        ConfigError: a fixed flag or a limit of a searched flag is invalid.
    """
    check_ranges(typed(composed))
    groups = config_groups()
    for override in overrides:
        if not override.is_sweep_override():
            continue
        flag = flag_of(override, groups)
        for end in flag.ends:
            check_value(flag.name, end)


def _values(override: Override, override_as_typed: str) -> Values:
    """Return the values of a searched flag.

    Args:
        override_as_typed: full override, for error messages.

    Raises:
        ConfigError: the values are invalid.
    """
    sweep = override.value()
    assert isinstance(sweep, Sweep)
    unknown_tags = sorted(sweep.tags - {"log"})
    if unknown_tags:
        tag = unknown_tags[0]
        hint = did_you_mean(tag, ["log"]) or "; expected log"
        raise ConfigError(f"{override_as_typed}: unknown tag '{tag}'{hint}")

    log = "log" in sweep.tags
    if not isinstance(sweep, IntervalSweep | RangeSweep):
        if log:
            raise ConfigError(
                f"{override_as_typed}: tag(log, ...) must contain interval() or range(), not a list"
            )
        return _choice(override, override_as_typed)

    values: IntegerRange | FloatRange
    if isinstance(sweep, IntervalSweep):
        values = _interval(sweep, log, override_as_typed)
    else:
        values = _range(override, sweep, log, override_as_typed)
    if log and values.low <= 0:
        raise ConfigError(
            f"{override_as_typed}: all values must be numbers greater than 0 with tag(log, ...)"
        )
    return values


def _choice(override: Override, override_as_typed: str) -> Choice:
    distinct_options = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if not distinct_options:
        raise ConfigError(f"{override_as_typed}: a searched flag must have at least one value")
    return Choice(distinct_options)


def _interval(sweep: IntervalSweep, log: bool, override_as_typed: str) -> IntegerRange | FloatRange:
    low = sweep.start
    high = sweep.end
    assert low is not None
    assert high is not None

    are_finite = math.isfinite(low) and math.isfinite(high)
    if not are_finite or low > high:
        raise ConfigError(
            f"{override_as_typed}: must be interval(low,high) with finite numbers and low <= high"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntegerRange(low, high, 1, log)
    return FloatRange(float(low), float(high), None, log)


def _range(
    override: Override, sweep: RangeSweep, log: bool, override_as_typed: str
) -> IntegerRange | FloatRange:
    """Return the values of a `range()` expression, which excludes its stop, as in a grid.

    For example, `range(5,0,-2)` has the values 5, 3, and 1: from 1 to 5 in increments of 2.
    """
    start, stop, step = range_numbers(sweep, override_as_typed)
    # In decimal arithmetic, range(0.1,0.4,0.1) has three values. With floats, it would have four.
    first = Decimal(repr(start))
    increment = Decimal(repr(step))
    count = math.ceil((Decimal(repr(stop)) - first) / increment)
    if count < 1:
        raise ConfigError(f"{override_as_typed}: a searched flag must have at least one value")

    are_integers = all(isinstance(number, int) for number in (start, stop, step))
    if are_integers:  # Hydra 1.4 casts each value, as in float(range(3))
        are_integers = isinstance(next(override.sweep_iterator()), int)
    are_consecutive = are_integers and abs(step) == 1
    if log and not are_consecutive:
        raise ConfigError(
            f"{override_as_typed}: "
            "must be consecutive integers with tag(log, ...); otherwise, use interval()"
        )

    last = first + (count - 1) * increment
    low = min(first, last)
    high = max(first, last)
    if are_integers:
        return IntegerRange(int(low), int(high), abs(int(step)), log)
    if low == high:
        return FloatRange(float(low), float(high), None, log)
    return FloatRange(float(low), float(high), abs(float(step)), log)


def size(flags: Sequence[Flag]) -> int | None:
    """Return the number of configurations in the space of these flags.

    Returns:
        None if a flag is continuous.
    """
    configurations = 1
    for flag in flags:
        if isinstance(flag.values, FloatRange):
            count = flag.values.count
        else:
            count = len(flag.values.all)
        if count is None:
            return None
        configurations *= count
    return configurations
