"""What sweeps and searches that are started from Python share: Hydra without its command line, and our own launcher."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.explain import explain_hydra
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.executors.local.local_launcher import LocalLauncher


@contextmanager
def composing() -> Iterator[None]:
    """Inside of it `composed` works.

    Raises:
        ConfigError: what Hydra finds wrong, in one line.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield
    except (HydraException, OmegaConfBaseException) as e:
        raise ConfigError(explain_hydra(e)) from e


def composed(overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
    """A run's configuration by Hydra; on request with Hydra's own, which knows what was chosen of each group."""
    return hydra_compose("train", overrides=overrides, return_hydra_config=with_hydra)


def launcher_of(config: Config) -> LocalLauncher:
    """Processes on this machine, as `sweep.*` says."""
    flags = config.sweep
    return LocalLauncher(flags.workers, flags.retries, flags.time_limit, flags.fail_fast, flags.max_failures)
