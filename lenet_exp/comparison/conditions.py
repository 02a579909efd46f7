"""Conditions that select configurations by their flags, as in `only=`."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_exp.comparison.effects import number
from lenet_exp.comparison.group import Group
from lenet_exp.errors import ConfigError, one_of

_CONDITION = re.compile(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.*\S)\s*")
_COMMA_OUTSIDE_LIST = re.compile(r",(?![^\[]*\])")
_INEQUALITIES = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Condition:
    """A condition on one flag, such as `optimizer.lr<0.05` or `activation=relu,selu`.

    Attributes:
        flag: full name of the flag.
        sign: one of `<`, `<=`, `>`, `>=`, `=`, and `!=`.
        operand: text after the sign: a number if the sign is an inequality; otherwise, one or
            several values, separated by commas.
    """

    flag: str
    sign: str
    operand: str

    def matches(self, group: Group) -> bool:
        """Return whether a group satisfies the condition."""
        value = group.value(self.flag)
        if self.sign in _INEQUALITIES:
            return self._satisfies_inequality(value)
        return self._is_alternative(value) == (self.sign == "=")

    def _satisfies_inequality(self, value: str) -> bool:
        """Return whether a value is a number on the right side of the limit."""
        size = number(value)
        limit = number(self.operand)
        if size is None or limit is None:
            return False
        return bool(_INEQUALITIES[self.sign](size, limit))

    def _is_alternative(self, value: str) -> bool:
        """Return whether a value is one of the values in the operand.

        Case and spaces do not count, and numbers are compared as numbers: `1e-2` is `0.01`.
        """
        alternatives = [_normalized(text) for text in _COMMA_OUTSIDE_LIST.split(self.operand)]
        normalized = _normalized(value)
        if normalized in alternatives:
            return True
        size = number(normalized)
        return size is not None and size in map(number, alternatives)


def parse_condition(text: str, flags: Sequence[str]) -> Condition:
    """Parse a condition on one of the flags.

    Raises:
        ConfigError: the text is not a condition, the flag is unknown, or the limit of an inequality
            is not a number.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"only={text}: must be conditions such as 'optimizer.lr<0.05 and activation=relu,selu'"
        )

    name, sign, operand = match.groups()
    if sign in _INEQUALITIES and number(operand) is None:
        raise ConfigError(f"only={text}: '{operand}' must be a number")
    return Condition(find_flag("only", name, flags), sign, operand)


def find_flag(argument: str, name: str, flags: Sequence[str]) -> str:
    """Return the flag with a name. The last part of its name suffices: `lr` for `optimizer.lr`.

    Args:
        argument: the command's argument that contains the name, for the error.

    Raises:
        ConfigError: no flag has this name.
    """
    for flag in flags:
        if flag == name or flag.endswith(f".{name}"):
            return flag
    return one_of(argument, name, flags)


def _normalized(text: str) -> str:
    return text.replace(" ", "").lower()
