"""Hydra's grid sweeper, but all jobs are composed, checked and frozen before the first starts, and the sweep lasts."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_exp.errors import ConfigError, first_line
from lenet_exp.executors.local_launcher import LocalLauncher, NotStarted

log = logging.getLogger("lenet_exp")

RESUMABLE = ("sweep.", "hydra.", "hydra/", "tracking.uri", "~sweep.")  # what `sweep.resume=` may be given besides


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.lenet_exp_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="lenet_exp")


class FrozenLoader:
    """Gives a launcher frozen jobs where it asks for composed ones, so that conf/ is read once a sweep.

    A job's overrides have one more, `frozen_job=<its offset in jobs.jsonl>`.
    """

    def __init__(self, sweep_folder: str) -> None:
        self.sweep_folder = sweep_folder

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        *overrides, marker = sweep_overrides
        config = copy.deepcopy(master_config)  # keeps the types of the node `hydra`
        with open_dict(config):
            for key in [key for key in config if key != "hydra"]:
                del config[key]
            config.frozen_job = {"folder": self.sweep_folder, "offset": int(marker.partition("=")[2])}
            config.hydra.overrides.task = overrides
        return config


def run_frozen_job(cfg: DictConfig) -> float:
    """Hydra's task in a sweep of ours."""
    from pathlib import Path

    from lenet_exp.sweeps.job import run_job

    return run_job(Path(cfg.frozen_job.folder), cfg.frozen_job.offset)


class GridSweeper(BasicSweeper, Sweeper):
    """The grid over all swept flags, as `hydra/sweeper=basic` spans it."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config  # the launcher is made when the sweep's folder is known

    def sweep(self, arguments: list[str]) -> Any:
        from lenet_exp.reports.progress import log_to_console

        assert self.config is not None
        log_to_console()
        given = [*self._parse_config(), *arguments]
        if any(o.lstrip("+").startswith("sweep.resume=") and not o.endswith("=null") for o in given):
            return self._resume(given)
        return self._start(given)

    def _start(self, given: list[str]) -> Any:
        from lenet_exp.addresses import hide_password
        from lenet_exp.machine import command_line
        from lenet_exp.runs.jobs import check_jobs, freeze_jobs, tell_once
        from lenet_exp.sweeps.session import Asked

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
        (jobs,) = self.split_arguments(overrides, None)
        if not jobs:
            raise ConfigError(f"{' '.join(given)}: a sweep over no value; allowed is one or more")
        swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        composed = (loader.load_sweep_config(self.config, list(job)) for job in jobs)  # one at a time: they are large
        configs = check_jobs(jobs, composed)
        tell_once(configs)
        frozen = freeze_jobs(swept, jobs, configs)
        asked = Asked(command_line(), [hide_password(o) for o in given if not o.startswith("sweep.")], swept)
        return self._run(frozen, configs[0], asked)

    def _resume(self, given: list[str]) -> Any:
        import os

        from lenet_exp.machine import command_line
        from lenet_exp.runs.jobs import check_jobs
        from lenet_exp.sweeps.resume import frozen_sweep
        from lenet_exp.sweeps.session import Asked

        assert self.config is not None
        assert self.hydra_context is not None
        other = [o for o in given if not o.startswith(RESUMABLE)]
        if other:
            raise ConfigError(f"{other[0]}: a sweep that is resumed has its jobs already; allowed are sweep.* flags")
        (typed_config,) = check_jobs([given], [self.hydra_context.config_loader.load_sweep_config(self.config, given)])
        sweep, jobs, config = frozen_sweep(typed_config)
        os.environ["LENET_EXP_OUTPUTS"] = str(sweep.path.parent.parent)  # wherever this was typed
        return self._run(jobs, config, Asked(command_line(), [], []))

    def _run(self, jobs: list[Any], config: Any, asked: Any) -> Any:
        from lenet_exp.reports.progress import display
        from lenet_exp.sweeps.estimate import print_estimate
        from lenet_exp.sweeps.session import sweep_session

        assert self.config is not None
        if config.sweep.dry_run:
            print_estimate(jobs, config)
            return []
        with sweep_session(jobs, config, asked) as session:
            missing = session.missing()
            if not missing:
                return []
            offsets = session.sweep.offsets()
            marked = [[*job.overrides, f"frozen_job={offsets[job.number]}"] for job in missing]
            launcher = self._make_launcher(session, missing)
            here = isinstance(launcher, BasicLauncher)
            bar = display.sweep(len(missing), sum(job.config["num_epoch"] for job in missing))
            with bar, session.in_this_process() if here else session.elsewhere():
                returns = self._launch(launcher, marked)
                session.tell_failures([job.number for job in missing], [_error(r) for r in returns])
            return [returns]

    def _launch(self, launcher: Launcher, marked: list[list[str]]) -> Sequence[JobReturn]:
        try:
            return launcher.launch(marked, initial_job_idx=0)
        except Exception as e:
            if isinstance(launcher, LocalLauncher):
                raise
            log.error("%s gave up: %s: %s", type(launcher).__name__, type(e).__name__, first_line(e))
            return []

    def _make_launcher(self, session: Any, missing: Sequence[Any]) -> Any:
        from hydra.core.plugins import Plugins

        from lenet_exp.sweeps.workers import prepare_workers, tell_promises

        assert self.config is not None
        assert self.hydra_context is not None
        config = copy.deepcopy(self.config)
        with open_dict(config):
            config.hydra.sweep.dir = str(session.sweep.path)
            config.sweep = OmegaConf.structured(session.config.sweep)
        loader = cast(ConfigLoader, FrozenLoader(str(session.sweep.path)))
        context = HydraContext(config_loader=loader, callbacks=self.hydra_context.callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=run_frozen_job, config=config
        )
        tell_promises(launcher, session.config.sweep)
        if isinstance(launcher, LocalLauncher):
            launcher.return_configs = False
            launcher.output = session.sweep.path / "workers.log"
            launcher.on_lost = lambda index, reason: session.lost(missing[index].number, reason)
            prepare_workers(launcher, missing)
        return launcher


def _error(done: JobReturn) -> Exception | None:
    failed = done.status is not JobStatus.COMPLETED and not isinstance(done._return_value, NotStarted)
    return done._return_value if failed else None
