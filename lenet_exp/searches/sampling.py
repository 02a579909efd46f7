"""Creates Optuna samplers and pruners for a search. Each trial gets a sampler with its own seed.

CMA-ES is not supported, because Optuna's implementation stores its state as a pickle in the study.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lenet_exp.config.schema import PrunerName, SamplerName, Search
from lenet_exp.config.space import Choice, Flag, IntegerRange
from lenet_exp.errors import ConfigError, did_you_mean, first_line

# Options that users cannot set, because this module sets them or because their values are not plain
# numbers or words.
OWN_OPTIONS = {
    "seed",
    "search_space",
    "independent_sampler",
    "constraints_func",
    "gamma",
    "weights",
    "max_resource",
    "warn_independent_sampling",
    "warn_asynchronous_seeding",
}

OLDEST_OPTUNA = 5  # oldest supported major version

# ASHA's reduction factor, and the fraction of the epochs after which it first compares trials. They
# were chosen with benchmarks/search_small.py.
REDUCTION_FACTOR = 2
FIRST_SHARE = 1 / 2

# For each pruner, the option that sets the epoch at which it starts.
START_OPTIONS = {
    PrunerName.asha: "min_resource",
    PrunerName.hyperband: "min_resource",
    PrunerName.median: "n_warmup_steps",
}


def check_installed() -> None:
    """Check that Optuna is installed.

    Raises:
        ConfigError: Optuna is not installed or is too old.
    """
    try:
        import optuna
    except ImportError as e:
        raise ConfigError(
            "hydra/sweeper=search: requires Optuna; run: pip install 'lenet_exp[search]'"
        ) from e
    major_version = int(optuna.__version__.partition(".")[0])
    if major_version < OLDEST_OPTUNA:
        raise ConfigError(
            f"hydra/sweeper=search: Optuna {optuna.__version__} is too old; "
            "run: pip install 'lenet_exp[search]'"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def seed_of(search: Search, trial: int, attempt: int) -> int:
    """Return the seed for a trial's sampler; the seed does not depend on earlier draws."""
    text = f"{search.seed}/{trial}/{attempt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4])


def new_sampler(search: Search, flags: Sequence[Flag], seed: int) -> Any:
    """Return the sampler for a single trial.

    Raises:
        ConfigError: an option is invalid, or the sampler is grid and a flag is neither a list nor a
            range.
    """
    from optuna import samplers

    # One order of the grid, and one QMC sequence, serve all trials of the search.
    search_seed = search.seed % 2**32
    independent = samplers.RandomSampler(seed)
    make: partial[Any]
    match search.sampler:
        case SamplerName.grid:
            make = partial(samplers.GridSampler, _grid(flags), seed=search_seed)
        case SamplerName.qmc:
            make = partial(
                samplers.QMCSampler,
                seed=search_seed,
                independent_sampler=independent,
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
        case SamplerName.gp:
            make = partial(
                samplers.GPSampler,
                seed=seed,
                independent_sampler=independent,
                warn_independent_sampling=False,
            )
        case SamplerName.random:
            make = partial(samplers.RandomSampler, seed=seed)
        case SamplerName.tpe:
            make = partial(samplers.TPESampler, seed=seed)
    return _with_options(make, search.sampler_options, "search.sampler_options")


def new_pruner(search: Search, num_epoch: int, first: int = 1) -> Any:
    """Return the pruner of a search.

    Args:
        num_epoch: the maximum number of epochs per trial.
        first: the epoch before which no trial is pruned, unless an option sets that epoch.

    Raises:
        ConfigError: an option is invalid.
    """
    from optuna import pruners

    make: partial[Any]
    match search.pruner:
        case PrunerName.asha:
            # By default, Optuna would wait for the first finished trial.
            start = max(first, math.ceil(FIRST_SHARE * num_epoch))
            make = partial(
                pruners.SuccessiveHalvingPruner,
                min_resource=start,
                reduction_factor=REDUCTION_FACTOR,
            )
        case PrunerName.hyperband:
            start = min(first, num_epoch)
            make = partial(pruners.HyperbandPruner, min_resource=start, max_resource=num_epoch)
        case PrunerName.median:
            warm_up = first if first > 1 else 0
            make = partial(pruners.MedianPruner, n_warmup_steps=warm_up)
        case PrunerName.none:
            make = partial(pruners.NopPruner)
    return _with_options(make, search.pruner_options, "search.pruner_options")


def has_start_option(search: Search) -> bool:
    """Return whether the user set the epoch at which the pruner starts.

    If the user did not set it, no trial is pruned during its warm-up.
    """
    return START_OPTIONS.get(search.pruner) in search.pruner_options


def suggest(trial: Any, flag: Flag) -> object:
    """Return the value that an Optuna trial suggests for a flag."""
    values = flag.values
    if isinstance(values, Choice):
        return trial.suggest_categorical(flag.name, values.options)
    suggest_number = trial.suggest_float
    if isinstance(values, IntegerRange):
        suggest_number = trial.suggest_int
    return suggest_number(flag.name, values.low, values.high, step=values.step, log=values.log)


def _grid(flags: Sequence[Flag]) -> dict[str, Sequence[Any]]:
    """Return all values of each flag.

    Raises:
        ConfigError: a flag is neither a list nor a range.
    """
    grid: dict[str, Sequence[Any]] = {}
    for flag in flags:
        values = flag.values.all
        if values is None:
            raise ConfigError(f"search.sampler=grid: {flag.typed} must be a list or a range")
        grid[flag.name] = values
    return grid


def _with_options(make: partial[Any], options: Mapping[str, object], where: str) -> Any:
    """Create a sampler or pruner with the user's options, which replace those in `make`.

    Args:
        make: the class of the sampler or pruner, with its arguments.
        options: the user's options.
        where: flag that contains the options, such as `search.pruner_options`.

    Raises:
        ConfigError: an option is unknown, or its value is invalid.
    """
    for name, value in options.items():
        _check_option(make, name, value, where)
    try:
        return make(**options)
    except (TypeError, ValueError) as e:
        typed = ", ".join(f"{where}.{name}={value}" for name, value in options.items())
        raise ConfigError(f"{typed}: {first_line(e)}") from e


def _check_option(make: partial[Any], name: str, value: object, where: str) -> None:
    known_options: list[str] = []
    for parameter in inspect.signature(make.func).parameters:
        if parameter not in OWN_OPTIONS:
            known_options.append(parameter)

    if name not in known_options:
        if known_options:
            expected = f"; expected one of: {', '.join(known_options)}"
        else:
            expected = f"; {make.func.__name__} has no options"
        hint = did_you_mean(name, known_options) or expected
        raise ConfigError(f"{where}.{name}={value}: unknown option{hint}")

    is_plain = isinstance(value, bool | int | float | str)
    if not is_plain or value == "auto":
        raise ConfigError(f"{where}.{name}={value}: must be a number, true, false, or a word")
