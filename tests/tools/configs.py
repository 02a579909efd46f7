"""Compose configurations for tests faster than Hydra.

Overrides of single values are filled in, as for the jobs of a sweep.
tests/config/test_fast_compose.py compares the result with that of Hydra.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from functools import cache

from lenet_exp.config.check import check_flags
from lenet_exp.config.compose import allow_new_keys, composed, composing
from lenet_exp.config.fast_compose import FastComposer
from lenet_exp.config.schema import Config
from lenet_exp.training.check import check_config
from tests.conftest import SETTINGS


@cache
def _composer(settings: tuple[str | None, ...]) -> FastComposer:
    return FastComposer(composed)


def compose(overrides: Sequence[str] = ()) -> Config:
    """Return what `lenet_exp.compose` returns for these overrides."""
    with composing():
        composer = _composer(tuple(map(os.environ.get, SETTINGS)))
        config = deepcopy(composer.config(allow_new_keys(list(overrides))))
    check_flags(config)
    check_config(config)
    return config
