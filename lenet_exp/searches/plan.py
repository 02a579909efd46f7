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
from lenet_exp.config.check import check_ranges
from lenet_exp.config.compose import typed
from lenet_exp.config.fast_compose import Compose
from lenet_exp.config.metric import Metric
from lenet_exp.config.own_code import refresh
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.schema import Config, Cost, Objective, PrunerName, SamplerName, Search
from lenet_exp.config.search import BUDGETS, is_of_search
from lenet_exp.config.space import Choice, Flag, FloatRange, IntegerRange, flag_of, size
from lenet_exp.errors import ConfigError
from lenet_exp.folders.code_folder import code_of
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.outputs import outputs_dir
from lenet_exp.reports.words.search_words import search_method
from lenet_exp.searches.jobs import JobMaker
from lenet_exp.searches.sampling import has_start_option, new_pruner, new_sampler
from lenet_exp.sweeps.estimate import search_estimate_lines
from lenet_exp.training.schedule import first_after_warmup

# The name of a search's folder is a hash that includes these names, so they must stay the same.
KINDS: dict[type, str] = {Choice: "Choice", IntegerRange: "Whole", FloatRange: "Real"}

# Flags that the hash includes only if they are set.
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
        searched = [
            int(str(end)) for flag in self.flags if flag.name == "num_epoch" for end in flag.ends
        ]
        # corners lack too large networks
        return max([*(job.config.num_epoch for job in self.corners), *searched])

    def first_pruned(self, job: Job) -> int:
        """Return the first epoch after which a job's run can be pruned: the end of its warm-up,
        unless an option sets the epoch at which the pruner starts."""
        if has_start_option(self.search):
            return 1
        return first_after_warmup(job.config.schedule, job.config.num_epoch)

    def job(self, trial: FrozenTrial, seed: int | None = None) -> Job:
        """Return the job of a trial in the study; see `JobMaker.job`."""
        return self.maker.job(self.maker.values(lambda flag: trial.params[flag.name]), seed)

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
    lines = [str(o.input_line) for o in overrides]
    flags = _flags([o for o in overrides if o.is_sweep_override()])
    fixed = [line for line, o in zip(lines, overrides, strict=True) if not o.is_sweep_override()]
    given = typed(compose(fixed))
    _check_budgets(given)
    _check_sweep(given)
    _check_objective(given, flags)
    search = _with_pruner(given.search)
    new_sampler(search, flags, 0)
    refresh()
    code = {} if resumed is None else code_of(resumed)
    maker = JobMaker(
        compose,
        [line for line in fixed if not is_of_search(line)],
        flags,
        search.max_parameters,
        code=code,
    )
    by_values = maker.corners()
    corners = list(by_values.values())
    config = maker.config(dict(next(iter(by_values))))  # unlike that of a job, it has passwords
    plan = SearchPlan(
        sampler=search.sampler.value,
        pruner=search.pruner.value,
        objective=search.objective.value,
        n_trials=given.n_trials,
        max_epochs=given.max_epochs,
        max_seconds=given.max_seconds,
        seeds=given.seeds,
        target=search.target,
        cost=search.cost.value,
        max_parameters=search.max_parameters,
    )
    kept = [hide_password(line) for line in lines if not line.lstrip("+").startswith("sweep.")]
    sweep = _folder(config, search, flags, corners)
    planned = PlannedSearch(
        sweep=sweep,
        search=search,
        plan=plan,
        maker=maker,
        corners=corners,
        config=config,
        overrides=kept,
        confirm=given.confirm,
    )
    new_pruner(search, planned.num_epoch)
    return planned


