"""Expresses a sweep's leader and a baseline as the flags of a single command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lenet_exp.config.check import check_flags
from lenet_exp.config.class_groups import CLASS_GROUPS, OWN_KEYS, options_of
from lenet_exp.config.compose import allow_new_keys, composed, composing, typed
from lenet_exp.config.flags import all_flags, value_of
from lenet_exp.config.params import text
from lenet_exp.config.schema import EXECUTION_FLAGS, SEED_FLAGS, Config
from lenet_exp.config.search import AT_THE_TOP, without_search
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job

BASELINE = "baseline"  # the sweep's command without the swept flags

# Flags that are not part of a configuration.
_OTHER_PREFIXES = ("tracking.", "sweep.", "search.", "dataset.", *AT_THE_TOP)
_OTHER_FLAGS = SEED_FLAGS | EXECUTION_FLAGS | {"data_root", "model_path", "num_iter_echo"}

# Flags of which each option is a class, such as `optimizer`.
_CLASS_FLAGS = [flag for flag in CLASS_GROUPS if "." not in flag]


@dataclass(frozen=True)
class LeaderAndBaseline:
    """The flags of a sweep's leader and of a baseline.

    Attributes:
        fixed: overrides that the leader and the baseline share.
        differing: the leader's value and the baseline's value for each flag that differs.
        baseline: configuration of the baseline.
    """

    fixed: list[str]
    differing: dict[str, tuple[str, str]]
    baseline: Config


def leader_and_baseline(leader: Job, against: str, config_dir: Path | None) -> LeaderAndBaseline:
    """Return the common and the differing flags of a leader and a baseline.

    For example, let a sweep of `optimizer.lr` with the overrides `optimizer=adam num_epoch=5` have
    the leader `optimizer.lr=0.01`.

    - Against `baseline`, the fixed overrides are `optimizer=adam num_epoch=5`, and `optimizer.lr`
      differs: 0.01 and 0.001, the default of Adam.
    - Against `optimizer=sgd`, the fixed overrides are `num_epoch=5 optimizer.lr=0.01`, because 0.01
      is the default of SGD, and `optimizer` differs. Adam's `betas` have their default values, so
      they follow from the optimizer and are omitted.

    Args:
        leader: a job of the leader.
        against: the baseline, as the user typed it: overrides to add to the sweep's command without
            its swept flags, or `baseline` for no additional overrides.
        config_dir: the folder of the user's own options; None if there is no such folder.

    Raises:
        ConfigError: the overrides are invalid, sweep a flag, or yield the leader's own
            configuration, or a keyword that exists in only one of the two configurations has a
            value other than its default.
    """
    added = [] if against == BASELINE else _parse_overrides(against)
    of_leader = [  # Overrides of release 0.3 can contain flags of the sweep.
        override for override in leader.overrides if not _flag(override).startswith("sweep.")
    ]
    fixed = _without_swept(of_leader, leader)

    with composing():
        fixed += _dataset_of_swept_recipe(of_leader, fixed, config_dir)
        of_baseline = [*fixed, *added]

        fixed_flags = _flags(fixed, config_dir)
        leader_flags = _flags(of_leader, config_dir)
        baseline_flags = _flags(of_baseline, config_dir)
        _check_own_keywords(leader_flags, baseline_flags, fixed, config_dir)
        _check_own_keywords(baseline_flags, leader_flags, fixed, config_dir)
        baseline = typed(without_search(_composed(of_baseline, config_dir)))
    check_flags(baseline)

    differing: dict[str, tuple[str, str]] = {}
    added_to_both: dict[str, str] = {}
    for flag, value in leader_flags.items():
        if flag not in baseline_flags:
            continue
        baseline_value = baseline_flags[flag]
        if value != baseline_value:
            differing[flag] = value, baseline_value
        elif fixed_flags.get(flag) != value:
            added_to_both[flag] = f"{flag}={value}"
    if not differing:
        raise ConfigError(f"against={against}: must differ from the leader's configuration")

    replaced = added_to_both.keys() | differing.keys()
    unchanged = [override for override in fixed if _flag(override) not in replaced]
    return LeaderAndBaseline([*unchanged, *added_to_both.values()], differing, baseline)


def _without_swept(overrides: Sequence[str], leader: Job) -> list[str]:
    """Return the overrides without swept flags, except those of the dataset."""
    swept = {flag.lstrip("+") for flag in leader.swept}
    fixed = []
    for override in overrides:
        flag = _flag(override)
        is_of_dataset = _top_level(flag) == "dataset"
        if is_of_dataset or flag not in swept:
            fixed.append(override)
    return fixed


def _dataset_of_swept_recipe(
    of_leader: Sequence[str], fixed: Sequence[str], config_dir: Path | None
) -> list[str]:
    """Return the override that keeps the leader's dataset, if it came from a swept recipe.

    Args:
        of_leader: overrides of the leader.
        fixed: these overrides without the swept flags.
    """
    dataset = _composed(of_leader, config_dir).hydra.runtime.choices["dataset"]
    fixed_dataset = _composed(fixed, config_dir).hydra.runtime.choices["dataset"]
    return [f"dataset={dataset}"] if dataset != fixed_dataset else []


def _parse_overrides(against: str) -> list[str]:
    """Parse the overrides of a baseline.

    Raises:
        ConfigError: the text is not a list of overrides, or a flag is swept or not part of a
            configuration.
    """
    expected = (
        f"must be {BASELINE} or quoted flags, such as against='optimizer.lr=0.1 batch_size=64'"
    )
    try:
        overrides = shlex.split(against)
        parsed = OverridesParser.create().parse_overrides(overrides)
    except (ValueError, HydraException) as e:
        raise ConfigError(f"against={against}: cannot be parsed; {expected}") from e

    if not overrides:
        raise ConfigError(f"against={against}: is empty; {expected}")
    if any(override.is_sweep_override() for override in parsed):
        raise ConfigError(f"against={against}: contains several values for one flag; {expected}")
    for override in overrides:
        if not _is_in_configuration(_flag(override)):
            raise ConfigError(
                f"against={against}: {override} does not change the configuration; {expected}"
            )
    return overrides


def _is_in_configuration(flag: str) -> bool:
    return flag not in _OTHER_FLAGS and not flag.startswith(_OTHER_PREFIXES)


def _flag(override: str) -> str:
    """Return the flag of an override, such as `optimizer.lr` for `+optimizer.lr=0.1`."""
    return override.partition("=")[0].lstrip("+~")


def _top_level(flag: str) -> str:
    """Return the first part of a flag, such as `optimizer` for `optimizer.lr`."""
    return flag.partition(".")[0]


def _composed(overrides: Sequence[str], config_dir: Path | None) -> Any:
    searched = []
    if config_dir is not None:
        location = _override_value(f"file://{config_dir}")
        searched = [f"hydra.searchpath=[{location}]"]
    return composed([*allow_new_keys(list(overrides)), *searched], with_hydra=True)


def _flags(overrides: Sequence[str], config_dir: Path | None) -> dict[str, str]:
    """Return all flags that define a configuration, with their values as typed in a command.

    These are the classes, such as `optimizer=sgd`, their keywords, such as `optimizer.lr=0.1`, and
    the other flags, such as `num_epoch=5`.
    """
    node = _composed(overrides, config_dir)
    choices = node.hydra.runtime.choices
    config = typed(node)

    flags = {class_flag: str(choices[class_flag]) for class_flag in _CLASS_FLAGS}
    for class_flag, option in options_of(config, _CLASS_FLAGS).items():
        for key, value in option.items():
            if key not in OWN_KEYS:
                flags[f"{class_flag}.{key}"] = _override_value(value)

    for flag, _, _ in all_flags():
        if flag not in _CLASS_FLAGS and _is_in_configuration(flag):
            flags[flag] = _override_value(value_of(config, flag))
    return flags


def _check_own_keywords(
    flags: dict[str, str], other: dict[str, str], fixed: Sequence[str], config_dir: Path | None
) -> None:
    """Check that keywords that only one of two configurations accepts have default values.

    For example, only SGD accepts `optimizer.dampening`. A single command cannot set it for SGD and
    omit it for Adam, so it must follow from `optimizer=sgd`.

    Args:
        flags: flags of the configuration with these keywords.
        other: flags of the other configuration.
        fixed: overrides that both configurations share.

    Raises:
        ConfigError: such a keyword has a value other than its default.
    """
    own_keywords = [flag for flag in flags if flag not in other]
    if not own_keywords:
        return

    other_overrides = [
        override for override in fixed if _top_level(_flag(override)) not in _CLASS_FLAGS
    ]
    own_classes = [
        f"{class_flag}={flags[class_flag]}"
        for class_flag in _CLASS_FLAGS
        if flags[class_flag] != other[class_flag]
    ]
    defaults = _flags([*other_overrides, *own_classes], config_dir)
    for flag in own_keywords:
        default = defaults.get(flag)
        if flags[flag] != default:
            raise ConfigError(
                f"against: {flag}={flags[flag]} must be {default}, the default, because only one "
                "of the two configurations has this flag"
            )


def _override_value(value: Any) -> str:
    """Format a value as in an override, such as `[0.9,0.999]` or `'my file'`."""
    if isinstance(value, dict):
        items = [f"{key}:{_override_value(item)}" for key, item in value.items()]
        return f"{{{','.join(items)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_override_value(item) for item in value)}]"

    plain = text(value)  # keeps all digits of a float
    if re.fullmatch(r"[\w./+-]*", plain):
        return plain
    escaped = plain.replace("'", r"\'")
    return f"'{escaped}'"
