"""Hydra's sweepers of ours. The grid is Hydra's own, but all jobs are composed, checked and frozen before the first
starts, and the sweep lasts; the search makes its jobs as it goes."""

import copy
from dataclasses import dataclass
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from lenet_exp.errors import ConfigError, RunsFailed
from lenet_exp.waiting import say_waiting

RESUMABLE = ("sweep.", "hydra.", "hydra/", "tracking.uri", "~sweep.")  # what `sweep.resume=` may be given besides
OF_LAUNCHER = ("hydra/launcher", "hydra.launcher.")
OF_RESUMED_SEARCH = ("n_trials=", "max_epochs=", "max_seconds=", "seeds=", "confirm=")  # what it may be given, too
MAKES_JOBS = ("sweep.zip", "sweep.skip")  # of the flags `sweep.*`, what says which jobs there are


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.lenet_exp_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class SearchSweeperConf(GridSweeperConf):
    _target_: str = "hydra_plugins.lenet_exp_sweeper.SearchSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="lenet_exp")
ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchSweeperConf, provider="lenet_exp")


class GridSweeper(BasicSweeper, Sweeper):
    """The grid over all swept flags, as `hydra/sweeper=basic` spans it."""

    name = "grid"

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        if "sweep" not in config or "dataset" not in config:
            raise CompactHydraException(
                f"hydra/sweeper={self.name}: is lenet-train's own; this program takes hydra/sweeper=basic"
            )
        self.config = config  # the launcher is made when the sweep's folder is known

    def sweep(self, arguments: list[str]) -> Any:
        say_waiting("loading torch")
        from lenet_exp.reports.terminal.progress import log_to_console

        assert self.config is not None
        log_to_console()
        given = [*self._parse_config(), *arguments]
        resumed = any(o.lstrip("+").startswith("sweep.resume=") and not o.endswith("=null") for o in given)
        try:
            return self._resume(given) if resumed else self._start(given)
        except RunsFailed:  # Hydra tells its callbacks only of a sweep that returns
            assert self.hydra_context is not None
            self.hydra_context.callbacks.on_multirun_end(config=self.config, config_name=None)
            raise

    def _start(self, given: list[str]) -> Any:
        from functools import partial

        from lenet_exp.addresses import hide_password
        from lenet_exp.config.grid import span
        from lenet_exp.config.quick import QuickComposer
        from lenet_exp.folders.sweep_folder import sweep_of
        from lenet_exp.machine import command_line
        from lenet_exp.runs.jobs import check_jobs, freeze_jobs, tell_once
        from lenet_exp.sweeps.confirms import check_fresh
        from lenet_exp.sweeps.session import Asked

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
        zipped, skipped = (_plain(self.config.sweep.get(flag)) for flag in ("zip", "skip"))
        jobs = span(overrides, zipped, self.config.sweep.max_jobs, skipped)
        swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
        configs = check_jobs(jobs, QuickComposer(partial(loader.load_sweep_config, self.config)).config)
        tell_once(configs)
        frozen = freeze_jobs(swept, jobs, configs)
        check_fresh(configs[0], frozen)
        kept = [hide_password(o) for o in given if o.startswith(MAKES_JOBS) or not o.startswith("sweep.")]
        asked = Asked(command_line(), kept, swept)
        return self._run(sweep_of(configs[0].tracking.experiment, frozen), frozen, configs[0], asked)

    def _resume(self, given: list[str]) -> Any:
        from functools import partial

        from lenet_exp.config.compose import typed
        from lenet_exp.folders.find import find_sweep
        from lenet_exp.machine import command_line
        from lenet_exp.runs.jobs import check_jobs
        from lenet_exp.sweeps.resume import frozen_jobs
        from lenet_exp.sweeps.session import Asked

        assert self.config is not None
        assert self.hydra_context is not None
        load = partial(self.hydra_context.config_loader.load_sweep_config, self.config)
        asked = typed(load([o for o in given if o.startswith(RESUMABLE)]))
        sweep = find_sweep(str(asked.sweep.resume))
        if sweep.started().search is not None:
            return self._resume_search(sweep, asked, given)
        other = [o for o in given if not o.startswith(RESUMABLE)]
        if other:
            raise ConfigError(f"{other[0]}: a sweep that is resumed has its jobs already; allowed are sweep.* flags")
        (checked,) = check_jobs([given], lambda overrides: typed(load(overrides)))
        jobs, config = frozen_jobs(sweep, checked)
        return self._run(sweep, jobs, config, Asked(command_line(), [], []))

    def _resume_search(self, sweep: Any, asked: Any, given: list[str]) -> Any:
        """By the line that started it; whichever sweeper is configured now."""
        import shlex

        from lenet_exp.sweeps.resume import check_same_search, search_overrides

        other = [o for o in given if not o.startswith((*RESUMABLE, *OF_RESUMED_SEARCH))]
        if other:
            allowed = "sweep.* flags, its budgets, seeds= and confirm="
            raise ConfigError(f"{other[0]}: a search that is resumed has its space already; allowed are {allowed}")
        search = SearchSweeper(None)
        search.hydra_context, search.config = self.hydra_context, self.config
        planned = search.planned(search_overrides(sweep, asked, given))
        check_same_search(planned.sweep, sweep)
        more = [o for o in given if o.startswith(OF_RESUMED_SEARCH)]
        return search.search(planned, " ".join([sweep.started().command, *map(shlex.quote, more)]))

    def _run(self, sweep: Any, jobs: list[Any], config: Any, asked: Any) -> Any:
        from lenet_exp.outputs import check_outputs
        from lenet_exp.reports.terminal.progress import display
        from lenet_exp.sweeps.estimate import print_estimate
        from lenet_exp.sweeps.session import sweep_session

        self._check_workers()
        if config.sweep.dry_run:
            print_estimate(sweep, jobs, config)
            return []
        check_outputs(sweep.outputs)
        if config.sweep.force or any(job.folder.whole_result() is None for job in jobs):
            self._check_cluster(jobs)
        if config.sweep.detach:
            from lenet_exp.sweeps.detach import detach

            detach(self._launcher(sweep, config)[0], sweep, jobs, config, asked)
            return []
        with sweep_session(sweep, jobs, config, asked) as session:
            missing = session.missing()
            if missing:
                with display.sweep():
                    self._train(session, missing)
        return []

    def _check_workers(self) -> None:
        assert self.config is not None
        workers = self.config.hydra.launcher.get("workers")
        if workers is not None and not (isinstance(workers, int) and workers >= 1):
            raise ConfigError(f"hydra.launcher.workers={workers}: allowed is 1 or more")

    def _check_cluster(self, jobs: list[Any]) -> None:
        """Before anything is written."""
        from hydra.core.plugins import Plugins

        from lenet_exp.executors.executor import ChecksFirst
        from lenet_exp.sweeps.job import task_of
        from lenet_exp.sweeps.workers import cores_of

        assert self.config is not None
        assert self.hydra_context is not None
        if not str(self.config.hydra.launcher._target_).startswith("hydra_plugins.lenet_exp_"):
            return
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=task_of(None), config=self.config
        )
        if isinstance(launcher, ChecksFirst):
            launcher.check(cores_of(jobs))

    def _train(self, session: Any, missing: list[Any]) -> None:
        """By the executor of a launcher of ours, else as Hydra launches jobs."""
        from lenet_exp.executors.executor import GivesExecutor
        from lenet_exp.runs.jobs import tell_engines
        from lenet_exp.sweeps.launching import here, launch

        tell_engines(missing)
        launcher, environment = self._launcher(session.sweep, session.config, session.beside)
        if isinstance(launcher, GivesExecutor):
            session.train(missing, launcher, environment, like=missing)
        else:
            assert self.config is not None
            launch(launcher, session, missing, in_this_process=here(self.config))

    def _launcher(self, sweep: Any, typed: Any, delivery: Any = None) -> tuple[Any, Any]:
        """The configured launcher, for the jobs of this sweep, and the environment of its processes.

        Args:
            delivery: of jobs that train in this process.
        """
        from hydra.core.plugins import Plugins

        from lenet_exp.sweeps.job import task_of
        from lenet_exp.sweeps.launching import JobLoader, here

        assert self.config is not None
        assert self.hydra_context is not None
        config = copy.deepcopy(self.config)
        with open_dict(config):
            config.hydra.sweep.dir = str(sweep.path)
            config.sweep = OmegaConf.structured(typed.sweep)
        loader = cast(ConfigLoader, JobLoader(sweep.path))
        context = HydraContext(config_loader=loader, callbacks=self.hydra_context.callbacks)
        task = task_of(delivery if here(config) else None)
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        return launcher, OmegaConf.to_container(config.hydra.job.env_set, resolve=True)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


