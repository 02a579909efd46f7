"""Errors of users. Each is printed as one line, without a traceback."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """Something outside the program has to change; the message is one line that says what. Exit status 2."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a notebook: one line."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class ConfigError(UserError):
    """A flag, or a combination of flags, is wrong."""


class DataError(UserError):
    """A data set is missing, unreadable or too small."""


class StoreError(UserError):
    """The MLflow store can't be used as it is."""


class DamagedError(UserError):
    """A file of a run or sweep is not what was written there; the message names it and says what to do."""

    path: Path


class RunsFailed(Exception):
    """Runs failed or diverged, which has been said: the command has done its work and ends with status 1."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to `name` (case, `-` and `_` ignored), or None where nothing is close."""

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    by_plain = {plain(v): v for v in valid}
    found = difflib.get_close_matches(plain(name), by_plain, n=1, cutoff=0.6)
    return by_plain[found[0]] if found else None


def one_of(flag: str, value: str | None, allowed: Sequence[str]) -> str:
    """The value of a flag that has a few.

    Raises:
        ConfigError: it is none of them.
    """
    if value is None or value not in allowed:
        hint = nearest(str(value), allowed)
        wrong = f"{flag}={value}: expected one of: {', '.join(allowed)}"
        raise ConfigError(wrong + (f"; did you mean {hint}?" if hint else ""))
    return value


# What Hydra raises besides its own classes where it trips over odd overrides.
PLAIN_ERRORS = (
    ValueError, AssertionError, TypeError, AttributeError, LookupError, ArithmeticError, OSError, RuntimeError,
)  # fmt: skip


def from_hydra(error: BaseException) -> bool:
    """Whether one of `PLAIN_ERRORS` is Hydra's own word on the overrides and not a bug: it, or what it called last, and
    nothing of ours, raised it."""
    last, trace = "", error.__traceback__
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        last = package if package in {"hydra", "omegaconf", "lenet_exp", "hydra_plugins"} else last
        trace = trace.tb_next
    return last in {"hydra", "omegaconf"}


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if the message is empty."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def printable(text: str) -> str:
    """A text that somebody else may have written, on one line and without what steers a terminal: a space replaces
    control characters, marks of writing direction and lone surrogates."""
    return _CONTROLS.sub(" ", text)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
