"""Composition of configurations with Hydra and their conversion to a typed `Config`."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

from hydra import compose as hydra_compose
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.config.check import check_flags, check_ranges
from lenet_exp.config.explain import explain_flag, explain_hydra, sweep_hint
from lenet_exp.config.hydra_parts import hydra_app, register_resolver
from lenet_exp.config.params import text
from lenet_exp.config.schema import (
    ALWAYS,
    HOOK,
    NEUTRAL,
    REMOVED,
    Config,
    PredictConfig,
    all_flags,
    within,
)
from lenet_exp.errors import PLAIN_ERRORS, ConfigError, did_you_mean, from_hydra
from lenet_exp.files import Json
from lenet_exp.outputs import outputs_dir
from lenet_exp.stopping import raise_stop
from lenet_exp.waiting import READING_OPTIONS

register_resolver("lenet_exp.outputs", lambda: str(outputs_dir()))

ConfigT = TypeVar("ConfigT")


def typed(node: DictConfig | Mapping[str, Json]) -> Config:
    """Convert the composed configuration of a run to a `Config`; see `typed_as`."""
    return typed_as(Config, node)


def typed_as(schema: type[ConfigT], node: DictConfig | Mapping[str, Json]) -> ConfigT:
    """Convert a composed configuration to an instance of the dataclass `schema`.

    Values are converted to the types of their fields. `training.check.check_config` checks ranges
    and the optimizer.

    Raises:
        ConfigError: a flag is unknown, has the wrong type, or has no value.
    """
    task = node if isinstance(node, DictConfig) else OmegaConf.create(dict(node))
    if "hydra" in task:
        task = OmegaConf.masked_copy(task, [str(k) for k in task if k != "hydra"])
    try:
        OmegaConf.set_struct(task, False)
        _drop_removed(task)
        for flag in (flag for flag in _OPTIONS if schema is Config and flag not in task):
            task[flag] = _OPTIONS[flag]
        for flag in (
            flag for flag, kind, _ in all_flags(schema) if str(kind).startswith("list[str]")
        ):
            value = OmegaConf.select(task, flag)
            items = value if OmegaConf.is_list(value) else [value]
            if value is not None and not all(isinstance(item, str) for item in items):
                raise ConfigError(
                    f"{flag}={value}: must be a list of strings"
                )  # OmegaConf accepts nested lists
        command = OmegaConf.select(task, HOOK) if schema is Config else None
        if command is not None and not isinstance(
            command, str
        ):  # OmegaConf would convert true to the command True
            correction = f"write it in quotes: '{HOOK}=\"{text(command)}\"'"
            raise ConfigError(
                f"{HOOK}={text(command)}: must be a shell command; if it is one, {correction}"
            )
        merged = OmegaConf.unsafe_merge(copy.deepcopy(_structured(cast(Hashable, schema))), task)
        return cast(ConfigT, OmegaConf.to_object(merged))
    except OmegaConfBaseException as e:
        raise_stop(e)
        raise ConfigError(_explain(e, task, schema)) from e
    except OverflowError as e:
        flag = _flag_beyond_floats(task, schema)
        raise ConfigError(f"{flag}={_raw(task, flag)}: must be a finite number") from e


def _drop_removed(task: DictConfig) -> None:
    """Drop removed flags, which option files for older releases set."""
    for flag in REMOVED:
        section, _, name = flag.partition(".")
        if OmegaConf.is_dict(task.get(section)):
            task[section].pop(name, None)


def _flag_beyond_floats(task: DictConfig, schema: type) -> str:
    """Return the flag whose value is an integer that is too large to convert to a float."""
    values = {flag: _raw(task, flag) for flag, _, _ in all_flags(schema)}
    return next(
        flag for flag, value in values.items() if isinstance(value, int) and not within(value, {})
    )


@cache
def _structured(schema: Hashable) -> DictConfig:
    """Return the schema with neutral values, which apply to flags that a config.yaml from an older
    release lacks.
    """
    node = cast(DictConfig, OmegaConf.structured(schema))
    for flag, _, f in all_flags(cast(type, schema)):
        if (
            f.metadata["neutral"] is not ALWAYS and flag not in _OPTIONS
        ):  # each model and loss has its own keys
            OmegaConf.update(node, flag, f.metadata["neutral"])
    return node


# Whole options that records and files of older releases lack.
_OPTIONS = {
    flag: f.metadata["neutral"] for flag, _, f in all_flags() if f.metadata["neutral"] in NEUTRAL
}


FREE = tuple(
    f"{flag}{end}"
    for flag in ("tracking.tags", "search.sampler_options", "search.pruner_options")
    for end in ".="
)


def allow_new_keys(overrides: list[str]) -> list[str]:
    """Return the overrides, with Hydra's prefix `++` added to each override of a flag that accepts
    any key.

    Examples are `tracking.tags.note=first` and `tracking.tags={note: first}`. A run ID such as
    1e234567 is quoted, because Hydra would read it as a number.
    """
    overrides = [re.sub(r"^(init_from|trained_model)=(\d+e\d+)$", r"\1='\2'", o) for o in overrides]
    return [f"++{o}" if o.startswith(FREE) else o for o in overrides]


def quoted(value: str) -> str:
    """Return a value for an override, in quotes if Hydra requires them."""
    return value if re.fullmatch(r"[\w./+:@-]+", value) else "'" + value.replace("'", r"\'") + "'"


@contextmanager
def composing() -> Iterator[None]:
    """Initialize Hydra, without its command line, for calls to `composed` in a `with` block.

    Raises:
        ConfigError: Hydra reports an error; the message is a single line.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    try:
        with hydra_app():
            yield
    except (HydraException, OmegaConfBaseException, YAMLError, *PLAIN_ERRORS) as e:
        if isinstance(e, PLAIN_ERRORS) and not from_hydra(e):
            raise
        raise ConfigError(explain_hydra(e)) from e


