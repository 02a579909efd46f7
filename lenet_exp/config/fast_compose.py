"""Fast composition of many configurations.

Hydra composes one configuration per choice of options, and single values are filled in.
Hydra takes 50 to 90 ms per configuration. An override such as `optimizer.lr=0.1` only replaces a
single value, which can be done without Hydra. Hydra still composes configurations with other
overrides: options of config groups, lists, interpolations, new or deleted keys, and values that
other flags refer to. Invalid overrides are also passed to Hydra, so error messages come from Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_exp.config.compose import typed
from lenet_exp.config.flags import with_value
from lenet_exp.config.schema import Config
from lenet_exp.config.typed_json import read_as, to_plain
from lenet_exp.errors import ConfigError
from lenet_exp.package_files import config_groups
from lenet_exp.stopping import raise_stop

# A reference to another flag, such as `${seed}`. In contrast, `${oc.env:HOME}` calls a resolver.
REFERENCE = re.compile(r"\$\{(?!\s*[\w.]+:)")
SINGLE_VALUE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*=[\w.+-]*", re.ASCII)

Compose = Callable[[list[str]], DictConfig]
SingleValue = int | float | str | None


@dataclass(frozen=True)
class _BaseConfig:
    """A configuration that Hydra composed without the overrides that set a single value.

    Attributes:
        written: values as composed.
        values: values after conversion to their types, in plain form.
    """

    written: Any
    values: Any


class FastComposer:
    """Fast composer for the configurations of a sweep's jobs.

    Args:
        compose: function that composes a configuration from overrides with Hydra.
        without: configuration composed from all overrides of flags that are not swept; None if it
            is not available.
        swept: names of the swept flags.
    """

    def __init__(
        self,
        compose: Compose,
        *,
        without: DictConfig | None = None,
        swept: Collection[str] = frozenset(),
    ) -> None:
        self._compose = compose
        self._without = without
        self._swept = swept
        self._bases: dict[tuple[str, ...], _BaseConfig | None] = {}

    def config(self, overrides: Sequence[str]) -> Config:
        """Return the typed configuration that Hydra would compose from the overrides.

        Raises:
            ConfigError, HydraException: the configuration cannot be composed.
        """
        single_values: list[tuple[str, SingleValue]] = []  # flags with their values
        other_overrides: list[str] = []
        for override in overrides:
            flag_and_value = _parsed(override)
            if flag_and_value is None:
                other_overrides.append(override)
            else:
                single_values.append(flag_and_value)

        flags = [flag for flag, _ in single_values]
        base = self._base_for(flags, other_overrides)
        if base is None:
            return typed(self._compose(list(overrides)))

        written = base.written
        values = base.values
        for flag, value in single_values:
            written = with_value(written, flag, value)
            values = with_value(values, flag, value)
        try:
            return read_as(Config, values)
        except ValueError:  # a value must be converted, or is invalid
            return typed(written)

    def _base_for(
        self, single_flags: Sequence[str], other_overrides: Sequence[str]
    ) -> _BaseConfig | None:
        """Return a configuration in which single values can be replaced, or None.

        Args:
            single_flags: flags whose values will be replaced.
            other_overrides: all overrides of other flags.
        """
        for override in other_overrides:
            if any(_may_overlap(override, flag) for flag in single_flags):
                return None

        base = self._base(tuple(other_overrides))
        if base is None:
            return None
        if not all(_is_single_value(base.written, flag) for flag in single_flags):
            return None
        return base

    def _base(self, other_overrides: tuple[str, ...]) -> _BaseConfig | None:
        """Return the configuration composed without the overrides that set a single value, or None.

        The result is None if a value refers to another flag or if the configuration is invalid. An
        override that sets a single value could make an invalid configuration valid.

        Args:
            other_overrides: overrides that do not simply set a single value.
        """
        if other_overrides not in self._bases:
            try:
                self._bases[other_overrides] = self._composed_base(other_overrides)
            except (ConfigError, HydraException, OmegaConfBaseException, ValueError) as e:
                raise_stop(e)
                # Hydra reports the error when it composes the full configuration.
                self._bases[other_overrides] = None
        return self._bases[other_overrides]

    def _composed_base(self, other_overrides: tuple[str, ...]) -> _BaseConfig | None:
        """Compose a base; None if a value refers to another flag."""
        sweeps_others = any(o.partition("=")[0] in self._swept for o in other_overrides)
        if self._without is None or sweeps_others:
            node = self._compose(list(other_overrides))
        else:
            node = self._without

        node = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
        written = OmegaConf.to_container(node, resolve=False)
        if REFERENCE.search(str(written)) is not None:
            return None
        return _BaseConfig(written, to_plain(typed(node)))


@cache
def _parsed(override: str) -> tuple[str, SingleValue] | None:
    """Return the flag and the value of an override that sets a single value.

    `optimizer.lr=0.1` is such an override. The result is None for others, such as
    `optimizer=adam`, which chooses an option.
    """
    flag = override.partition("=")[0]
    if SINGLE_VALUE.fullmatch(override) is None:
        return None
    if flag in config_groups() or flag.split(".")[0] == "hydra":
        return None

    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None
    if not isinstance(value, int | float | str | None):
        return None
    return flag, value


def _may_overlap(override: str, flag: str) -> bool:
    """Return whether an override can affect a single value.

    An override that chooses a group's option cannot.
    """
    other_flag, _, value = override.partition("=")
    other_flag = other_flag.lstrip("+~")
    if "." not in other_flag and not value.startswith(("{", "[")):
        return False
    return f"{flag}.".startswith(f"{other_flag}.") or f"{other_flag}.".startswith(f"{flag}.")


def _is_single_value(values: Any, flag: str) -> bool:
    """Return whether the value of a flag is a single value rather than a dict or list."""
    for part in flag.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return not isinstance(values, dict | list)
