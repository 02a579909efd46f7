"""Compatibility with Hydra 1.3 and 1.4 and their OmegaConf versions, and all uses of Hydra's
private API.

lenet_exp uses two private parts of Hydra: its command-line parser and the object that runs a job or
a sweep with the methods `run`, `multirun`, and `compose_config`. `hydra.main` calls the same
methods, but it prints errors in its own format and exits with status 1 unless HYDRA_FULL_ERROR is
set. tests/config/test_hydra_parts.py fails if the private API changes.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from lenet_exp.package_files import CONF_DIR

TaskFunction = Callable[[DictConfig], Any]
HYDRA_1_3 = hydra.__version__.startswith("1.3.")
VERSION_BASE = {"version_base": "1.3"} if HYDRA_1_3 else {}  # Hydra 1.4 warns about this argument


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Register or replace an OmegaConf resolver."""
    # Each version of OmegaConf warns about the name that the function has in the other version.
    register = OmegaConf.register_new_resolver if HYDRA_1_3 else OmegaConf.register_resolver
    cast(Callable[..., None], register)(name, resolver, replace=True)


@contextmanager
def hydra_app(job_name: str = "app") -> Iterator[Any]:
    """Initialize Hydra for the folder conf/ and yield Hydra's object that runs jobs and sweeps."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(CONF_DIR), job_name=job_name, **VERSION_BASE):
        yield GlobalHydra.instance().hydra


def command_line_parser() -> ArgumentParser:
    """Return the parser of Hydra's own flags (-m, --cfg, --help) and of overrides."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def run_as_hydra(config_name: str, task: TaskFunction) -> None:
    """Run the current command with `hydra.main`.

    Args:
        config_name: name of the main configuration file in conf/, without extension.
        task: function that Hydra calls with the composed configuration.
    """
    hydra.main(config_path=str(CONF_DIR), config_name=config_name, **VERSION_BASE)(task)()
