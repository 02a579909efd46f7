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
OURS = {"seed", "search_space", "independent_sampler", "constraints_func", "gamma", "weights"}
OURS |= {"max_resource", "warn_independent_sampling", "warn_asynchronous_seeding"}
OLDEST = 5  # oldest supported major version of Optuna
# ASHA's reduction factor; this value and the next were chosen with benchmarks/search_small.py
REDUCTION_FACTOR = 2
FIRST_SHARE = 1 / 2  # fraction of the epochs after which ASHA first compares trials
BEGINS = {  # for each pruner, the option that sets the epoch at which it starts
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
    if int(optuna.__version__.partition(".")[0]) < OLDEST:
        raise ConfigError(
            f"hydra/sweeper=search: Optuna {optuna.__version__} is too old; run: pip install 'lenet_exp[search]'"
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

    independent = samplers.RandomSampler(seed)
    make: partial[Any] = partial(samplers.TPESampler, seed=seed)
    if search.sampler is SamplerName.grid:  # the seed determines the order of the points
        make = partial(samplers.GridSampler, _grid(flags), seed=search.seed % 2**32)
    elif search.sampler is SamplerName.qmc:  # one sequence for all trials of the search
        make = partial(
            samplers.QMCSampler, seed=search.seed % 2**32, independent_sampler=independent
        )
        make = partial(make, warn_independent_sampling=False, warn_asynchronous_seeding=False)
    elif search.sampler is SamplerName.gp:
        make = partial(
            samplers.GPSampler,
            seed=seed,
            independent_sampler=independent,
            warn_independent_sampling=False,
        )
    elif search.sampler is SamplerName.random:
        make = partial(samplers.RandomSampler, seed=seed)
    return _made(make, search.sampler_options, "search.sampler_options")


def new_pruner(search: Search, num_epoch: int, first: int = 1) -> Any:
    """Return the pruner of a search.

    Args:
        num_epoch: the maximum number of epochs per trial.
        first: the epoch before which no trial is pruned, unless an option sets that epoch.

    Raises:
        ConfigError: an option is invalid.
    """
    from optuna import pruners

    make: partial[Any] = partial(pruners.NopPruner)
    if search.pruner is PrunerName.asha:  # Optuna's default would wait for the first finished trial
        start = max(first, math.ceil(FIRST_SHARE * num_epoch))
        make = partial(
            pruners.SuccessiveHalvingPruner, min_resource=start, reduction_factor=REDUCTION_FACTOR
        )
    elif search.pruner is PrunerName.hyperband:
        make = partial(
            pruners.HyperbandPruner, min_resource=min(first, num_epoch), max_resource=num_epoch
        )
    elif search.pruner is PrunerName.median:
        make = partial(pruners.MedianPruner, n_warmup_steps=first if first > 1 else 0)
    return _made(make, search.pruner_options, "search.pruner_options")


def has_start_option(search: Search) -> bool:
    """Return whether the user set the epoch at which the pruner starts.

    If the user did not set it, no trial is pruned during its warm-up.
    """
    return BEGINS.get(search.pruner) in search.pruner_options


def suggest(trial: Any, flag: Flag) -> object:
    """Return the value that an Optuna trial suggests for a flag."""
    values = flag.values
    if isinstance(values, Choice):
        return trial.suggest_categorical(flag.name, values.options)
    draw = trial.suggest_int if isinstance(values, IntegerRange) else trial.suggest_float
    return draw(flag.name, values.low, values.high, step=values.step, log=values.log)


def _grid(flags: Sequence[Flag]) -> dict[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {}
    for flag in flags:
        values = flag.values.all
        if values is None:
            raise ConfigError(f"search.sampler=grid: {flag.typed} must be a list or a range")
        found[flag.name] = values
    return found


def _made(make: partial[Any], options: Mapping[str, object], where: str) -> Any:
    """Create a sampler or pruner with the user's options, which replace those in `make`.

    Raises:
        ConfigError: an option is unknown, or its value is invalid.
    """
    known = [name for name in inspect.signature(make.func).parameters if name not in OURS]
    for name, value in options.items():
        if name not in known:
            there = (
                f"; expected one of: {', '.join(known)}"
                if known
                else f"; {make.func.__name__} has no options"
            )
            raise ConfigError(
                f"{where}.{name}={value}: unknown option{did_you_mean(name, known) or there}"
            )
        if not isinstance(value, bool | int | float | str) or value == "auto":
            raise ConfigError(f"{where}.{name}={value}: must be a number, true, false, or a word")
    try:
        return make(**options)
    except (TypeError, ValueError) as e:
        given = ", ".join(f"{where}.{name}={value}" for name, value in options.items())
        raise ConfigError(f"{given}: {first_line(e)}") from e
