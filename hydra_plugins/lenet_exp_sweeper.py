"""The sweepers `hydra/sweeper=grid` and `hydra/sweeper=search`.

They adapt lenet_exp.sweeps and lenet_exp.searches. Hydra loads this module in every application,
so it imports most modules only when needed. Hydra does not add it to sys.modules, so the evaluation
of annotations cannot be postponed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from lenet_exp.errors import ConfigError, RunsFailed
from lenet_exp.waiting import READING_OPTIONS, print_waiting, with_progress

if TYPE_CHECKING:
    from lenet_exp.config.fast_compose import Compose
    from lenet_exp.folders.sweep_folder import SweepFolder
    from lenet_exp.searches.plan import PlannedSearch
    from lenet_exp.sweeps.launching import HydraLaunching

# Starts of the overrides that also apply to the confirmation after a search.
OF_CONFIRMATION = ("hydra/launcher", "hydra.launcher.", "sweep.on_end=")


@dataclass
class GridSweeperConf:
    """Options of `hydra/sweeper=grid`."""

    _target_: str = "hydra_plugins.lenet_exp_sweeper.GridSweeper"
    params: dict[str, str] | None = None


@dataclass
class SearchSweeperConf(GridSweeperConf):
    """Options of `hydra/sweeper=search`."""

    _target_: str = "hydra_plugins.lenet_exp_sweeper.SearchSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="lenet_exp"
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="search", node=SearchSweeperConf, provider="lenet_exp"
)


class GridSweeper(Sweeper):
    """Sweeper that trains all combinations of the swept flags.

    The syntax is that of `hydra/sweeper=basic`.
    """

    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, params: Mapping[str, str] | None) -> None:
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store Hydra's context and the configuration."""
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: list[str]) -> list[object]:
        """Start or resume a sweep.

        Args:
            arguments: overrides from the command line.
        """
        READING_OPTIONS.end()
        overrides = [f"{flag}={values}" for flag, values in self.params.items()]
        overrides += arguments
        if any(map(_resumes_sweep, overrides)):
            self.resume(overrides)
        else:
            self.start(overrides)
        return []

    def start(self, overrides: list[str]) -> None:
        """Compose and check the jobs of a grid, and train them.

        Args:
            overrides: overrides from the command line and from `hydra.sweeper.params`.
        """
        from lenet_exp.config.fast_compose import FastComposer
        from lenet_exp.config.grid import compose_jobs, expand_grid

        flags = cast(Mapping[str, object], OmegaConf.to_container(self.config.sweep, resolve=True))
        parsed = self.parsed(overrides)
        jobs = expand_grid(
            parsed,
            zipped=flags.get("zip"),
            most=flags.get("max_jobs"),
            skipped=flags.get("skip"),
        )

        swept = {o.get_key_element() for o in parsed if o.is_sweep_override()}
        without_swept = None if self.params else self.config  # `config` does not contain `params`
        composer = FastComposer(self.compose, without=without_swept, swept=swept)
        show_progress = partial(with_progress, "composing configurations")
        configs = compose_jobs(jobs, composer.config, show_progress)

        self.check_launcher()
        self.load()
        from lenet_exp.sweeps.grid import plan_grid, train_grid

        plan = plan_grid(parsed, jobs, configs)
        train_grid(plan, self.launching)

    def resume(self, overrides: list[str]) -> None:
        """Resume the grid or search that `sweep.resume=` specifies.

        The sweeper of the command does not matter.
        """
        self.load()
        from lenet_exp.runs.former_defaults import former_overrides
        from lenet_exp.sweeps import resume
        from lenet_exp.sweeps.grid import train_grid

        sweep, present_flags = resume.resumed_sweep(overrides, self.compose)
        if sweep.started().search is None:
            plan = resume.plan_resumed(sweep, overrides, self.compose)
            self.check_launcher()
            train_grid(plan, self.launching)
            return

        search_overrides = resume.search_overrides(sweep, present_flags, overrides)
        planned = self.plan_search(search_overrides, sweep)
        # The search may have been started by a release with other default values.
        former_defaults = former_overrides(search_overrides)
        if planned.sweep.id != sweep.id and former_defaults:
            planned = self.plan_search([*search_overrides, *former_defaults], sweep)
        resume.check_same_search(planned.sweep, sweep)
        self.search(planned, resume.resumed_command(sweep, overrides))

    def plan_search(
        self, overrides: list[str], resumed: "SweepFolder | None" = None
    ) -> "PlannedSearch":
        """Check a search and return its plan.

        Args:
            overrides: overrides of the search.
            resumed: search to resume with `sweep.resume=`.
        """
        from lenet_exp.searches.sampling import check_installed

        check_installed()  # before the imports that need Optuna
        from lenet_exp.searches.plan import plan_search

        self.check_launcher(search=True)
        return plan_search(self.parsed(overrides), self.compose, resumed)

    def search(self, planned: "PlannedSearch", command: str) -> None:
        """Run a search, and then confirm its best configuration if requested.

        Args:
            planned: plan of the search.
            command: command to record.

        Raises:
            RunsFailed: some trials failed, or the confirmation failed.
        """
        from lenet_exp.confirmation.start import confirm_search
        from lenet_exp.searches.start import train_search

        have_trials_failed = False
        try:
            train_search(planned, command, self.launching)
        except RunsFailed:
            have_trials_failed = True

        has_confirmation_failed = confirm_search(planned, self.overrides_of_confirmation())
        if has_confirmation_failed or have_trials_failed:
            raise RunsFailed

    def overrides_of_confirmation(self) -> list[str]:
        """Return the command's overrides that also apply to the confirmation after a search."""
        # Interpolations are not resolved.
        overrides = cast(
            Mapping[str, list[str]], OmegaConf.to_container(self.config.hydra.overrides)
        )
        of_confirmation = []
        for override in (*overrides["hydra"], *overrides["task"]):
            if override.lstrip("+").startswith(OF_CONFIRMATION):
                of_confirmation.append(override)
        return of_confirmation

    def load(self) -> None:
        """Check the store, start logging to the terminal, and show a message.

        The imports after this call take seconds.
        """
        from lenet_exp.folders.find import has_finished
        from lenet_exp.machine import command_line
        from lenet_exp.tracking.stores.usable import check_tracking_uri
        from lenet_exp.tracking.uploader.client import start_uploader

        check_tracking_uri(self.config.tracking.uri)
        # A finished sweep that runs again rarely needs the process.
        if not self.config.sweep.dry_run and not has_finished(command_line()):
            start_uploader()  # it imports mlflow while this process imports torch
        print_waiting("loading PyTorch")
        from lenet_exp.reports.terminal.log_output import log_to_console

        log_to_console()

    def check_launcher(self, search: bool = False) -> None:
        """Check that lenet_exp supports the selected launcher, and check the launcher's options.

        Args:
            search: whether the sweep is a search, which needs a launcher that accepts jobs one at a
                time.

        Raises:
            ConfigError: the launcher is not supported, an option does not exist, or
                `hydra.launcher.workers` is not a positive integer.
        """
        providers = {"lenet_exp"} if search else {"lenet_exp", "hydra"}
        supported = {}  # launchers by the path of their class
        for option in ConfigStore.instance().repo["hydra"]["launcher"].values():
            if option.provider in providers:
                supported[option.node._target_] = option

        launcher = self.config.hydra.launcher
        name = self.config.hydra.runtime.choices["hydra/launcher"]
        if launcher.get("_target_") not in supported:
            names = sorted(option.name.removesuffix(".yaml") for option in supported.values())
            raise ConfigError(f"hydra/launcher={name}: expected one of: {', '.join(names)}")

        unknown = sorted(set(launcher) - set(supported[launcher._target_].node))
        if unknown:
            raise ConfigError(
                f"hydra.launcher.{unknown[0]}: unknown option of hydra/launcher={name}"
            )
        workers = launcher.get("workers")
        if workers is not None and not (isinstance(workers, int) and workers >= 1):
            raise ConfigError(f"hydra.launcher.workers={workers}: must be an integer of at least 1")

    def parsed(self, overrides: list[str]) -> list[Override]:
        """Return the overrides, parsed with Hydra's parser."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(overrides)

    @cached_property
    def compose(self) -> "Compose":
        """Function that composes a configuration from a job's overrides."""

        def compose(overrides: list[str]) -> DictConfig:
            with READING_OPTIONS:
                return self.hydra_context.config_loader.load_sweep_config(self.config, overrides)

        return compose

    @cached_property
    def launching(self) -> "HydraLaunching":
        """Object that launches the sweep's jobs with the selected launcher."""
        from lenet_exp.sweeps.launching import HydraLaunching
        from lenet_exp.tracking.uploader.uploads import follow_sweep

        launcher_class = str(self.config.hydra.launcher._target_)
        is_on_this_machine = launcher_class.endswith((".LocalLauncher", ".BasicLauncher"))
        follow = partial(follow_sweep, rests=is_on_this_machine)
        return HydraLaunching(context=self.hydra_context, config=self.config, follow=follow)


def _resumes_sweep(override: str) -> bool:
    """Return whether an override is `sweep.resume=` with a value."""
    is_resume = override.lstrip("+").startswith("sweep.resume=")
    return is_resume and not override.endswith("=null")


class SearchSweeper(GridSweeper):
    """Sweeper that samples one trial at a time with Optuna.

    The search space has the same syntax as a grid.
    """

    def start(self, overrides: list[str]) -> None:
        """Check the search space, and then run the search."""
        from lenet_exp.config.space import check_space

        check_space(self.parsed(overrides), self.config)
        self.load()
        from lenet_exp.machine import command_line

        planned = self.plan_search(overrides)
        self.search(planned, command_line())
