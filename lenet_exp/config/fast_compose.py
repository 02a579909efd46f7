"""Fast composition of many configurations: Hydra composes one per choice of options, and single
values are filled in.

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
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.schema import Config, with_value
from lenet_exp.config.typed_json import read_as, to_plain
from lenet_exp.errors import ConfigError
from lenet_exp.stopping import raise_stop

REFERENCE = re.compile(
    r"\$\{(?!\s*[\w.]+:)"
)  # reference to another flag; `${oc.env:HOME}` calls a resolver
SINGLE_VALUE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*=[\w.+-]*", re.ASCII)

Compose = Callable[[list[str]], DictConfig]


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
        parted = [(text, _parsed(text)) for text in overrides]
        others = tuple(text for text, one in parted if one is None)
        single = [one for _, one in parted if one is not None]
        if not any(_may_overlap(other, flag) for other in others for flag, _ in single):
            base = self._base(others)
            if base is not None and all(_is_leaf(base.written, flag) for flag, _ in single):
                values, written = base.values, base.written
                for flag, value in single:
                    values = with_value(values, flag, value)
                    written = with_value(written, flag, value)
                try:
                    return read_as(Config, values)
                except ValueError:  # the value must be converted, or is invalid
                    return typed(written)
        return typed(self._compose(list(overrides)))

    def _base(self, others: tuple[str, ...]) -> _BaseConfig | None:
        """Return the configuration composed without the overrides that set a single value, or None.

        The result is None if a value refers to another flag or if the configuration is invalid. An
        override that sets a single value could make an invalid configuration valid.

        Args:
            others: overrides that do not simply set a single value.
        """
        if others not in self._bases:
            self._bases[others] = None
            try:
                varies = any(o.partition("=")[0] in self._swept for o in others)
                node = (
                    self._compose(list(others))
                    if self._without is None or varies
                    else self._without
                )
                node = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
                written = OmegaConf.to_container(node, resolve=False)
                if REFERENCE.search(str(written)) is None:
                    self._bases[others] = _BaseConfig(written, to_plain(typed(node)))
            except (ConfigError, HydraException, OmegaConfBaseException, ValueError) as e:
                raise_stop(e)  # Hydra reports the error when it composes the full configuration
        return self._bases[others]


@cache
def _parsed(text: str) -> tuple[str, int | float | str | None] | None:
    """Return the flag and the value in an override that sets a single value, such as
    `optimizer.lr=0.1`, or None.
    """
    key = text.partition("=")[0]
    if (
        SINGLE_VALUE.fullmatch(text) is None
        or key in config_groups()
        or key.split(".")[0] == "hydra"
    ):
        return None
    try:
        value = OverridesParser.create().parse_override(text).value()
    except HydraException:
        return None
    return (key, value) if isinstance(value, int | float | str | None) else None


def _may_overlap(other: str, flag: str) -> bool:
    """Return whether an override can affect a single value; an override that chooses a group's
    option cannot.
    """
    key, _, value = other.partition("=")
    key = key.lstrip("+~")
    is_option = "." not in key and not value.startswith(("{", "["))
    return not is_option and (f"{flag}.".startswith(f"{key}.") or f"{key}.".startswith(f"{flag}."))


def _is_leaf(values: Any, flag: str) -> bool:
    """Return whether the value of a flag is a single value rather than a dict or list."""
    for part in flag.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return not isinstance(values, dict | list)
