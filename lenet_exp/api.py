"""The Python API: `lenet_exp.compose`, `train`, `sweep`, `search`, `compare`, `load`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenet_exp.config import compose as composing
from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError, one_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from lenet_exp.folders.results import RunResult
    from lenet_exp.searches.start import SearchResult
    from lenet_exp.training.epoch import EpochResult


__all__ = ["Config", "RunResult", "UserError", "compare", "compose", "load", "search", "sweep", "train"]


def __getattr__(name: str) -> Any:
    if name == "RunResult":  # importing it loads torch
        from lenet_exp.folders.results import RunResult

        return RunResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def compose(overrides: str | Sequence[str] | None = None) -> Config:
    """Check the configuration that `lenet-train <overrides>` would train, and return it.

    Args:
        overrides: list such as `["dataset=digits", "num_epoch=10"]`; a string counts as a list with one item.

    Raises:
        ConfigError: an override is invalid.
    """
    from lenet_exp.training.check import check_config

    config = composing.compose(_listed(overrides or []))
    check_config(config)
    return config


def train(
    config: Config | dict[str, Any] | str | Sequence[str], *, on_epoch: Callable[[EpochResult], object] | None = None
) -> RunResult:
    """Train one configuration as `lenet-train` does, with a run folder and MLflow, and return its result.

    Args:
        config: a `Config` from `compose`, a dict of the same form, or overrides such as `["dataset=digits",
            "num_epoch=10"]`; a string counts as a list with one item.
        on_epoch: function called once per epoch, in order, with the epoch's result; epochs that were trained before
            are included. If it returns a true value before the last epoch, the run ends as `pruned` and can resume
            later.

    Raises:
        UserError: the configuration is invalid, or the data or the store cannot be used.
    """
    from lenet_exp.folders.run_folder import RunFolder
    from lenet_exp.reports.terminal.progress import log_to_notebook
    from lenet_exp.runs.run import run_alone

    if isinstance(config, dict):
        config = composing.typed(config)
    elif not isinstance(config, Config):
        config = composing.compose(_listed(config))
    told: set[int] = set()

    def prune(result: EpochResult) -> bool:
        told.add(result.epoch)
        return bool(on_epoch(result)) if on_epoch is not None else False

    with log_to_notebook():
        result = run_alone(config, prune=prune)
    if on_epoch is not None:
        for epoch in RunFolder(result.folder).history().epochs:  # the last one, or all if the run had a result
            if epoch.epoch not in told:
                on_epoch(epoch)
    return result


def sweep(overrides: str | Sequence[str]) -> pd.DataFrame:
    """Train a grid in parallel processes, as `lenet-train -m` does, and compare its runs.

    Call it again to train only the missing runs. In a script, call it under `if __name__ == "__main__":`.

    Args:
        overrides: list such as `["dataset=digits", "activation=relu,selu", "seed=range(3)"]`; a string counts as a
            list with one item.

    Returns:
        The leaderboard, as `compare` returns it. It is empty with `sweep.dry_run=true`, which only prints what would be
            trained.

    Raises:
        UserError: a configuration is invalid, or the data or the store cannot be used. Failed runs do not raise; the
            result lists them.
    """
    import pandas as pd

    from lenet_exp.reports.terminal.progress import log_to_notebook
    from lenet_exp.sweeps.grid import sweep_here

    with log_to_notebook():
        done = sweep_here(_listed(overrides))
    return compare(sweep=done.id) if done is not None else pd.DataFrame()


def search(
    space: Mapping[str, str | Sequence[object]],
    overrides: Sequence[str] = (),
    *,
    n_trials: int | None = None,
    max_epochs: int | None = None,
    max_seconds: float | None = None,
    seeds: int = 1,
    confirm: float | None = None,
) -> SearchResult:
    """Search a space of configurations as `lenet-train -m hydra/sweeper=search` does.

    Call it again to continue the search up to its budgets.

    Args:
        space: for each searched flag, an expression in Hydra's grammar or a list of values:
            `{"optimizer.lr": "tag(log,interval(1e-3,1))"}`.
        overrides: flags for all trials, and `search.*`, `sweep.*`, and similar flags.
        n_trials, max_epochs, max_seconds: budgets for the entire search; at least one is required.
        seeds: number of seeds per configuration. Seeds after the first are used only while the configuration may still
            be the best.
        confirm: lead, in percentage points, that a final test of the best configuration on new seeds must confirm.

    Raises:
        UserError: the space or a configuration is invalid, or the data or the store cannot be used.
    """
    from lenet_exp.config.params import text
    from lenet_exp.reports.terminal.progress import log_to_notebook
    from lenet_exp.searches.sampling import check_installed

    with log_to_notebook():
        check_installed()  # before the imports that need Optuna
        from lenet_exp.confirmation.start import confirm_search
        from lenet_exp.searches.start import search_here

        budgets = {"n_trials": n_trials, "max_epochs": max_epochs, "max_seconds": max_seconds}
        budgets |= {"seeds": seeds, "confirm": confirm}
        given = [f"{name}={value}" for name, value in budgets.items() if value is not None]
        spelt = {k: v if isinstance(v, str) else f"choice({','.join(map(text, v))})" for k, v in space.items()}
        planned, found = search_here([*overrides, *given, *(f"{flag}={values}" for flag, values in spelt.items())])
        confirm_search(planned)
    return found


def compare(
    *,
    sweep: str | list[str] | None = None,
    filter: str | None = None,  # same name as the command's flag
    tracking_uri: str | None = None,
    experiment: str = "lenet_exp",
    by: str = "best",
) -> pd.DataFrame:
    """Return the leaderboard for one or more sweeps, or for the runs that match a filter.

    `lenet-compare --help` explains the flags.

    Args:
        by: epoch whose validation accuracy is compared: "best" or "last".

    Returns:
        One row per configuration, best first within its dataset; configurations with diverged runs come last. Columns:

        - `dataset`, `rank`, and the flags that differ (numeric where all values are numbers; NaN where they have
          no effect);
        - `n`, `mean`, `sd`, `low`, `high`: validation accuracy as a fraction, with its 95 % confidence interval;
        - `best_epoch`, `seconds_to_best`: means over the seeds, followed by the counts of outcomes;
        - `behind`, `behind_low`, `behind_high`, `differs`, `verdict`: comparison with the leader;
        - `not_excluded`: whether the configuration may be the best;
        - `run_ids`: MLflow ids of the finished runs in the order of their seeds (run folders if no store has them);
        - `test_n`, `test_mean`, `test_sd`, `test_behind`, `test_behind_low`, `test_behind_high`: present
          once `lenet-predict` has scored runs.

    Raises:
        UserError: the sweep, store, or runs are not found, or MLflow rejects the filter.
    """
    import pandas as pd

    from lenet_exp.comparison.group import CompareBy
    from lenet_exp.reports.terminal.leaderboard import records
    from lenet_exp.sweeps.comparisons import load_comparisons

    which = ",".join(sweep) if isinstance(sweep, list) else sweep
    found, _ = load_comparisons(which, filter, tracking_uri, experiment, CompareBy(one_of("by", by, list(CompareBy))))
    table = pd.DataFrame([row for comparison in found for row in records(comparison)])
    for flag in dict.fromkeys(flag for comparison in found for flag in comparison.flags):
        table[flag] = _numbers(table[flag])
    return table


def load(model: str, *, tracking_uri: str | None = None, trust: str | None = None) -> nn.Module:
    """Return the best network of a run, in eval mode on the CPU.

    The weights are checked against the digest in the run's record.

    Args:
        model: `runs:/<MLflow run id>`, a `.safetensors` file in `model_path`, a registered name such as `lenet5-mnist`
            (its champion), or `name@alias`.
        tracking_uri: address of the store; by default MLFLOW_TRACKING_URI, or mlflow.db in the outputs folder.
        trust: your own class or module that the model is allowed to name as its network or activation; several are
            separated by commas. Classes of torch and lenet_exp are always allowed. Loading any other class would run
            code selected by the model's file.

    Raises:
        UserError: the model is not found, its weights do not match its record, or its classes are not trusted.
    """
    from lenet_exp.addresses import default_uri
    from lenet_exp.reports.terminal.progress import log_to_notebook
    from lenet_exp.tracking.models.load import load_model

    with log_to_notebook():
        return load_model(model, tracking_uri or default_uri(), dataset="", trust=trust).network


def _listed(overrides: str | Sequence[str]) -> list[str]:
    return [overrides] if isinstance(overrides, str) else list(overrides)


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a flag's values as numbers if all are numeric, with `-` (no effect) and `null` as NaN."""
    import pandas as pd

    without = values.isin(["-", "null", "None"])
    numbers = pd.to_numeric(values.mask(without), errors="coerce")
    return values if bool((numbers.isna() & ~without & values.notna()).any()) or without.all() else numbers