class SearchSweeper(GridSweeper):
    """Asks Optuna for one job after the other; what it searches is spelt as a grid is."""

    name = "search"

    def _start(self, given: list[str]) -> Any:
        from lenet_exp.machine import command_line

        return self.search(self.planned(given), command_line())

    def planned(self, given: list[str]) -> Any:
        """The search that these overrides ask for, checked."""
        from functools import partial

        from hydra.core.plugins import Plugins
        from hydra.plugins.launcher import Launcher

        from lenet_exp.search.sampling import check_installed

        check_installed()  # before what imports Optuna
        from lenet_exp.search.plan import plan_search

        assert self.config is not None
        assert self.hydra_context is not None
        name = str(self.config.hydra.launcher._target_)
        launchers = {f"{found.__module__}.{found.__name__}": found for found in Plugins.instance().discover(Launcher)}
        if not hasattr(launchers.get(name), "executor"):  # as of `GivesExecutor`
            raise ConfigError(
                f"hydra/launcher ({name.rpartition('.')[2]}): a search needs one that takes jobs one by one; "
                "allowed is hydra/launcher=local, cluster_ray or cluster_slurm"
            )
        self._check_workers()
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(given)
        return plan_search(overrides, partial(loader.load_sweep_config, self.config))

    def search(self, planned: Any, command: str) -> Any:
        """Starts it, or goes on with it.

        Args:
            command: the line that asks for it, to keep.
        """
        from lenet_exp.confirmation.start import confirm_search
        from lenet_exp.search.plan import print_plan
        from lenet_exp.search.search import SearchRun
        from lenet_exp.sweeps.session import Asked, sweep_session

        assert self.config is not None
        if planned.config.sweep.dry_run:
            print_plan(planned)
            return []
        self._check_cluster(planned.corners)
        asked = Asked(command, planned.overrides, [flag.name for flag in planned.flags], planned.asked)
        if planned.config.sweep.detach:
            from lenet_exp.sweeps.detach import detach

            launcher, _ = self._launcher(planned.sweep, planned.config)
            detach(launcher, planned.sweep, planned.corners, planned.config, asked)
            return []
        search = SearchRun(planned)
        failed = None
        try:
            with sweep_session(planned.sweep, search.open, planned.config, asked) as session:
                search.run(session, *self._launcher(session.sweep, session.config, session.beside))
        except RunsFailed as e:  # of some trials, perhaps
            failed = e
        where = [o for o in self.config.hydra.overrides.hydra if o.lstrip("+").startswith(OF_LAUNCHER)]
        if confirm_search(planned.sweep, planned.confirm, planned.config.tracking.uri, where) or failed is not None:
            raise failed or RunsFailed
        return []