def compose_prediction(overrides: list[str]) -> PredictConfig:
    """Compose the configuration that `lenet-predict <overrides>` would use, and check its ranges.

    Raises:
        ConfigError: an override is invalid.
    """
    with composing():
        config = typed_as(PredictConfig, hydra_compose("predict", overrides=overrides))
    check_ranges(config)
    return config


def composed(overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
    """Compose the configuration of a run with Hydra.

    Args:
        overrides: overrides in Hydra's grammar.
        with_hydra: whether to include Hydra's own node, which contains the chosen option for each
            config group.
    """
    with READING_OPTIONS:
        return hydra_compose("train", overrides=overrides, return_hydra_config=with_hydra)


def compose(overrides: list[str] | None = None) -> Config:
    """Compose the configuration that `lenet-train <overrides>` would train, and check its flags.

    Raises:
        ConfigError: an override is invalid.
    """
    with composing():
        config = typed(composed(allow_new_keys(overrides or [])))
    check_flags(config)
    return config


def _explain(error: OmegaConfBaseException, given: DictConfig, schema: type) -> str:
    key = error.full_key or ""
    reason = str(error).splitlines()[0]
    known = {name: kind for name, kind, _ in all_flags(schema)}
    if isinstance(error, InterpolationResolutionError):
        return f"{key}={_raw(given, key)}: {reason}"
    if key in known:
        kind, value = known[key], _raw(given, key)
        if value == "???":
            return f"{key}: value not set; add {key}=..."
        choices = [m.value for m in kind] if hasattr(kind, "__members__") else []
        allowed = (
            f"expected one of: {', '.join(choices)}" if choices else f"must be {_type_name(kind)}"
        )
        hint = did_you_mean(str(value), choices) or (
            sweep_hint(key, value, str(kind)) if schema is Config else ""
        )
        return f"{key}={text(value)}: {allowed}{hint}"
    if "not in" in reason and key:
        return explain_flag(key)
    for flag, kind in known.items():  # OmegaConf does not name the flag whose value is a list
        value = _raw(given, flag)
        if str(kind).startswith("dict") and isinstance(value, list):
            return f"{flag}={text(value)}: must be {_type_name(kind)}"
    for flag in known:
        section, dot, _ = flag.partition(".")
        if dot and not isinstance(_raw(given, section), dict):
            whole = f"{section}={text(_raw(given, section))}"
            return f"{whole}: cannot be set as a whole; set its flags, such as {flag}=..."
    return f"{key}: {reason}" if key and key not in reason else reason


def _raw(given: DictConfig, key: str) -> Any:
    """Return the value of a flag, with interpolations unresolved, or None if the flag is missing."""
    node: Any = OmegaConf.to_container(given)
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _type_name(kind: Any) -> str:
    if str(kind).startswith(("dict", "list")):
        return (
            "a mapping such as {a: 1, b: 2}"
            if str(kind).startswith("dict")
            else "a list such as [a, b]"
        )
    names = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string"}
    name_of_kind = getattr(kind, "__name__", None) or str(kind)
    optional = "None" in str(kind)
    base = next(
        (
            words
            for name, words in names.items()
            if name == name_of_kind or f"{name} |" in str(kind)
        ),
        str(kind),
    )
    return f"{base} or null" if optional else base
