"""Optuna's samplers and pruners as a search asks for them; the sampler of each trial has a seed of its own.

Left out is CMA-ES: Optuna's keeps its state as a pickle in the study.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lenet_exp.config.schema import PrunerName, SamplerName, Search
from lenet_exp.config.space import Choice, Flag, IntegerRange
from lenet_exp.errors import ConfigError, first_line, nearest

OURS = {"seed", "search_space", "independent_sampler", "constraints_func", "gamma", "weights"}  # set here, or no values
OURS_TOO = {"max_resource", "warn_independent_sampling", "warn_asynchronous_seeding"}
OLDEST = 5  # of Optuna
RULES = 2  # the defaults of a new study; those of an older one, which keeps them, are 1
REDUCTION_FACTOR = 2  # of asha; this and the next one were chosen by benchmarks/search_small.py
FIRST_SHARE = 1 / 2  # of the epochs, after which asha compares
BEGINS = {  # the option that says after which epoch a pruner begins
    PrunerName.asha: "min_resource",
    PrunerName.hyperband: "min_resource",
    PrunerName.median: "n_warmup_steps",
}


def check_installed() -> None:
    """Raises:
    ConfigError: Optuna is not there, or too old.
    """
    try:
        import optuna
    except ImportError as e:
        raise ConfigError("hydra/sweeper=search needs Optuna: pip install 'lenet_exp[search]'") from e
    if int(optuna.__version__.partition(".")[0]) < OLDEST:
        raise ConfigError(
            f"hydra/sweeper=search: Optuna {optuna.__version__} is too old: pip install 'lenet_exp[search]'"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def seed_of(search: Search, trial: int, attempt: int) -> int:
    """The seed of one trial's sampler: nothing of it depends on what a process drew before."""
    text = f"{search.seed}/{trial}/{attempt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4])


def new_sampler(search: Search, flags: Sequence[Flag], seed: int) -> Any:
    """The sampler for one trial.

    Raises:
        ConfigError: an option is none, or the grid sampler has no values to go through.
    """
    from optuna import samplers

    if search.sampler is SamplerName.grid:  # it numbers its points in an order of the seed's
        made: Callable[..., Any] = samplers.GridSampler
        own: dict[str, Any] = {"search_space": _grid(flags), "seed": search.seed % 2**32}
    elif search.sampler is SamplerName.qmc:  # one sequence for all trials
        made, own = samplers.QMCSampler, {"seed": search.seed % 2**32}
        own["independent_sampler"] = samplers.RandomSampler(seed)
        own |= {"warn_independent_sampling": False, "warn_asynchronous_seeding": False}
    elif search.sampler is SamplerName.gp:
        made, own = samplers.GPSampler, {"seed": seed, "independent_sampler": samplers.RandomSampler(seed)}
        own |= {"warn_independent_sampling": False}
    elif search.sampler is SamplerName.random:
        made, own = samplers.RandomSampler, {"seed": seed}
    else:
        made, own = samplers.TPESampler, {"seed": seed}
    return _made(made, own, search.sampler_options, "search.sampler_options")


def new_pruner(search: Search, num_epoch: int, first: int = 1, rules: int = RULES) -> Any:
    """Args:
    num_epoch: the most that a trial may train.
    first: the epoch before which it prunes nothing, unless an option says when it begins.
    rules: the defaults of the study: 1 for those of Optuna.

    Raises:
        ConfigError: an option is none.
    """
    from optuna import pruners

    own: dict[str, Any] = {}
    made: Callable[..., Any] = pruners.NopPruner
    if search.pruner is PrunerName.asha:  # Optuna's own would wait for a first trial that is not pruned
        made, own = pruners.SuccessiveHalvingPruner, {"min_resource": first}
        if rules > 1:
            own["min_resource"] = max(first, math.ceil(FIRST_SHARE * num_epoch))
            own["reduction_factor"] = REDUCTION_FACTOR
    elif search.pruner is PrunerName.hyperband:
        made, own = pruners.HyperbandPruner, {"min_resource": min(first, num_epoch), "max_resource": num_epoch}
    elif search.pruner is PrunerName.median:
        made, own = pruners.MedianPruner, {"n_warmup_steps": first} if first > 1 else {}
    own = {name: value for name, value in own.items() if name not in search.pruner_options}
    return _made(made, own, search.pruner_options, "search.pruner_options")


def has_start_option(search: Search) -> bool:
    """Whether a person said after which epoch the pruner begins; otherwise it spares what is in its warm-up."""
    return BEGINS.get(search.pruner) in search.pruner_options


def suggest(trial: Any, flag: Flag) -> object:
    """A value of a flag for an Optuna trial."""
    values = flag.values
    if isinstance(values, Choice):
        return trial.suggest_categorical(flag.name, values.options)
    if isinstance(values, IntegerRange):
        return trial.suggest_int(flag.name, values.low, values.high, step=values.step, log=values.log)
    return trial.suggest_float(flag.name, values.low, values.high, step=values.step, log=values.log)


def _grid(flags: Sequence[Flag]) -> dict[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {}
    for flag in flags:
        values = flag.values.all
        if values is None:
            raise ConfigError(
                f"search.sampler=grid: {flag.typed} has no values to go through; must be a list or a range"
            )
        found[flag.name] = values
    return found


def _made(cls: Callable[..., Any], own: Mapping[str, Any], options: Mapping[str, Any], where: str) -> Any:
    """Made with a person's options, each of which is a number, true, false or a word."""
    known = [name for name in inspect.signature(cls).parameters if name not in OURS | OURS_TOO]
    for name, value in options.items():
        if name not in known:
            hint = nearest(name, known)
            there = f"there are {', '.join(known)}" if known else f"{cls.__name__} has none"
            raise ConfigError(
                f"{where}.{name}={value}: no such option; " + (f"did you mean {hint}?" if hint else there)
            )
        if not isinstance(value, bool | int | float | str) or value == "auto":
            raise ConfigError(f"{where}.{name}={value}: must be a number, true, false or a word")
    try:
        return cls(**own, **options)
    except (TypeError, ValueError) as e:
        given = ", ".join(f"{where}.{name}={value}" for name, value in options.items())
        raise ConfigError(f"{given}: {first_line(e)}") from e
