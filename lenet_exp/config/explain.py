"""Turns Hydra's errors, four to nine lines each, into one line with the nearest valid name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from yaml import MarkedYAMLError

from lenet_exp.config.conf_dir import CONF_DIR, config_groups
from lenet_exp.errors import nearest

EXTRAS = {"hydra/launcher=joblib": "joblib"}  # options that another package brings, which an extra of ours installs


def explain_hydra(error: Exception, conf_dirs: tuple[Path, ...] = (CONF_DIR,)) -> str:
    """What was wrong, the value, what is allowed and the nearest valid name, in one line."""
    if isinstance(error, OverrideParseException):
        typed = " ".join(str(error.override).split())
        name, sign, value = typed.partition("=")
        if not sign:
            return f"{typed}: can't be read; flags are written name=value, --help lists them"
        how = f"""'{name}="{value}"'""" if value and '"' not in value and "'" not in value else "quoted"
        return f"{typed}: can't be read; a value with special characters is written {how}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: no YAML: {error.problem}"
    if isinstance(error, OSError) and error.strerror:  # some of Hydra's own are OSErrors
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError):  # a name that the environment does not have
        return f"{error.args[0]}: there is no such name"
    if type(error) in {AssertionError, TypeError, AttributeError}:  # Hydra tripped; OmegaConf's own are subclasses
        return "the overrides can't be read; they are written name=value"
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error, conf_dirs)
    if "No match in the defaults list" in text:
        return _unknown_group(text)
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or ""
    section = getattr(cause, "parent_node", None)
    if key.startswith("hydra.") and section is not None and "not in" in str(cause):
        known = [str(name) for name in section if not str(name).startswith("_")]
        hint = nearest(key.rpartition(".")[2], known)
        return f"{key}: no such flag; " + (f"did you mean {hint}?" if hint else f"there are {', '.join(sorted(known))}")
    if "is not in struct" in text or "is not in struct" in str(cause):
        return explain_flag(key or _quoted(text), conf_dirs)
    if "requires --multirun" in text or "Ambiguous value" in text:
        return f"{_quoted(text) or text.splitlines()[0]}: several values need -m (lenet-train -m ...)"
    line = _first_line(text if not key or key in _first_line(text) else f"{key}: {text}")
    return line if cause is error else f"{line} ({_first_line(str(cause))})"


def _missing_option(error: MissingConfigException, conf_dirs: tuple[Path, ...]) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    # Hydra doesn't tell the options where several were asked for: augmentation=[shift,flip].
    found = error.options or [file.stem for d in conf_dirs for file in (d / group).glob("*.yaml")]
    if not group or not found:
        hint = nearest(str(error.missing_cfg_file), config_groups())
        return f"{_first_line(str(error))}" + (f"; did you mean {hint}?" if hint else "")
    if group == "hydra/sweeper" and option == "optuna":
        return "hydra/sweeper=optuna: not here (it needs an old Optuna); hydra/sweeper=search searches the same spaces"
    if f"{group}={option}" in EXTRAS:
        return f"{group}={option}: not installed; pip install 'lenet_exp[{EXTRAS[f'{group}={option}']}]'"
    options = [o for o in found if not o.startswith("_")]
    hint = nearest(option, options)
    return (
        f"{group}={option}: no such option; "
        + (f"did you mean {hint}? " if hint else "")
        + f"There are {', '.join(sorted(options))}"
    )


def _unknown_group(text: str) -> str:
    name = _quoted(text)
    groups = config_groups()
    hint = nearest(name.split("@")[0], groups)
    return f"{name}: no such group; " + (f"did you mean {hint}?" if hint else f"there are {', '.join(sorted(groups))}")


def explain_flag(key: str, conf_dirs: tuple[Path, ...] = (CONF_DIR,)) -> str:
    """One line for a flag that isn't there."""
    known = known_flags(conf_dirs) | set(config_groups())
    leaf = key.rpartition(".")[2]
    # The ancestor's short names (lr, dropout_rate) are leaves here: the exact leaf is the best guess.
    same_leaf = sorted(f for f in known if f.rpartition(".")[2] == leaf)
    if key in known:
        group, _, flag = key.partition(".")
        having = sorted(f.stem for d in conf_dirs for f in (d / group).glob("*.yaml") if flag in OmegaConf.load(f))
        return f"{key}: the chosen {group} has no such flag" + (f"; {', '.join(having)} has" if having else "")
    hint = same_leaf[0] if same_leaf else nearest(key, known)
    return f"{key}: no such flag" + (f"; did you mean {hint}?" if hint else "; --help lists them")


@cache
def known_flags(conf_dirs: tuple[Path, ...]) -> frozenset[str]:
    """All dotted flags that some option of some group has."""
    found: set[str] = set()

    def walk(node: DictConfig, prefix: str) -> None:
        for key in map(str, node):
            if key in {"defaults", "hydra", "_target_"}:
                continue
            found.add(f"{prefix}{key}")
            child = OmegaConf.to_container(node, resolve=False).get(key)  # type: ignore[union-attr]
            if isinstance(child, dict):
                walk(OmegaConf.create(child), f"{prefix}{key}.")

    for conf_dir in conf_dirs:
        for file in conf_dir.rglob("*.yaml"):
            loaded = OmegaConf.load(file)
            group = file.parent.relative_to(conf_dir).as_posix()
            if isinstance(loaded, DictConfig) and not group.startswith(("hydra", "experiment")):
                walk(loaded, "" if group == "." else f"{group.replace('/', '.')}.")
    return frozenset(found)


def explain_arguments(unknown: list[str]) -> str:
    """One line for `--dataset=X`: flags here have no dashes."""
    first = unknown[0]
    name, _, value = first.lstrip("-").partition("=")
    name = name.replace("-", "_")
    flags = known_flags((CONF_DIR,)) | set(config_groups())
    same_leaf = sorted(f for f in flags if f.rpartition(".")[2] == name)
    target = name if name in flags else (same_leaf[0] if same_leaf else nearest(name, flags))
    if target is None:
        return f"{first}: no such option; flags are written name=value, --help lists them"
    group = CONF_DIR / target
    shown = value.lower() if value else "x"
    if value and group.is_dir():
        shown = nearest(value, [p.stem for p in group.glob("*.yaml")]) or shown
    elif value:
        shown = value
    return f"{first}: flags have no dashes here; write {target}={shown}"


def _quoted(text: str) -> str:
    parts = text.split("'")
    return parts[1] if len(parts) > 2 else ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "unknown error")
