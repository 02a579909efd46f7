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
from lenet_exp.config.params import text
from lenet_exp.config.schema import Config, all_flags, value_of
from lenet_exp.config.search import AT_THE_TOP, without_search
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job

BASELINE = "baseline"  # the sweep's command without the swept flags
# Flags that are not part of a configuration: prefixes of names, and names.
NO_CONFIGURATION = ("tracking.", "sweep.", "search.", "dataset.", *AT_THE_TOP)
GROUPS = [flag for flag in CLASS_GROUPS if "." not in flag]
NEVER = {
    "seed",
    "split_seed",
    "data_root",
    "model_path",
    "num_iter_echo",
    "device",
    "num_threads",
    "engine",
}


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
    own = [] if against == BASELINE else _overrides(against)
    swept = {flag.lstrip("+") for flag in leader.swept}
    leading = [
        o for o in leader.overrides if not _key(o).startswith("sweep.")
    ]  # can contain flags of release 0.3
    fixed = [o for o in leading if _key(o) not in swept or _key(o).partition(".")[0] == "dataset"]
    with composing():
        dataset, its = (
            _composed(o, config_dir).hydra.runtime.choices["dataset"] for o in (leading, fixed)
        )
        fixed += (
            [f"dataset={dataset}"] if dataset != its else []
        )  # the dataset came from a swept recipe
        common = _flags(fixed, config_dir)
        leads = _flags(leading, config_dir)
        baseline = _flags([*fixed, *own], config_dir)
        leads, baseline = (
            _side(leads, fixed, config_dir, baseline),
            _side(baseline, fixed, config_dir, leads),
        )
        config = typed(without_search(_composed([*fixed, *own], config_dir)))
    check_flags(config)
    both: list[str] = []
    differing: dict[str, tuple[str, str]] = {}
    for flag in dict.fromkeys([*leads, *baseline]):
        one, other = leads[flag], baseline[flag]
        if one != other:
            differing[flag] = one, other
        elif common.get(flag) != one:
            both.append(f"{flag}={one}")
    if not differing:
        raise ConfigError(f"against={against}: must differ from the leader's configuration")
    replaced = {_key(o) for o in both} | differing.keys()
    return LeaderAndBaseline(
        [*(o for o in fixed if _key(o) not in replaced), *both], differing, config
    )


def _overrides(against: str) -> list[str]:
    """Parse the overrides of a baseline.

    Raises:
        ConfigError: the text is not a list of overrides, or a flag is swept.
    """
    allowed = (
        f"must be {BASELINE} or quoted flags, such as against='optimizer.lr=0.1 batch_size=64'"
    )
    try:
        words = shlex.split(against)
        parsed = OverridesParser.create().parse_overrides(words)
    except (ValueError, HydraException) as e:
        raise ConfigError(f"against={against}: cannot be parsed; {allowed}") from e
    if not words or any(o.is_sweep_override() for o in parsed):
        raise ConfigError(
            f"against={against}: {'contains several values for one flag' if words else 'is empty'}; {allowed}"
        )
    if wrong := next(
        (w for w in words if _key(w) in NEVER or _key(w).startswith(NO_CONFIGURATION)), None
    ):
        raise ConfigError(
            f"against={against}: {wrong} does not change the configuration; {allowed}"
        )
    return words


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _composed(overrides: Sequence[str], config_dir: Path | None) -> Any:
    where = [] if config_dir is None else [f"hydra.searchpath=[{_typed(f'file://{config_dir}')}]"]
    return composed([*allow_new_keys(list(overrides)), *where], with_hydra=True)


def _flags(overrides: Sequence[str], config_dir: Path | None) -> dict[str, str]:
    """Return all flags that define a configuration, with their values as typed in a command."""
    node = _composed(overrides, config_dir)
    choices, config = node.hydra.runtime.choices, typed(node)
    found = {group: str(choices[group]) for group in GROUPS}
    for group, option in options_of(config, GROUPS).items():
        found |= {f"{group}.{k}": _typed(v) for k, v in option.items() if k not in OWN_KEYS}
    leaves = [flag for flag, _, _ in all_flags() if flag not in {*NEVER, *GROUPS}]
    return found | {
        f: _typed(value_of(config, f)) for f in leaves if not f.startswith(NO_CONFIGURATION)
    }


def _side(
    flags: dict[str, str], fixed: Sequence[str], config_dir: Path | None, other: dict[str, str]
) -> dict[str, str]:
    """Return the flags of the leader or the baseline, without the keywords that only its own class
    accepts.

    These keywords follow from the class if they have the default values of the class's option.

    Raises:
        ConfigError: such a keyword has a value other than its default.
    """
    alone = [flag for flag in flags if flag not in other]
    if not alone:
        return flags
    chosen = [f"{group}={flags[group]}" for group in GROUPS if flags[group] != other[group]]
    default = _flags(
        [o for o in fixed if _key(o).partition(".")[0] not in GROUPS] + chosen, config_dir
    )
    for flag in alone:
        if default.get(flag) != flags[flag]:
            raise ConfigError(
                f"against: {flag}={flags[flag]} must be {default.get(flag)}, the default, because only one of the two "
                "configurations has this flag"
            )
    return {flag: value for flag, value in flags.items() if flag in other}


def _typed(value: Any) -> str:
    """Format a value as in an override."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_typed(v)}' for key, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    plain = text(value)  # keeps all digits of a float
    return plain if re.fullmatch(r"[\w./+-]*", plain) else "'" + plain.replace("'", r"\'") + "'"
