"""The configurations of many jobs: Hydra composes once for each choice of options, and plain values are put in there.

A job of a sweep costs Hydra 50 to 90 ms, whatever differs in it. What `optimizer.lr=0.1` does beside the same options
is known: it sets one value. Whatever is not as plain as that (options of groups, lists, interpolations, what is new or
taken away, what others refer to) is composed by Hydra as ever; so is what is wrong, and the error is Hydra's own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from enum import Enum
from functools import cached_property
from types import NoneType
from typing import Any, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_exp.config.compose import typed
from lenet_exp.config.conf_dir import config_groups
from lenet_exp.config.schema import Config, knobs
from lenet_exp.errors import ConfigError

REFERENCE = re.compile(r"\$\{(?!\s*[\w.]+:)")  # to another flag; `${oc.env:HOME}` asks a resolver
PLAIN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*=[\w.+-]*", re.ASCII)

WRONG = (ConfigError, HydraException, OmegaConfBaseException, ValueError)

Compose = Callable[[list[str]], DictConfig]


@dataclass(frozen=True)
class _Plain:
    """`optimizer.lr=0.1`, as Hydra reads it."""

    text: str
    path: tuple[str, ...]
    value: int | float | bool | str | None


@dataclass(frozen=True)
class _Base:
    """What Hydra composes without the plain values."""

    node: DictConfig

    @cached_property
    def config(self) -> Config:
        return typed(self.node)

    @cached_property
    def values(self) -> Any:
        return OmegaConf.to_container(self.node, resolve=False)

    @cached_property
    def refers(self) -> bool:
        """Whether a value is made of others, which may be those that are put in."""
        return _refers(self.values)


class QuickComposer:
    """Args:
    compose: what Hydra makes of overrides.
    """

    def __init__(self, compose: Compose) -> None:
        self._compose = compose
        self._groups = set(config_groups())
        self._kinds = {flag: kind for flag, kind, _ in knobs()}
        self._parsed: dict[str, _Plain | None] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}
        self._converted: dict[tuple[tuple[str, ...], str], Any] = {}

    def config(self, overrides: Sequence[str]) -> Config:
        """As Hydra composes it, typed.

        Raises:
            ConfigError, HydraException: as when it is composed.
        """
        parted = [(text, self._plain(text)) for text in overrides]
        others = tuple(text for text, plain in parted if plain is None)
        plains = [plain for _, plain in parted if plain is not None]
        if not any(_touch(other, plain) for other in others for plain in plains):
            base = self._base(others)
            if base is not None and not base.refers and all(_is_leaf(base.values, plain.path) for plain in plains):
                with contextlib.suppress(*WRONG):  # of several mistakes Hydra names its own first
                    config = base.config
                    for plain in plains:
                        config = _put(config, plain.path, self._value(others, plain))
                    return config
        return typed(self._compose(list(overrides)))

    def _base(self, others: tuple[str, ...]) -> _Base | None:
        if others not in self._bases:
            try:
                node = self._compose(list(others))
                base = _Base(OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"]))
                _ = base.config
            except WRONG:  # a plain value may mend it
                self._bases[others] = None
            else:
                self._bases[others] = base
        return self._bases[others]

    def _plain(self, text: str) -> _Plain | None:
        if text not in self._parsed:
            self._parsed[text] = self._parse(text)
        return self._parsed[text]

    def _parse(self, text: str) -> _Plain | None:
        key = text.partition("=")[0]
        if PLAIN.fullmatch(text) is None or key in self._groups or key.split(".")[0] == "hydra":
            return None
        try:
            value = OverridesParser.create().parse_override(text).value()
        except HydraException:
            return None
        return _Plain(text, tuple(key.split(".")), value) if isinstance(value, int | float | str | None) else None

    def _value(self, others: tuple[str, ...], plain: _Plain) -> Any:
        """The value as the schema has it."""
        kind, value = _without_null(self._kinds.get(".".join(plain.path))), plain.value
        if kind is None:  # a keyword of an option, which has any type
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if kind in {int, bool, str} and type(value) is kind:
            return value
        if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(value, str) and value in kind.__members__:
            return kind[value]
        if (others, plain.text) not in self._converted:  # what needs converting: Hydra and the schema say
            self._converted[others, plain.text] = _at(typed(self._compose([*others, plain.text])), plain.path)
        return self._converted[others, plain.text]


def _touch(other: str, plain: _Plain) -> bool:
    """Whether an override that is not plain may set, hold or lie in the same value; the option of a group does not."""
    key, _, value = other.partition("=")
    key, path = key.lstrip("+~"), ".".join(plain.path)
    is_option = "." not in key and not value.startswith(("{", "["))
    return not is_option and (f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}."))


def _is_leaf(values: Any, path: tuple[str, ...]) -> bool:
    """Whether there is a single value at a path."""
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return not isinstance(values, dict | list)


def _refers(values: Any) -> bool:
    if isinstance(values, dict):
        return any(map(_refers, values.values()))
    if isinstance(values, list):
        return any(map(_refers, values))
    return isinstance(values, str) and REFERENCE.search(values) is not None


def _without_null(kind: Any) -> Any:
    """`float` of `float | None`."""
    kinds = [k for k in get_args(kind) if k is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(kind) else kind


def _put(node: Any, path: tuple[str, ...], value: Any) -> Any:
    head, rest = path[0], path[1:]
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{head: _put(getattr(node, head), rest, value) if rest else value})
    return {**node, head: _put(node[head], rest, value) if rest else value}


def _at(node: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node