def _flags(swept: Sequence[Override]) -> list[Flag]:
    flags = [flag_of(override, set(config_groups())) for override in swept]
    if not flags:
        raise ConfigError(
            "hydra/sweeper=search: nothing to search; give at least one flag several values, for example "
            "'optimizer.lr=tag(log,interval(1e-3,1))'"
        )
    names = [flag.name for flag in flags]
    twice = next((flag for flag in flags if names.count(flag.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice.typed}: {twice.name} is set twice; set it only once")
    return flags


def _check_budgets(config: Config) -> None:
    if (
        all(getattr(config, budget) is None for budget in BUDGETS)
        and config.search.sampler is not SamplerName.grid
    ):
        raise ConfigError(
            "hydra/sweeper=search: no budget; set n_trials=, max_epochs=, or max_seconds="
        )
    check_ranges(config)


def _check_objective(config: Config, flags: Sequence[Flag]) -> None:
    objective, target = config.search.objective, config.search.target
    metric = Metric.of(config.metric)
    if not metric.is_accuracy and objective is not Objective.accuracy:
        raise ConfigError(
            f"search.objective={objective}: must be accuracy, which stands for metric={metric.name}"
        )
    if objective is Objective.loss and any(flag.name.partition(".")[0] == "loss" for flag in flags):
        raise ConfigError("search.objective=loss: must be accuracy in a search over the loss")
    waits = objective in {Objective.epochs, Objective.seconds}
    if waits and target is None:
        raise ConfigError(
            f"search.objective={objective}: requires a target accuracy; for example, add search.target=0.98"
        )
    if not waits and target is not None:
        raise ConfigError(f"search.target={target:g}: requires search.objective=epochs or seconds")
    if config.search.cost is not Cost.seconds and objective is not Objective.front:
        raise ConfigError(f"search.cost={config.search.cost}: requires search.objective=front")
    if config.seeds > 1 and objective not in {Objective.accuracy, Objective.loss}:
        raise ConfigError(
            f"seeds={config.seeds}: must be 1 unless search.objective is accuracy or loss"
        )
    if (confirm := config.confirm) is not None:
        metric.require_points(f"confirm={confirm:g}")
        if config.seeds == 1:
            raise ConfigError(
                f"confirm={confirm:g}: requires several seeds per configuration, for example seeds=5"
            )
        if objective is not Objective.accuracy:
            raise ConfigError(f"confirm={confirm:g}: requires search.objective=accuracy")


def _with_pruner(search: Search) -> Search:
    """Disable the default pruner if the search has two objectives, which Optuna's pruners do not
    support.

    Raises:
        ConfigError: a pruner other than the default is set for two objectives.
    """
    if search.objective is not Objective.front or search.pruner is PrunerName.none:
        return search
    if search.pruner is not PrunerName.asha:  # asha is the default
        raise ConfigError(
            f"search.pruner={search.pruner}: must be none with search.objective=front"
        )
    return replace(search, pruner=PrunerName.none)


def _check_sweep(config: Config) -> None:
    """Check that no `sweep.*` flag that applies only to grids is set."""
    for flag in ("zip", "skip", "confirms", "points", "against", "force", "resume"):
        value = getattr(config.sweep, flag)
        if value not in (None, False, []):
            raise ConfigError(f"sweep.{flag}={value}: not available in a search; remove this flag")


def _folder(
    config: Config, search: Search, flags: Sequence[Flag], corners: Sequence[Job]
) -> SweepFolder:
    """Return the sweep folder.

    Its name is the first 16 hexadecimal digits of a hash of the experiment, the search method, the
    search space, and the runs of the corners.
    """
    how = {key: value for key, value in asdict(search).items() if OPTIONAL.get(key, ...) != value}
    space = [[flag.name, KINDS[type(flag.values)], asdict(flag.values)] for flag in flags]
    runs = [job.run for job in corners]
    text = json.dumps([config.tracking.experiment, how, space, runs], sort_keys=True, default=str)
    return SweepFolder(outputs_dir() / "sweeps" / hashlib.sha256(text.encode()).hexdigest()[:16])


def plan_lines(planned: PlannedSearch) -> list[str]:
    """Return the lines that a dry run prints to describe a search."""
    plan = planned.plan
    budgets = {budget: getattr(plan, budget) for budget in BUDGETS}
    given = [f"{name}={value:g}" for name, value in budgets.items() if value is not None]
    seeds = f", up to {plan.seeds} seeds" if plan.seeds > 1 else ""
    most, corners = number_of(planned.num_epoch, "epoch"), len(planned.corners)
    checked = f"{number_of(corners, 'configuration')} checked"
    points = size(planned.flags) if planned.search.sampler is SamplerName.grid else None
    trials = min((n for n in (plan.n_trials, points) if n is not None), default=None)
    return [
        f"search {planned.sweep.id}: {search_method(plan)}",
        *(f"  {flag.typed}" for flag in planned.flags),
        f"  {', '.join(given) or 'the full grid'}",
        f"  each trial: at most {most}{seeds}; {checked}",
        *search_estimate_lines(replace(plan, n_trials=trials), planned.corners, planned.config),
    ]
