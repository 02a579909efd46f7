"""Conversion of Hydra's errors, which have four to nine lines, to one-line messages.

The messages name the nearest valid flag or option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from yaml import MarkedYAMLError

from lenet_exp.config.class_groups import CLASS_GROUPS, TARGET
from lenet_exp.config.flags import REMOVED, all_flags
from lenet_exp.config.schema import SCHEMAS
from lenet_exp.errors import did_you_mean, first_line, nearest
from lenet_exp.package_files import CONF_DIR, config_groups
from lenet_exp.stopping import raise_stop

NO_PACKAGE = "experiment: the first line of a recipe must be '# @package _global_'"
# Names that other tools use.
SYNONYMS = {
    "bs": "batch_size",
    "channels": "model.channels",
    "dropout": "regularization.dropout_rate",
    "epochs": "num_epoch",
    "gpu": "device",
    "learning_rate": "optimizer.lr",
    "wd": "regularization.weight_decay",
}
# How to correct a value that Hydra cannot parse. The first pattern that matches the value counts.
CORRECTIONS = {
    r"=.*": "write name=value with a single equals sign",
    r".*,\s*([,)\]}].*)?": "a comma must be followed by a value, without a space",
    r"\(.*\)": "write lists in brackets: '{name}={as_lists}'",
    r"uniform\((?P<ends>.*)\)": "write intervals as '{name}=interval({ends})'",
    r"log[_-]?uniform\((?P<ends>.*)\)": (
        "write logarithmic intervals as '{name}=tag(log,interval({ends}))'"
    ),
}


def explain_hydra(error: Exception) -> str:
    """Return a one-line message for an error from Hydra.

    The message contains the value, the problem, and the nearest valid name.

    Raises:
        KeyboardInterrupt, Terminated: a signal caused the error.
    """
    raise_stop(error)
    message = _explain_class(error)
    if message is None:
        message = _explain_text(error)
    return message


def _explain_class(error: Exception) -> str | None:
    """Return a message for an error whose class says what is wrong, or None."""
    if isinstance(error, OverrideParseException):
        typed = " ".join(str(error.override).split())
        typed = typed.removeprefix("++")  # which lenet-train adds to flags that accept any key
        return _unparsable(typed, error.__cause__)

    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: invalid YAML: {error.problem}"

    if isinstance(error, OSError) and error.strerror:  # some of Hydra's errors are OSErrors
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"an option file must be encoded in UTF-8 ({error})"
    if isinstance(error, KeyError):  # an environment variable that is not set
        return f"{error.args[0]}: not found"

    # These exact classes indicate an internal error in Hydra. OmegaConf's errors are subclasses.
    if type(error) in {AssertionError, TypeError, AttributeError}:
        return "the flags cannot be parsed; write them as name=value (see --help)"
    if isinstance(error, RecursionError):
        return (
            "an option file includes itself, or is nested too deeply; "
            "check the defaults of your option files"
        )
    return None


def _explain_text(error: Exception) -> str:
    """Return a message for an error whose text says what is wrong."""
    text = str(error)
    if "@experiment." in text:
        return NO_PACKAGE
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error)
    if "No match in the defaults list" in text:
        return _unknown_group(text)

    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or ""
    section = getattr(cause, "parent_node", None)
    is_setting_of_hydra = key.startswith("hydra.")
    if is_setting_of_hydra and "not in" in str(cause) and section is not None:
        names = [str(name) for name in section if not str(name).startswith("_")]
        return _unknown_setting(key, names)
    if "is not in struct" in text or "is not in struct" in str(cause):
        return explain_flag(key or _quoted(text))
    if "requires --multirun" in text or "Ambiguous value" in text:
        return _several_values(_quoted(text))

    message = first_line(error)
    if key and key not in message:
        message = f"{key}: {message}"
    if cause is not error:
        message = f"{message} ({first_line(cause)})"
    return message


def _several_values(typed: str) -> str:
    """Return a message for a flag with several values in a single run."""
    name, _, value = typed.partition("=")
    hint = ""
    if name in _list_flags():
        hint = f"; to set a list, write '{name}=[{value}]'"
    return f"{typed}: several values require -m; run: lenet-train -m {typed} ...{hint}"


def _unparsable(typed: str, cause: BaseException | None) -> str:
    """Return a message for a flag that Hydra cannot parse.

    Args:
        typed: the flag and its value.
        cause: error from a function in the value, such as `range(a)`; None if the syntax is wrong.
    """
    name, sign, value = typed.partition("=")
    if not sign:
        return f"{typed}: has no value; write flags as name=value (see --help)"
    if name != name.strip():
        return f"{typed}: must be written without spaces around the equals sign"
    return f"{typed}: cannot be parsed; {_correction(name, value, cause)}"


def _correction(name: str, value: str, cause: BaseException | None) -> str:
    """Return what is wrong with a value that Hydra cannot parse, or how to write it."""
    as_lists = value.replace("(", "[").replace(")", "]")
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", value)  # brackets in quotes have no meaning
    if re.match(r"\w*[(\[{]", unquoted):
        for opening, closing in ("()", "[]", "{}"):
            missing_closing = unquoted.count(opening) - unquoted.count(closing)
            if missing_closing > 0:
                return f"it has a {opening} without a {closing}"
            if missing_closing < 0:
                return f"it has a {closing} without a {opening}"

    for pattern, correction in CORRECTIONS.items():
        match = re.fullmatch(pattern, value)
        if match is not None:
            return correction.format(name=name, as_lists=as_lists, **match.groupdict())

    in_quotes = f"""'{name}="{value}"'"""
    if cause is None and re.search(r"['\"]", value):
        return "quotes must enclose the whole value; write a backslash before a quote inside them"
    if cause is None:
        return f"write special characters in quotes: {in_quotes}"
    if first_line(cause).startswith("Unknown function"):
        return f"use range(), interval(), or choice(), or write text in quotes: {in_quotes}"
    return first_line(cause)


def _unknown_setting(key: str, names: list[str]) -> str:
    """Return a message for an unknown setting of Hydra, such as `hydra.launcher.worker`."""
    hint = did_you_mean(key.rpartition(".")[2], names)
    if not hint and names:
        hint = f"; expected one of: {', '.join(sorted(names))}"
    return f"unknown flag '{key}'{hint}"


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    # Hydra does not list the options if several were requested, as in augmentation=[shift,flip].
    available = error.options or [file.stem for file in (CONF_DIR / group).glob("*.yaml")]
    if not group or not available:
        return first_line(error) + did_you_mean(str(error.missing_cfg_file), config_groups())

    options = [name for name in available if not name.startswith("_")]
    hint = did_you_mean(option, options)
    groups_of_classes = {flag.partition(".")[0] for flag in CLASS_GROUPS}
    if group in groups_of_classes:
        hint += " For" if hint else "; for"
        hint += f" your own, write conf/{group}/{option}.yaml (docs/how-to/options.md)"
    return f"{group}={option}: expected one of: {', '.join(sorted(options))}{hint}"


def _unknown_group(text: str) -> str:
    name = _quoted(text)
    groups = config_groups()
    if name in groups:
        return _not_of_command(name)
    hint = did_you_mean(name.split("@")[0], groups)
    if not hint:
        hint = f"; expected one of: {', '.join(sorted(groups))}"
    return f"unknown config group '{name}'{hint}"


def _not_of_command(flag: str) -> str:
    return f"{flag}: not a flag of this command; run with --help to list its flags"


def explain_flag(key: str) -> str:
    """Return a one-line message for a flag that is unknown or that the chosen option lacks."""
    all_names = known_flags() | set(config_groups())
    if key in all_names:
        return _explain_known_flag(key)
    if key.endswith(f".{TARGET}"):
        return f"{key}: write a class of your own into an option file (docs/how-to/options.md)"
    if key in REMOVED:
        return (
            f"unknown flag '{key}', which was removed after release 0.3; "
            "CHANGELOG.md says what replaces it"
        )

    section, _, name = key.rpartition(".")
    similar = _flag_like(name, known_flags())
    if not similar and section:
        flags_of_section = [flag for flag in all_names if flag.startswith(f"{section}.")]
        similar = nearest(key, flags_of_section)
    if not similar:
        similar = nearest(key, all_names)
    hint = f"did you mean {similar}?" if similar else "run with --help to list all flags"
    return f"unknown flag '{key}'; {hint}"


def _explain_known_flag(key: str) -> str:
    """Return a message for a flag that the command or the chosen option does not support."""
    if key == "experiment":  # Hydra has put the flags of a recipe below the name of its group
        return NO_PACKAGE
    group, _, flag = key.partition(".")
    if not flag:
        return _not_of_command(key)

    options_with_flag = []
    for file in (CONF_DIR / group).glob("*.yaml"):
        if flag in OmegaConf.load(file):
            options_with_flag.append(file.stem)
    message = f"{key}: not a flag of the selected {group}"
    if options_with_flag:
        message += f"; available only for {', '.join(sorted(options_with_flag))}"
    return message


def sweep_hint(flag: str, value: object, kind: str) -> str:
    """Return a hint on how to sweep a flag whose value is a list, or a range such as 0-3 or 0..3.

    Args:
        kind: type of the flag, such as `int`; there is no hint for lists and dictionaries.
    """
    typed_range = re.fullmatch(r"(\d+)(?:-|\.\.)(\d+)", str(value))
    if typed_range and "int" in kind:
        first = typed_range[1]
        stop = int(typed_range[2]) + 1  # range() excludes its stop
        return f"; to sweep a range, run: lenet-train -m '{flag}=range({first},{stop})'"

    accepts_lists = kind.startswith(("dict", "list"))
    if isinstance(value, list) and value and not accepts_lists:
        values = ",".join(map(str, value))
        return f"; to sweep several values, run: lenet-train -m {flag}={values}"
    return ""


@cache
def known_flags() -> frozenset[str]:
    """Return the names of all sections and flags, including the arguments in option files."""
    flags = set[str]()
    for schema in SCHEMAS.values():
        flags.update(flag for flag, _, _ in all_flags(schema))
    sections = {flag.partition(".")[0] for flag in flags}

    arguments = set[str]()
    for file in _option_files_of_classes():
        group = file.parent.name
        keys = [str(key) for key in OmegaConf.load(file)]
        arguments.update(f"{group}.{key}" for key in keys if key != TARGET)

    return frozenset(flags | sections | arguments).difference(config_groups())


@cache
def _list_flags() -> frozenset[str]:
    """Return the names of the flags of lenet-train whose values are lists."""
    flags = {flag for flag, kind, _ in all_flags() if str(kind).startswith("list")}
    flags.add("loss.class_weights")  # whose default is null
    for file in _option_files_of_classes():
        for key, value in OmegaConf.load(file).items():
            if OmegaConf.is_list(value):
                flags.add(f"{file.parent.name}.{key!s}")
    return frozenset(flags)


def _option_files_of_classes() -> Iterator[Path]:
    for group in CLASS_GROUPS:
        yield from CONF_DIR.glob(f"{group}/*.yaml")


def explain_argument(argument: str, following: str) -> str:
    """Return a one-line message for an argument with dashes, such as `--dataset=X`.

    Flags are written without dashes.

    Args:
        argument: argument with dashes.
        following: argument after it, or an empty string; in `--dataset X`, this is the value.
    """
    name, sign, value = argument.lstrip("-").partition("=")
    is_flag_or_option = "=" in following or following.startswith("-")
    if not sign and not is_flag_or_option:
        value = following
    name = name.replace("-", "_")

    flags = known_flags() | set(config_groups())
    flag: str | None = name
    if name not in flags:
        flag = _flag_like(name, flags) or nearest(name, flags)
    if flag is None:
        return f"unknown option '{argument}'; write flags as name=value (see --help)"

    options = [file.stem for file in (CONF_DIR / flag).glob("*.yaml")]
    value = nearest(value, options) or value or "x"
    return f"{argument}: flags do not start with dashes; did you mean {flag}={value}?"


def _flag_like(name: str, flags: Iterable[str]) -> str | None:
    """Return the first flag with `name` as a synonym or last part, such as `optimizer.lr` for `lr`.

    The original script used such short names, for example lr and dropout_rate.
    """
    if name in SYNONYMS:
        return SYNONYMS[name]
    flags_with_name = [flag for flag in flags if flag.rpartition(".")[2] == name]
    return min(flags_with_name, default=None)


def _quoted(text: str) -> str:
    """Return the first part of a text that is in single quotes, or an empty string."""
    parts = text.split("'")
    return parts[1] if len(parts) > 2 else ""
