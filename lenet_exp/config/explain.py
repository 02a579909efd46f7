"""Conversion of Hydra's errors, which have four to nine lines, to one-line messages with the
nearest valid name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from yaml import MarkedYAMLError

from lenet_exp.config.class_groups import CLASS_GROUPS, TARGET
from lenet_exp.config.package_files import CONF_DIR, config_groups
from lenet_exp.config.schema import REMOVED, SCHEMAS, all_flags
from lenet_exp.errors import did_you_mean, first_line, nearest
from lenet_exp.stopping import raise_stop

NO_PACKAGE = "experiment: the first line of a recipe must be '# @package _global_'"
SYNONYMS = {  # names that other tools use
    "bs": "batch_size",
    "channels": "model.channels",
    "dropout": "regularization.dropout_rate",
    "epochs": "num_epoch",
    "gpu": "device",
    "learning_rate": "optimizer.lr",
    "wd": "regularization.weight_decay",
}
# How to correct a value that Hydra cannot parse, by a pattern for the value; the first match
# counts.
CORRECTIONS = {
    r"=.*": "write name=value with a single equals sign",
    r".*,\s*([,)\]}].*)?": "a comma must be followed by a value, without a space",
    r"\(.*\)": "write lists in brackets: '{name}={as_lists}'",
    r"uniform\((?P<ends>.*)\)": "write intervals as '{name}=interval({ends})'",
    r"log[_-]?uniform\((?P<ends>.*)\)": "write logarithmic intervals as '{name}=tag(log,interval({ends}))'",
}


def explain_hydra(error: Exception) -> str:
    """Return a one-line message for an error from Hydra, with the value, the problem, and the
    nearest valid name.

    Raises:
        KeyboardInterrupt, Terminated: a signal caused the error.
    """
    raise_stop(error)
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
    # These exact classes indicate an internal error in Hydra. OmegaConf's errors are subclasses of
    # them.
    if type(error) in {AssertionError, TypeError, AttributeError}:
        return "the flags cannot be parsed; write them as name=value (see --help)"
    if isinstance(error, RecursionError):
        return "an option file includes itself, or is nested too deeply; check the defaults of your option files"
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
    if key.startswith("hydra.") and section is not None and "not in" in str(cause):
        return _unknown_setting(
            key, [str(name) for name in section if not str(name).startswith("_")]
        )
    if "is not in struct" in text or "is not in struct" in str(cause):
        return explain_flag(key or _quoted(text))
    if "requires --multirun" in text or "Ambiguous value" in text:
        typed = _quoted(text)
        name, _, value = typed.partition("=")
        hint = f"; to set a list, write '{name}=[{value}]'" if name in _list_flags() else ""
        return f"{typed}: several values require -m; run: lenet-train -m {typed} ...{hint}"
    line = (
        first_line(error) if not key or key in first_line(error) else f"{key}: {first_line(error)}"
    )
    return line if cause is error else f"{line} ({first_line(cause)})"


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
    for opening, closing in ("()", "[]", "{}"):
        is_nested = re.match(r"\w*[(\[{]", unquoted)
        if is_nested and unquoted.count(opening) > unquoted.count(closing):
            return f"it has a {opening} without a {closing}"
        if is_nested and unquoted.count(opening) < unquoted.count(closing):
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
    found = error.options or [file.stem for file in (CONF_DIR / group).glob("*.yaml")]
    if not group or not found:
        return first_line(error) + did_you_mean(str(error.missing_cfg_file), config_groups())
    options = [o for o in found if not o.startswith("_")]
    hint = did_you_mean(option, options)
    if group in {flag.partition(".")[0] for flag in CLASS_GROUPS}:
        hint += f"{' For' if hint else '; for'} your own, write conf/{group}/{option}.yaml (docs/how-to/options.md)"
    return f"{group}={option}: expected one of: {', '.join(sorted(options))}{hint}"


def _unknown_group(text: str) -> str:
    name = _quoted(text)
    groups = config_groups()
    if name in groups:
        return f"{name}: not a flag of this command; run with --help to list its flags"
    there = f"; expected one of: {', '.join(sorted(groups))}"
    return f"unknown config group '{name}'{did_you_mean(name.split('@')[0], groups) or there}"


def explain_flag(key: str) -> str:
    """Return a one-line message for a flag that is unknown or that the chosen option does not
    support.
    """
    known = known_flags() | set(config_groups())
    if key in known:
        group, _, flag = key.partition(".")
        if key == "experiment":  # Hydra has put the flags of a recipe below the name of its group
            return NO_PACKAGE
        if not flag:
            return f"{key}: not a flag of this command; run with --help to list its flags"
        having = sorted(
            f.stem for f in (CONF_DIR / group).glob("*.yaml") if flag in OmegaConf.load(f)
        )
        return f"{key}: not a flag of the selected {group}" + (
            f"; available only for {', '.join(having)}" if having else ""
        )
    if key.endswith(f".{TARGET}"):
        return f"{key}: write a class of your own into an option file (docs/how-to/options.md)"
    if key in REMOVED:
        return f"unknown flag '{key}', which was removed after release 0.3; CHANGELOG.md says what replaces it"
    section, _, name = key.rpartition(".")
    near = nearest(key, [k for k in known if section and k.startswith(f"{section}.")])
    hint = _flag_like(name, known_flags()) or near or nearest(key, known)
    return f"unknown flag '{key}'; " + (
        f"did you mean {hint}?" if hint else "run with --help to list all flags"
    )


def sweep_hint(flag: str, value: object, kind: str) -> str:
    """Return a hint on how to sweep a flag whose value is a list or a range of integers, such as
    0-3 or 0..3.

    Args:
        kind: type of the flag, such as `int`; there is no hint for lists and dictionaries.
    """
    between = re.fullmatch(r"(\d+)(?:-|\.\.)(\d+)", str(value))
    if between and "int" in kind:
        return f"; to sweep a range, run: lenet-train -m '{flag}=range({between[1]},{int(between[2]) + 1})'"
    if isinstance(value, list) and value and not kind.startswith(("dict", "list")):
        return f"; to sweep several values, run: lenet-train -m {flag}={','.join(map(str, value))}"
    return ""


@cache
def known_flags() -> frozenset[str]:
    """Return the names of all sections of flags and of all flags, including the arguments in option
    files.
    """
    found = {flag for schema in SCHEMAS.values() for flag, _, _ in all_flags(schema)}
    found |= {flag.partition(".")[0] for flag in found}
    for file in (file for group in CLASS_GROUPS for file in CONF_DIR.glob(f"{group}/*.yaml")):
        found |= {
            f"{file.parent.name}.{key}"
            for key in map(str, OmegaConf.load(file))
            if key != "_target_"
        }
    return frozenset(found.difference(config_groups()))


@cache
def _list_flags() -> frozenset[str]:
    """Return the names of the flags of lenet-train whose values are lists."""
    lists = {flag for flag, kind, _ in all_flags() if str(kind).startswith("list")}
    for file in (file for group in CLASS_GROUPS for file in CONF_DIR.glob(f"{group}/*.yaml")):
        options = OmegaConf.load(file).items()
        lists |= {
            f"{file.parent.name}.{key!s}" for key, value in options if OmegaConf.is_list(value)
        }
    return frozenset(lists | {"loss.class_weights"})  # whose default is null


def explain_argument(argument: str, following: str) -> str:
    """Return a one-line message for an argument with dashes, such as `--dataset=X`; flags are
    written without dashes.

    Args:
        argument: argument with dashes.
        following: argument after it, or an empty string; in `--dataset X`, this is the value.
    """
    name, sign, value = argument.lstrip("-").partition("=")
    if not sign and "=" not in following and not following.startswith("-"):
        value = following
    name, flags = name.replace("-", "_"), known_flags() | set(config_groups())
    target = name if name in flags else _flag_like(name, flags) or nearest(name, flags)
    if target is None:
        return f"unknown option '{argument}'; write flags as name=value (see --help)"
    options = [file.stem for file in (CONF_DIR / target).glob("*.yaml")]
    hint = f"{target}={nearest(value, options) or value or 'x'}"
    return f"{argument}: flags do not start with dashes; did you mean {hint}?"


def _flag_like(name: str, flags: Iterable[str]) -> str | None:
    """Return the first flag with `name` as a synonym or last part (`lr`: `optimizer.lr`); None if
    there is none.

    The original script used such short names (lr, dropout_rate).
    """
    return SYNONYMS.get(name) or min(
        (flag for flag in flags if flag.rpartition(".")[2] == name), default=None
    )


def _quoted(text: str) -> str:
    parts = text.split("'")
    return parts[1] if len(parts) > 2 else ""
