"""Composition of configurations with Hydra and their conversion to a typed `Config`."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

from hydra import compose as hydra_compose
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from lenet_exp.config.check import check_flags, check_ranges
from lenet_exp.config.explain import explain_flag, explain_hydra, sweep_hint
from lenet_exp.config.flags import REMOVED, all_flags, within
from lenet_exp.config.hydra_parts import hydra_app, register_resolver
from lenet_exp.config.params import text
from lenet_exp.config.schema import ALWAYS, HOOK, NEUTRAL, Config, PredictConfig
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
        task = OmegaConf.masked_copy(task, [str(key) for key in task if key != "hydra"])
    try:
        return _merged(schema, task)
    except OmegaConfBaseException as e:
        raise_stop(e)
        raise ConfigError(_explain(e, task, schema)) from e
    except OverflowError as e:
        flag = _flag_beyond_floats(task, schema)
        raise ConfigError(f"{flag}={_raw(task, flag)}: must be a finite number") from e


def _merged(schema: type[ConfigT], task: DictConfig) -> ConfigT:
    """Return an instance of a schema with the values of a composed configuration, which is changed.

    Raises:
        ConfigError: a value is not of the type of its flag, but OmegaConf would convert it.
        OmegaConfBaseException, OverflowError: OmegaConf cannot convert a value.
    """
    OmegaConf.set_struct(task, False)
    _drop_removed(task)
    if schema is Config:
        for flag, option in _OPTIONS.items():
            if flag not in task:
                task[flag] = option

    _check_lists_of_strings(task, schema)
    if schema is Config:
        _check_hook(task)

    merged = OmegaConf.unsafe_merge(copy.deepcopy(_structured(cast(Hashable, schema))), task)
    return cast(ConfigT, OmegaConf.to_object(merged))


def _check_lists_of_strings(task: DictConfig, schema: type) -> None:
    """Check the flags that are lists of strings, in which OmegaConf accepts nested lists."""
    for flag, kind, _ in all_flags(schema):
        if not str(kind).startswith("list[str]"):
            continue
        value = OmegaConf.select(task, flag)
        if value is None:
            continue
        items = value if OmegaConf.is_list(value) else [value]
        are_strings = all(isinstance(item, str) for item in items)
        if not are_strings:
            raise ConfigError(f"{flag}={value}: must be a list of strings")


def _check_hook(task: DictConfig) -> None:
    """Check that the shell command is text, because OmegaConf would convert true to `True`."""
    command = OmegaConf.select(task, HOOK)
    if command is not None and not isinstance(command, str):
        raise ConfigError(
            f"{HOOK}={text(command)}: must be a shell command; if it is one, "
            f"write it in quotes: '{HOOK}=\"{text(command)}\"'"
        )


def _drop_removed(task: DictConfig) -> None:
    """Drop removed flags, which option files for older releases set."""
    for flag in REMOVED:
        section, _, name = flag.partition(".")
        if OmegaConf.is_dict(task.get(section)):
            task[section].pop(name, None)


def _flag_beyond_floats(task: DictConfig, schema: type) -> str:
    """Return the flag whose value is an integer that is too large to convert to a float."""
    for flag, _, _ in all_flags(schema):
        value = _raw(task, flag)
        if isinstance(value, int) and not within(value, {}):
            return flag
    raise AssertionError("no flag has such a value")


@cache
def _structured(schema: Hashable) -> DictConfig:
    """Return the schema with neutral values.

    They apply to flags that a config.yaml from an older release lacks.
    """
    node = cast(DictConfig, OmegaConf.structured(schema))
    _make_writable(node)
    for flag, _, field in all_flags(cast(type, schema)):
        neutral = field.metadata["neutral"]
        is_option = flag in _OPTIONS  # each model and loss has its own keys
        if neutral is not ALWAYS and not is_option:
            OmegaConf.update(node, flag, neutral)
    return node


def _make_writable(node: DictConfig) -> None:
    """Allow changes of a node and of all nodes below it, which OmegaConf refuses for frozen
    dataclasses.
    """
    OmegaConf.set_readonly(node, None)
    for key in node:
        if not OmegaConf.is_missing(node, key) and OmegaConf.is_dict(node[key]):
            _make_writable(node[key])


# Whole options that records and files of older releases lack.
_OPTIONS = {
    flag: field.metadata["neutral"]
    for flag, _, field in all_flags()
    if field.metadata["neutral"] in NEUTRAL
}

# Starts of overrides of the flags that accept any key.
FREE = (
    "tracking.tags.",
    "tracking.tags=",
    "search.sampler_options.",
    "search.sampler_options=",
    "search.pruner_options.",
    "search.pruner_options=",
)
# An override with a run ID that Hydra would read as a number.
NUMERIC_RUN_ID = re.compile(r"^(init_from|trained_model)=(\d+e\d+)$")


def allow_new_keys(overrides: list[str]) -> list[str]:
    """Return the overrides, with Hydra's prefix `++` for flags that accept any key.

    Examples are `tracking.tags.note=first` and `tracking.tags={note: first}`. A run ID such as
    1e234567 is quoted, because Hydra would read it as a number.
    """
    allowed = []
    for override in overrides:
        override = NUMERIC_RUN_ID.sub(r"\1='\2'", override)
        if override.startswith(FREE):
            override = f"++{override}"
        allowed.append(override)
    return allowed


def quoted(value: str) -> str:
    """Return a value for an override, in quotes if Hydra requires them."""
    if re.fullmatch(r"[\w./+:@-]+", value):
        return value
    escaped = value.replace("'", r"\'")
    return f"'{escaped}'"


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


def _explain(error: OmegaConfBaseException, task: DictConfig, schema: type) -> str:
    """Return a one-line message for an error from OmegaConf."""
    key = error.full_key or ""
    reason = str(error).splitlines()[0]
    kinds = {flag: kind for flag, kind, _ in all_flags(schema)}
    if isinstance(error, InterpolationResolutionError):
        return f"{key}={_raw(task, key)}: {reason}"
    if key in kinds:
        return _explain_value(key, kinds[key], _raw(task, key), schema)
    if "not in" in reason and key:
        return explain_flag(key)

    for flag, kind in kinds.items():  # OmegaConf does not name the flag whose value is a list
        value = _raw(task, flag)
        if str(kind).startswith("dict") and isinstance(value, list):
            return f"{flag}={text(value)}: must be {_type_name(kind)}"

    for flag in kinds:
        section, dot, _ = flag.partition(".")
        value = _raw(task, section)
        if dot and not isinstance(value, dict):
            return (
                f"{section}={text(value)}: cannot be set as a whole; "
                f"set its flags, such as {flag}=..."
            )

    if key and key not in reason:
        return f"{key}: {reason}"
    return reason


def _explain_value(flag: str, kind: Any, value: Any, schema: type) -> str:
    """Return a message for a flag whose value is missing or has the wrong type."""
    if value == MISSING:
        return f"{flag}: value not set; add {flag}=..."

    choices: list[str] = []
    expected = f"must be {_type_name(kind)}"
    if hasattr(kind, "__members__"):  # an enum
        choices = [member.value for member in kind]
        expected = f"expected one of: {', '.join(choices)}"

    hint = did_you_mean(str(value), choices)
    if not hint and schema is Config:
        hint = sweep_hint(flag, value, str(kind))
    return f"{flag}={text(value)}: {expected}{hint}"


def _raw(task: DictConfig, key: str) -> Any:
    """Return the value of a flag, with interpolations unresolved, or None if it is missing."""
    value: Any = OmegaConf.to_container(task)
    for part in key.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _type_name(kind: Any) -> str:
    """Return what a value of a type must be, such as `an integer or null` for `int | None`."""
    if str(kind).startswith("dict"):
        return "a mapping such as {a: 1, b: 2}"
    if str(kind).startswith("list"):
        return "a list such as [a, b]"

    type_name = _simple_type_name(kind)
    if "None" in str(kind):
        return f"{type_name} or null"
    return type_name


def _simple_type_name(kind: Any) -> str:
    """Return what a value of a type must be, without `or null`."""
    names = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a string"}
    name_of_kind = getattr(kind, "__name__", None) or str(kind)
    for name, words in names.items():
        if name == name_of_kind or f"{name} |" in str(kind):
            return words
    return str(kind)
