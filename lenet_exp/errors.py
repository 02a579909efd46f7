"""Exceptions for errors that users see. A command prints each error as a single line, without a
traceback.
"""

import difflib
import re
import traceback
from collections.abc import Iterable, Sequence

LONGEST_LINE = 500  # maximum number of characters of a message from other code


class UserError(Exception):
    """Base class for errors that the user can fix.

    The message is a single line with the problem and the fix. The command exits with status 2.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the single line that IPython shows in a notebook."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class ConfigError(UserError):
    """Raised if a flag or a combination of flags is invalid."""


class DataError(UserError):
    """Raised if a dataset is missing, unreadable, or too small."""


class StoreError(UserError):
    """Raised if an MLflow store cannot be used in its current state."""


class DamagedError(UserError):
    """Raised if a file of a run or sweep is corrupt; the message contains the file's path and the
    fix.

    Attributes:
        problem: beginning of the message, without the fix.
        is_denied: whether the file may be intact, but this user must not read it.
    """

    problem: str
    is_denied: bool = False


class RunsFailed(Exception):
    """Raised if runs failed or diverged, after the command has reported these runs. The command
    exits with status 1.
    """


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest to `name`, ignoring case, `-`, and `_`; None if no name is
    close.
    """

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    name_by_plain = {plain(valid_name): valid_name for valid_name in valid}
    matches = difflib.get_close_matches(plain(name), name_by_plain, n=1, cutoff=0.6)
    return name_by_plain[matches[0]] if matches else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a hint such as `; did you mean fashion_mnist?`, or an empty string if no valid name is
    close.
    """
    hint = nearest(name, valid)
    return f"; did you mean {hint}?" if hint else ""


def one_of(flag: str, value: str | None, allowed: Sequence[str]) -> str:
    """Check that the value of a flag is allowed, and return the value.

    Raises:
        ConfigError: the value is not allowed.
    """
    if value is not None and value in allowed:
        return value
    expected = f"expected one of: {', '.join(allowed)}{did_you_mean(str(value), allowed)}"
    if value:
        raise ConfigError(f"{flag}={value}: {expected}")
    raise ConfigError(f"{flag}= is required; {expected}")


# Built-in exceptions that Hydra raises for some invalid overrides, in addition to its own classes.
PLAIN_ERRORS = (
    ValueError,
    AssertionError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    OSError,
    RuntimeError,
)

OWN_PACKAGES = {"lenet_exp", "hydra_plugins"}
HYDRA_PACKAGES = {"hydra", "omegaconf"}


def from_hydra(error: BaseException) -> bool:
    """Return whether a built-in exception (one of `PLAIN_ERRORS`) reports invalid overrides rather
    than a bug.

    An error that was raised by Hydra, or by a library function that Hydra called, reports invalid
    overrides. An error from code in lenet_exp indicates a bug.
    """
    last_package = ""  # the last one of lenet_exp or Hydra; others are libraries that these call
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in OWN_PACKAGES | HYDRA_PACKAGES:
            last_package = package
    return last_package in HYDRA_PACKAGES


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of the error's class if the message
    is empty.

    The message of a `SystemExit` is only a number, so the name also precedes messages of such
    exceptions. A line about SQLAlchemy's autoflush, which can precede the reason, is left out. A
    line that ends with a colon is followed by the next line. The middle of a long line is left out.
    """
    message = re.sub(r"^\(raised as a result of .*\n", "", message_of(error).strip())
    lines = message.splitlines()
    line = lines[0] if lines else type(error).__name__
    if line.endswith(":") and len(lines) > 1:  # such as torch's list of the tensors that do not fit
        line += f" {lines[1].strip()}"
    if lines and not isinstance(error, Exception):
        line = f"{type(error).__name__}: {line}"
    return shortened(printable(line))


def message_of(error: BaseException) -> str:
    """Return an error's message, even if the `__str__` method of its class raises an exception."""
    try:
        return str(error)
    except Exception as e:
        problem = f"{type(e).__name__} in its __str__"
        return f"{type(error).__name__}, whose message cannot be shown ({problem})"


def shortened(line: str) -> str:
    """Return a line without its middle if it has more than `LONGEST_LINE` characters."""
    if len(line) <= LONGEST_LINE:
        return line
    end = LONGEST_LINE // 3
    start = LONGEST_LINE - end - len(" ... ")
    return f"{line[:start]} ... {line[-end:]}"


def printable(text: str) -> str:
    """Return text from an external source as a single line that is safe to print in a terminal.

    Bidirectional and other control characters and lone surrogates become spaces.
    """
    return _CONTROLS.sub(" ", text)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
