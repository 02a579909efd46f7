"""The functions of the Python API, such as `compose`, `train`, `sweep`, `search`, `compare`, and
`load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenet_exp.api_overrides import listed_overrides, searched_overrides
from lenet_exp.api_tables import (
    EffectRows,
    contrast_rows,
    effects_table,
    interaction_rows,
    leaderboard_table,
)
from lenet_exp.config import compose as composing
from lenet_exp.config.schema import Config
from lenet_exp.errors import ConfigError
from lenet_exp.files import Json

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from lenet_exp.folders.results import RunResult
    from lenet_exp.searches.start import SearchResult
    from lenet_exp.training.epoch import EpochResult


def compose(overrides: str | Sequence[str] | None = None) -> Config:
    """Compose and check the configuration that `lenet-train <overrides>` would train, and return
    it.

    Args:
        overrides: list of overrides, such as `["dataset=digits", "num_epoch=10"]`; a string is
            treated as a list with a single item.

    Raises:
        ConfigError: an override is invalid.
        DataError: the names of the dataset's classes are not set, and the dataset cannot be read.
    """
    from lenet_exp.training.check import check_config

    config = composing.compose(listed_overrides(overrides or []))
    check_config(config)
    return config


def train(
    config: Config | dict[str, Any] | str | Sequence[str],
    *,
    images: object = None,
    labels: object = None,
    on_epoch: Callable[[EpochResult], object] | None = None,
) -> RunResult:
    """Train a single configuration, as `lenet-train` does, and return the result of the run.

    The run is saved in a run folder and logged to MLflow.

    Args:
        config: a `Config` from `compose`, a dict with the same structure, or overrides such as
            `["dataset=digits", "num_epoch=10"]`; a string is treated as a list with a single item.
        images, labels: arrays to train on, as in a file for `dataset=arrays`; require overrides.
            They are saved in the outputs folder.
        on_epoch: function that is called once per epoch, in order, with the epoch's result; earlier
            epochs of a resumed run are included. If the function returns a true value before the
            last epoch, the run ends as `pruned` and can be resumed later.

    Raises:
        UserError: the configuration is invalid, or the data or the store cannot be used.
    """
    has_arrays = images is not None or labels is not None
    if has_arrays and isinstance(config, Config | dict):
        raise ConfigError(
            "images, labels: require overrides, such as ['num_epoch=10'], "
            "instead of a configuration"
        )
    if isinstance(config, dict):
        config = composing.typed(config)
    elif not isinstance(config, Config):
        config = composing.compose(listed_overrides(config, images, labels))

    from lenet_exp.tracking.uploader.client import start_uploader

    start_uploader()  # it imports mlflow while this process imports torch
    from lenet_exp.folders.run_folder import RunFolder
    from lenet_exp.reports.terminal.log_output import log_to_notebook
    from lenet_exp.runs.run import prepare_alone, run_alone
    from lenet_exp.tracking.uploader.uploads import Followed, uploads

    reported_epochs: set[int] = set()

    def prune(result: EpochResult) -> bool:
        reported_epochs.add(result.epoch)
        if on_epoch is None:
            return False
        return bool(on_epoch(result))

    with log_to_notebook():
        job = prepare_alone(config)
        followed = Followed(job.folder, config.tracking)
        with uploads(followed):
            result = run_alone(job, prune=prune)
        result = followed.with_run_id(result)

    if on_epoch is not None:
        # The last epoch is not reported to `prune`, nor is any epoch if the run had a result.
        for epoch in RunFolder(result.folder).history().epochs:
            if epoch.epoch not in reported_epochs:
                on_epoch(epoch)
    return result


def sweep(
    overrides: str | Sequence[str], *, images: object = None, labels: object = None
) -> pd.DataFrame:
    """Train a grid of configurations in parallel processes, as `lenet-train -m` does, and compare
    the runs.

    Call `sweep` again with the same overrides to train only the missing runs. In a script, call it
    under `if __name__ == "__main__":`.

    Args:
        overrides: list of overrides, such as `["dataset=digits", "activation=relu,selu",
            "seed=range(3)"]`; a string is treated as a list with a single item.
        images, labels: arrays to train on, as for `train`.

    Returns:
        The leaderboard that `compare` returns; empty with `sweep.dry_run=true`, which only prints
        what would be trained.

    Raises:
        UserError: a configuration is invalid, or the data or the store cannot be used. Failed runs
            do not raise an exception; the leaderboard lists them.
    """
    import pandas as pd

    from lenet_exp.reports.terminal.log_output import log_to_notebook
    from lenet_exp.sweeps.grid import sweep_here
    from lenet_exp.tracking.uploader.client import start_uploader
    from lenet_exp.tracking.uploader.uploads import follow_sweep

    with log_to_notebook():
        start_uploader()
        trained_sweep = sweep_here(listed_overrides(overrides, images, labels), follow_sweep)
    if trained_sweep is None:
        return pd.DataFrame()
    return compare(sweep=trained_sweep.id)


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
    """Search a space of configurations, as `lenet-train -m hydra/sweeper=search` does.

    Call `search` again with the same arguments to resume the search, or with larger budgets to
    extend it.

    Args:
        space: dict that maps each searched flag to an expression in Hydra's grammar or to a list of
            values, such as `{"optimizer.lr": "tag(log,interval(1e-3,1))"}`.
        overrides: overrides that apply to all trials, and flags of the search itself, such as
            `search.sampler=gp`.
        n_trials, max_epochs, max_seconds: budgets for the entire search; at least one is required.
        seeds: maximum number of seeds per configuration. Seeds after the first are used only while
            the configuration could still be the best.
        confirm: lead of the best configuration, in percentage points, to confirm on new seeds after
            the search; None to skip the confirmation.

    Returns:
        The result of the search, with all trials and the best finished run.

    Raises:
        UserError: the space or a configuration is invalid, or the data or the store cannot be used.
    """
    from lenet_exp.reports.terminal.log_output import log_to_notebook
    from lenet_exp.searches.sampling import check_installed

    with log_to_notebook():
        check_installed()  # before the imports that need Optuna
        from lenet_exp.confirmation.start import confirm_search
        from lenet_exp.searches.start import search_here
        from lenet_exp.tracking.uploader.client import start_uploader
        from lenet_exp.tracking.uploader.uploads import follow_sweep

        settings = {
            "n_trials": n_trials,
            "max_epochs": max_epochs,
            "max_seconds": max_seconds,
            "seeds": seeds,
            "confirm": confirm,
        }
        start_uploader()
        search_overrides = listed_overrides(overrides)
        for name, value in settings.items():
            if value is not None:
                search_overrides.append(f"{name}={value}")
        search_overrides += searched_overrides(space)

        planned, result = search_here(search_overrides, follow_sweep)
        confirm_search(planned)
    return result


def compare(
    *,
    sweep: str | list[str] | None = None,
    filter: str | None = None,  # the same name as the flag of lenet-compare
    tracking_uri: str | None = None,
    experiment: str = "lenet_exp",
    by: str = "best",
    only: str | None = None,
    best_per: str | None = None,
) -> pd.DataFrame:
    """Return the leaderboard for one or more sweeps, or for the runs that match a filter.

    Args:
        sweep: sweep to compare, or a list of sweeps: `last`, a sweep ID or its first few
            characters, an MLflow run ID, or a sweep folder; by default, the last sweep.
        filter: MLflow filter that selects the runs to compare, such as `"params.activation =
            'selu'"`.
        tracking_uri: address of the MLflow store for `filter`; by default, the value of
            MLFLOW_TRACKING_URI or, if that is unset, mlflow.db in the outputs folder.
        experiment: MLflow experiment for `filter`.
        by: epoch whose validation accuracy is compared: "best" or "last".
        only: conditions for the configurations to show, such as `"optimizer.lr<0.05 and
            activation=relu,selu"`. All tests remain corrected for all configurations.
        best_per: flag whose values are compared, each at its own best values of the other flags.

    Returns:
        One row per configuration, best first within each dataset; configurations with diverged runs
        come last. Columns:

        - `dataset`, `rank`, and one column for each flag that differs between configurations
          (numeric if all values are numbers; NaN if the flag has no effect in a configuration);
        - `n`, `mean`, `sd`, `low`, `high`: number of finished runs, and the mean, standard
          deviation, and 95% confidence interval of their validation accuracy, as fractions;
        - `best_epoch`, `seconds_to_best`: means over the seeds;
        - `parameters`, `multiply_adds`: number of parameters of the network, and number of
          multiply-adds per image in its convolutions and linear layers;
        - `runs`, and one column for each outcome except finished (`pruned` only if a run was
          pruned): numbers of runs;
        - `behind`, `behind_low`, `behind_high`, `p`, `test`, `differs`, `verdict`: comparison with
          the leader;
        - `relation`: `leader`, `behind`, `excluded` (not the best), `open` (could be the best),
          `unstable`, or `untested`; `not_excluded`: whether the configuration could be the best;
        - `mean_rank`, `worse_on_each`: for several datasets, the mean rank of the configuration,
          and whether the configuration with the best mean rank is significantly better on each
          dataset; with five or more datasets, also `friedman_p` and `critical_difference` (of mean
          ranks);
        - `run_ids`: MLflow run IDs of the finished runs, in the order of their seeds (run folders
          for runs that are not in a store);
        - `test_n`, `test_mean`, `test_sd`, `test_behind`, `test_behind_low`, `test_behind_high`:
          results on the test set, present once `lenet-predict` has evaluated runs.

    Raises:
        UserError: the sweep, store, or runs are not found, or MLflow rejects the filter.
    """
    from lenet_exp.sweeps.comparisons import load_comparisons
    from lenet_exp.tracking.stores.find_runs import runs_of_filter

    sweeps = ",".join(sweep) if isinstance(sweep, list) else sweep
    comparisons, _ = load_comparisons(
        sweeps,
        filter,
        tracking_uri,
        experiment,
        by=by,
        only=only,
        best_per=best_per,
        find_runs=runs_of_filter,
    )
    return leaderboard_table(comparisons)


def interactions(*, sweep: str | list[str] | None = None, by: str = "best") -> pd.DataFrame:
    """Return the interactions between the swept flags: whether the effect of one flag depends on
    another flag.

    Args:
        sweep, by: the sweeps and the accuracy to compare, as in `compare`.

    Returns:
        One row per pair of flags, smallest p-value first within each dataset. Columns:

        - `dataset`, and `flags`: the two flags;
        - `p`: p-value, corrected for the number of pairs by Holm's method; `uncorrected_p`;
          `significant`: whether `p` is at most 0.05; `f`, `df`, `error_df`: F statistic and its
          degrees of freedom;
        - `omega_squared`, `low`, `high`: partial omega squared and its 95% confidence interval,
          from 0 to 1;
        - `values`, `means`: values of both flags, and mean accuracy (a fraction) for each
          combination of these values;
        - `pattern`, `contrast`: where the effect of the second flag differs most, as a sentence and
          as values;
        - `left_out`: values and seeds that were left out to obtain a full grid.

    Raises:
        UserError: the interactions cannot be tested, or see `compare`.
    """
    return _effects_table(sweep, by, interaction_rows)


def contrasts(*, sweep: str | list[str] | None = None, by: str = "best") -> pd.DataFrame:
    """Return the differences between the values of each swept flag, averaged over all values of the
    other flags.

    Args:
        sweep, by: the sweeps and the accuracy to compare, as in `compare`.

    Returns:
        One row per pair of values of each flag with at most five values. Columns: `dataset`;
        `flag`; `better`, `worse`: the values; `points`, `low`, `high`: the difference (a fraction)
        and its simultaneous 95% interval; `p`: p-value, not corrected; `differs`: whether the
        difference is significant, corrected for all pairs of values of the flag; `left_out`: values
        and seeds that were left out to obtain a full grid.

    Raises:
        UserError: the flags cannot be compared, or see `compare`.
    """
    return _effects_table(sweep, by, contrast_rows)


def _effects_table(sweep: str | list[str] | None, by: str, rows_of: EffectRows) -> pd.DataFrame:
    from lenet_exp.sweeps.comparisons import load_comparisons
    from lenet_exp.tracking.stores.find_runs import runs_of_filter

    sweeps = ",".join(sweep) if isinstance(sweep, list) else sweep
    comparisons, _ = load_comparisons(
        sweeps, None, None, "lenet_exp", by=by, find_runs=runs_of_filter
    )
    return effects_table(comparisons, rows_of)


def predict(overrides: str | Sequence[str]) -> list[dict[str, Json]]:
    """Evaluate a model or the leader of a sweep on the test set, or classify pictures, as
    `lenet-predict` does.

    Each evaluation counts in the tag `test_opened` of the model's MLflow run, as for the command.

    Args:
        overrides: list of overrides, such as `["sweep=last", "ensemble=true"]`; a string is treated
            as a list with a single item.

    Returns:
        The results that `output=` writes to a .json file: one dict for a model or for pictures, or
        one for each evaluated configuration of a sweep.

    Raises:
        UserError: an override is invalid, or a model or the data cannot be used.
        RunsFailed: some of the pictures cannot be read; with `output=`, the results of the others
            are written.
    """
    from lenet_exp.prediction import leader
    from lenet_exp.reports.terminal.log_output import log_to_notebook

    all_overrides = listed_overrides(overrides)
    config = composing.compose_prediction(all_overrides)
    with log_to_notebook():
        return leader.predict(config, all_overrides)


def load(model: str, *, tracking_uri: str | None = None, trust: str | None = None) -> nn.Module:
    """Return the network with the best weights of a run, in eval mode on the CPU.

    The weights are checked against the digest in the run's record.

    Args:
        model: model to load: `runs:/<MLflow run ID>`, a run folder, a `.safetensors` file in
            `model_path`, a registered name such as `lenet5-mnist` (loads its champion), or
            `name@alias`.
        tracking_uri: address of the MLflow store; by default, the value of MLFLOW_TRACKING_URI or,
            if that is unset, mlflow.db in the outputs folder.
        trust: your own classes or modules, separated by commas, that the model is allowed to use
            for its network or activation, or the digests of their copied code, as
            `sha256:<digest>`. Classes from torch and lenet_exp, and copies in your own outputs
            folder, are always allowed. All other classes must be listed, because loading a class
            runs its code.

    Raises:
        UserError: the model is not found, its weights do not match its record, or its classes are
            not trusted.
    """
    from lenet_exp.addresses import default_uri
    from lenet_exp.reports.terminal.log_output import log_to_notebook
    from lenet_exp.tracking.models.load import load_model

    with log_to_notebook():
        return load_model(model, tracking_uri or default_uri(), dataset="", trust=trust).network
