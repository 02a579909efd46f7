"""Limit on the expansion of YAML aliases in a user's own option files."""

from __future__ import annotations

import contextlib
import math
from itertools import chain
from pathlib import Path

import yaml

from lenet_exp.errors import ConfigError
from lenet_exp.files import read_regular

OPTION_FILES = ("*.yaml", "*/*.yaml", "*/*/*.yaml")  # the deepest level is hydra/launcher/x.yaml
MOST_VALUES = 10_000


def check_aliases(folder: Path) -> None:
    """Check that no option file in a folder expands to too many values through YAML aliases.

    Hydra copies the target of each alias, so a 1 kB file with nested aliases could take hours and use all memory.

    Raises:
        ConfigError: an option file with aliases expands to more than `MOST_VALUES` values.
    """
    for file in chain.from_iterable(map(folder.glob, OPTION_FILES)):
        values = 0.0
        with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):  # Hydra reports the error
            text = read_regular(file).decode()
            values = _values(yaml.compose(text, yaml.SafeLoader), {}) if "*" in text else 0
        if values > MOST_VALUES:
            raise ConfigError(f"{file}: must expand to at most {MOST_VALUES} values; use fewer aliases (*name)")


def _values(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """Return the number of values in a YAML node, counting the target of an alias each time it is used.

    The number is infinite if a node contains itself.
    """
    if node not in known:
        known[node] = math.inf  # in case the node contains itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = chain.from_iterable(parts)
        known[node] = 1 + sum(_values(part, known) for part in parts)
    return known[node]
