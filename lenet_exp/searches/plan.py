"""Plans a search: checks its flags before training starts, and derives the name of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from hydra.core.override_parser.types import Override
from optuna.trial import FrozenTrial

from lenet_exp.addresses import hide_password
from lenet_exp.amounts import number_of
from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.compose import typed
from lenet_exp.config.fast_compose import Compose
from lenet_exp.config.metric import Metric
from lenet_exp.config.own_code import refresh
from lenet_exp.config.schema import Config, Cost, SamplerName, Search
from lenet_exp.config.search import BUDGETS, is_of_search
from lenet_exp.config.space import Choice, Flag, FloatRange, IntegerRange, flag_of, size
from lenet_exp.errors import ConfigError
from lenet_exp.folders.code_folder import code_of
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.outputs import outputs_dir
from lenet_exp.package_files import config_groups
from lenet_exp.reports.words.search_words import search_method
from lenet_exp.searches.flag_checks import check_search_flags, with_possible_pruner
from lenet_exp.searches.jobs import JobMaker
from lenet_exp.searches.sampling import has_start_option, new_pruner, new_sampler
from lenet_exp.sweeps.estimate import search_estimate_lines
from lenet_exp.training.schedule import first_after_warmup

# The name of a search's folder is a hash that includes these names, so they must stay the same.
TYPE_NAMES: dict[type, str] = {Choice: "Choice", IntegerRange: "Whole", FloatRange: "Real"}

# The defaults of the flags that the hash includes only if they are set.
OPTIONAL = {"target": None, "cost": Cost.seconds, "max_parameters": None}


@dataclass(frozen=True)
class PlannedSearch:
    """A search that can be started.

    Attributes:
        sweep: the sweep folder. Its name depends on the experiment, search space, fixed flags,
            sampler, and pruner, but not on the budgets.
        search: the sampler, pruner, and objective.
        plan: the method and budgets of the search, as stored in the sweep folder.
        maker: object that builds the configuration and the job of each trial.
        corners: jobs of the configurations that were checked (see `JobMaker.corners`).
        config: configuration of the first corner. Its `sweep.*` and `tracking.*` flags apply to the
            entire search.
        overrides: overrides in the command, with passwords hidden and without `sweep.*` flags.
        confirm: difference, in percentage points, that the confirmation of the best configuration
            must be able to detect; None if no confirmation was requested.
    """

    sweep: SweepFolder
    search: Search
    plan: SearchPlan
    maker: JobMaker
    corners: list[Job]
    config: Config
    overrides: list[str]
    confirm: float | None = None

    @property
    def flags(self) -> list[Flag]:
        """The searched flags."""
        return self.maker.flags

    @property
    def objective(self) -> SearchObjective:
        """The objective of the search."""
        metric = Metric.of(self.config.metric)
        return SearchObjective(self.search.objective, self.search.target, self.search.cost, metric)

    @property
    def study_name(self) -> str:
        """The name of the search's study in Optuna's database."""
        return f"lenet_exp {self.sweep.id}"

    @property
    def num_epoch(self) -> int:
        """The maximum number of epochs per trial."""
        epochs = [job.config.num_epoch for job in self.corners]
        # The corners lack networks that are too large, so the searched flag is also read.
        for flag in self.flags:
            if flag.name == "num_epoch":
                epochs += [int(str(end)) for end in flag.ends]
        return max(epochs)

    def first_pruned(self, job: Job) -> int:
        """Return the first epoch after which a job's run can be pruned: the end of its warm-up,
        unless an option sets the epoch at which the pruner starts."""
        if has_start_option(self.search):
            return 1
        return first_after_warmup(job.config.schedule, job.config.num_epoch)

    def job(self, trial: FrozenTrial, seed: int | None = None) -> Job:
        """Return the job of a trial in the study; see `JobMaker.job`."""
        values = self.maker.values(lambda flag: trial.params[flag.name])
        return self.maker.job(values, seed)

    def seed_number(self, job: Job) -> int:
        """Return the index of a job's seed among the seeds of its configuration; the first seed has
        index 0.
        """
        return job.config.seed - self.config.seed


def plan_search(
    overrides: Sequence[Override], compose: Compose, resumed: SweepFolder | None = None
) -> PlannedSearch:
    """Check a search and return its plan.

    The corners of the search space and a few random configurations are composed and checked.

    Args:
        overrides: all overrides in the command.
        compose: function that composes overrides with Hydra.
        resumed: search to resume, whose copied code is used; None for the current code.

    Raises:
        ConfigError, DataError: a flag or configuration of the search is invalid.
        HydraException: a configuration cannot be composed.
    """
    fixed_lines: list[str] = []
    swept_overrides: list[Override] = []
    for override in overrides:
        if override.is_sweep_override():
            swept_overrides.append(override)
        else:
            fixed_lines.append(str(override.input_line))

    flags = _searched_flags(swept_overrides)
    fixed = typed(compose(fixed_lines))
    check_search_flags(fixed, flags)
    search = with_possible_pruner(fixed.search)
    new_sampler(search, flags, 0)  # checks its options

    refresh()
    maker = JobMaker(
        compose,
        [line for line in fixed_lines if not is_of_search(line)],
        flags,
        search.max_parameters,
        code={} if resumed is None else code_of(resumed),
    )
    job_by_values = maker.corners()
    corners = list(job_by_values.values())
    first_values = next(iter(job_by_values))
    config = maker.config(dict(first_values))  # unlike that of a job, it has passwords

    planned = PlannedSearch(
        sweep=_folder(config, search, flags, corners),
        search=search,
        plan=_search_plan(fixed, search),
        maker=maker,
        corners=corners,
        config=config,
        overrides=_recorded_overrides(overrides),
        confirm=fixed.confirm,
    )
    new_pruner(search, planned.num_epoch)  # checks its options
    return planned


def _searched_flags(swept_overrides: Sequence[Override]) -> list[Flag]:
    groups = set(config_groups())
    flags = [flag_of(override, groups) for override in swept_overrides]
    if not flags:
        raise ConfigError(
            "hydra/sweeper=search: nothing to search; give at least one flag several values, "
            "for example 'optimizer.lr=tag(log,interval(1e-3,1))'"
        )

    names = [flag.name for flag in flags]
    for flag in flags:
        if names.count(flag.name) > 1:
            raise ConfigError(f"{flag.typed}: {flag.name} is set twice; set it only once")
    return flags


def _search_plan(config: Config, search: Search) -> SearchPlan:
    return SearchPlan(
        sampler=search.sampler.value,
        pruner=search.pruner.value,
        objective=search.objective.value,
        n_trials=config.n_trials,
        max_epochs=config.max_epochs,
        max_seconds=config.max_seconds,
        seeds=config.seeds,
        target=search.target,
        cost=search.cost.value,
        max_parameters=search.max_parameters,
    )


def _recorded_overrides(overrides: Sequence[Override]) -> list[str]:
    """Return the overrides in a command without `sweep.*` flags, with passwords hidden."""
    lines = [str(override.input_line) for override in overrides]
    return [hide_password(line) for line in lines if not line.lstrip("+").startswith("sweep.")]


def _folder(
    config: Config, search: Search, flags: Sequence[Flag], corners: Sequence[Job]
) -> SweepFolder:
    """Return the sweep folder.

    Its name is the first 16 hexadecimal digits of a hash of the experiment, the search method, the
    search space, and the runs of the corners.
    """
    method = asdict(search)
    for name, default in OPTIONAL.items():
        if method[name] == default:
            del method[name]
    space = [[flag.name, TYPE_NAMES[type(flag.values)], asdict(flag.values)] for flag in flags]
    runs = [job.run for job in corners]

    identity = [config.tracking.experiment, method, space, runs]
    text = json.dumps(identity, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return SweepFolder(outputs_dir() / "sweeps" / digest[:16])


def plan_lines(planned: PlannedSearch) -> list[str]:
    """Return the lines that a dry run prints to describe a search."""
    plan = planned.plan
    budgets: list[str] = []
    for budget in BUDGETS:
        value = getattr(plan, budget)
        if value is not None:
            budgets.append(f"{budget}={value:g}")

    most_epochs = number_of(planned.num_epoch, "epoch")
    seeds = f", up to {plan.seeds} seeds" if plan.seeds > 1 else ""
    checked = number_of(len(planned.corners), "configuration")
    estimated_plan = replace(plan, n_trials=_most_trials(planned))
    return [
        f"search {planned.sweep.id}: {search_method(plan)}",
        *(f"  {flag.typed}" for flag in planned.flags),
        f"  {', '.join(budgets) or 'the full grid'}",
        f"  each trial: at most {most_epochs}{seeds}; {checked} checked",
        *search_estimate_lines(estimated_plan, planned.corners, planned.config),
    ]


def _most_trials(planned: PlannedSearch) -> int | None:
    """Return the maximum number of trials; None if it is not limited."""
    limits: list[int] = []
    if planned.plan.n_trials is not None:
        limits.append(planned.plan.n_trials)
    if planned.search.sampler is SamplerName.grid:
        grid_points = size(planned.flags)
        if grid_points is not None:
            limits.append(grid_points)
    return min(limits, default=None)
