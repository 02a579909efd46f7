"""The space of a search, specified in Hydra's grammar: lists, ranges, intervals, tags, and casts."""

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
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.schema import EXECUTION_FLAGS, SEED_FLAGS
from lenet_exp.config.search import FLAGS
from lenet_exp.errors import ConfigError, did_you_mean

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
    """Numbers from `low` to `high`, inclusive, in increments of `step`; continuous if `step` is
    None.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def text(self, value: object) -> str:
        """Return the value in the form that a grid uses, computed in decimal arithmetic: 0.1 + 2 *
        0.1 is 0.3.
        """
        number = float(str(value))
        return repr(
            number if self.step is None else self._at(round((number - self.low) / self.step))
        )

    def _at(self, n: int) -> float:
        return float(Decimal(repr(self.low)) + n * Decimal(repr(self.step or 0)))

    @property
    def count(self) -> int | None:
        """The number of values, or None for a continuous range."""
        if self.step is None:
            return None if self.low < self.high else 1
        return round((self.high - self.low) / self.step) + 1

    @property
    def all(self) -> list[float] | None:
        """The list of all values, or None for a continuous range."""
        return None if self.count is None else [self._at(n) for n in range(self.count)]

    def holds(self, value: float) -> bool:
        """Return whether a value is in the range."""
        return self.low <= value <= self.high and self.text(value) == repr(float(value))


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
        """The values that are checked before the search: all options, or the lowest and the highest
        value.
        """
        values = self.values
        return values.options if isinstance(values, Choice) else (values.low, values.high)


def flag_of(override: Override, groups: Collection[str]) -> Flag:
    """Return the searched flag that an override with several values specifies.

    Args:
        groups: names of the config groups.

    Raises:
        ConfigError: the flag cannot be searched, or its values are invalid.
    """
    key, typed = override.get_key_element(), str(override.input_line)
    name = key.lstrip("+")
    if name in SEED_FLAGS:
        why = f"a search over {name} would select configurations by chance"
    elif name in EXECUTION_FLAGS:
        why = f"{name} changes how a run is executed, not its configuration"
    elif name.startswith(WHOLE_SWEEP):
        why = f"{name} applies to the whole search"
    else:
        return Flag(key, _values(override, typed), name in groups, typed)
    raise ConfigError(f"{typed}: must be a single value; {why}")


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
    for flag in (flag_of(o, config_groups()) for o in overrides if o.is_sweep_override()):
        for end in flag.ends:
            check_value(flag.name, end)


def _values(override: Override, typed: str) -> Values:
    sweep = override.value()
    assert isinstance(sweep, Sweep)
    unknown = sorted(sweep.tags - {"log"})
    if unknown:
        raise ConfigError(
            f"{typed}: unknown tag '{unknown[0]}'{did_you_mean(unknown[0], ['log']) or '; expected log'}"
        )
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        found: Values = _interval(sweep, log, typed)
    elif isinstance(sweep, RangeSweep):
        found = _range(override, sweep, log, typed)
    else:
        if log:
            raise ConfigError(
                f"{typed}: tag(log, ...) must contain interval() or range(), not a list"
            )
        found = Choice(tuple(dict.fromkeys(override.sweep_string_iterator())))
        if not found.options:
            raise ConfigError(f"{typed}: a searched flag must have at least one value")
    if log and not isinstance(found, Choice) and found.low <= 0:
        raise ConfigError(f"{typed}: all values must be numbers greater than 0 with tag(log, ...)")
    return found


def _interval(sweep: IntervalSweep, log: bool, typed: str) -> Values:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(
            f"{typed}: must be interval(low,high) with finite numbers and low <= high"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntegerRange(low, high, 1, log)
    return FloatRange(float(low), float(high), None, log)


def _range(override: Override, sweep: RangeSweep, log: bool, typed: str) -> Values:
    """Return the values of a `range()` expression, which excludes its stop, as in a grid."""
    start, stop, step = range_numbers(sweep, typed)
    whole = all(isinstance(number, int) for number in (start, stop, step))
    a, b, c = (Decimal(repr(number)) for number in (start, stop, step))
    count = math.ceil((b - a) / c)
    if count < 1:
        raise ConfigError(f"{typed}: a searched flag must have at least one value")
    whole = whole and isinstance(
        next(override.sweep_iterator()), int
    )  # Hydra 1.4 casts each value: float(range(3))
    if log and not (whole and abs(step) == 1):
        raise ConfigError(
            f"{typed}: must be consecutive integers with tag(log, ...); otherwise, use interval()"
        )
    last = a + (count - 1) * c
    low, high = min(a, last), max(a, last)
    if whole:
        return IntegerRange(int(low), int(high), abs(int(step)), log)
    return FloatRange(float(low), float(high), None if low == high else abs(float(step)), log)


def size(flags: Sequence[Flag]) -> int | None:
    """Return the number of configurations in the space of these flags, or None if a flag is
    continuous.
    """
    values = [flag.values for flag in flags]
    counts = [v.count if isinstance(v, FloatRange) else len(v.all) for v in values]
    return math.prod(c for c in counts if c is not None) if None not in counts else None
