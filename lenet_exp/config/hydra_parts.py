"""What differs between Hydra 1.3 and 1.4 and their OmegaConf, and the parts of Hydra that are not public: here alone.

Not public are the parser of Hydra's command line, and the object that runs a job or a sweep with its methods `run`,
`multirun` and `compose_config`. `hydra.main` calls the same ones, but it prints an error in its own way and exits with
status 1, which only an environment variable changes. tests/config/test_hydra_parts.py fails when one changes.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import hydra
from omegaconf import DictConfig, OmegaConf

from lenet_exp.config.conf_dir import CONF_DIR

TaskFunction = Callable[[DictConfig], Any]
HYDRA_1_3 = hydra.__version__.startswith("1.3.")
VERSION_BASE = {"version_base": "1.3"} if HYDRA_1_3 else {}  # 1.4 warns of it


class HydraApp(Protocol):
    """Composes from one folder, and runs what it composed."""

    def run(self, config_name: str, task_function: TaskFunction, overrides: list[str]) -> object: ...

    def multirun(self, config_name: str, task_function: TaskFunction, overrides: list[str]) -> object: ...

    def compose_config(
        self, config_name: str, overrides: list[str], run_mode: Any, with_log_configuration: bool
    ) -> DictConfig: ...


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Registers a resolver of OmegaConf, or replaces it."""
    register = OmegaConf.register_new_resolver if HYDRA_1_3 else OmegaConf.register_resolver  # each warns of the other
    cast(Callable[..., None], register)(name, resolver, replace=True)


@contextmanager
def hydra_app(job_name: str = "app") -> Iterator[HydraApp]:
    """Hydra with the folder `conf/`, without its command line."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(CONF_DIR), job_name=job_name, **VERSION_BASE):
        app = GlobalHydra.instance().hydra
        assert app is not None
        yield cast(HydraApp, app)


def command_line_parser() -> ArgumentParser:
    """The parser of Hydra's own flags (-m, --cfg, --help) and of overrides."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def run_as_hydra(config_name: str, task: TaskFunction) -> None:
    """Does what the command line says by `hydra.main`."""
    hydra.main(config_path=str(CONF_DIR), config_name=config_name, **VERSION_BASE)(task)()
