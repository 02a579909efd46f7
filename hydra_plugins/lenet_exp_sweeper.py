"""Hydra's grid sweeper, which also checks all jobs before the first starts and records the sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from lenet_exp.errors import ConfigError


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.lenet_exp_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="lenet_exp")


class GridSweeper(BasicSweeper, Sweeper):
    """The grid over all swept flags, as `hydra/sweeper=basic` spans it."""

    def sweep(self, arguments: list[str]) -> Any:
        from lenet_exp.sweeps.session import sweep_session

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        given = [*self._parse_config(), *arguments]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
        (jobs,) = self.split_arguments(overrides, None)
        if not jobs:
            raise ConfigError(f"{' '.join(given)}: a sweep over no value; allowed is one or more")
        swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        composed = [loader.load_sweep_config(self.config, list(job)) for job in jobs]
        with sweep_session(self.config.hydra.sweep.dir, given, swept, jobs, composed):
            self.config = _without_password(self.config)  # Hydra writes it down, and needs it for nothing else
            return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing is left to do: `sweep` composed and checked every job."""


def _without_password(config: DictConfig) -> DictConfig:
    from lenet_exp.tracking.store import hide_password

    shown = OmegaConf.create(hide_password(OmegaConf.to_yaml(config)))
    OmegaConf.copy_cache(config, shown)  # the start's time is part of the folder's name
    return cast(DictConfig, shown)
