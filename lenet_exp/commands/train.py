"""lenet-train: train one run, or train all runs of a sweep."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Any

from omegaconf import DictConfig

from lenet_exp.commands.app import run_app
from lenet_exp.config.check import check_flags
from lenet_exp.config.compose import typed
from lenet_exp.config.flags import value_of
from lenet_exp.config.schema import HOOK, Config
from lenet_exp.errors import ConfigError, RunsFailed, UserError
from lenet_exp.stopping import Terminated
from lenet_exp.waiting import print_waiting


def train(cfg: DictConfig) -> float:
    """Train one run with a configuration from Hydra, and return the best validation accuracy, or
    NaN for a dry run.

    Sweepers from other packages also call this function for each of their jobs.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    config = typed(cfg)
    from lenet_exp.tracking.stores.usable import check_tracking_uri
    from lenet_exp.tracking.uploader.client import start_uploader

    # Invalid flags are reported before torch is loaded.
    check_flags(config)
    check_tracking_uri(config.tracking.uri)
    if not config.sweep.dry_run:
        start_uploader()  # it imports mlflow while this process imports torch
    print_waiting("loading PyTorch")
    from lenet_exp.reports.terminal.log_output import log_to_console

    log_to_console()
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return train_alone(config, name=f"job {HydraConfig.get().job.num}", default_threads=1)

    _check_no_sweep_flags(config)
    if config.sweep.dry_run:
        _print_estimate(config)
        return math.nan
    return train_alone(config)


def _check_no_sweep_flags(config: Config) -> None:
    for flag in ("sweep.resume", "sweep.within", HOOK):
        value = value_of(config, flag)
        if value is not None:
            override = f"{flag}={shlex.quote(str(value))}"
            raise ConfigError(f"{override}: requires -m; run: lenet-train -m {override}")


def _print_estimate(config: Config) -> None:
    from lenet_exp.runs.jobs import lone_job
    from lenet_exp.sweeps.estimate import estimate_lines

    print(*estimate_lines(None, [lone_job(config)], config), sep="\n")


def train_alone(
    config: Config, *, name: str | None = None, default_threads: int | None = None
) -> float:
    """Train one run, print its result, and return the best value of its metric.

    Args:
        config: configuration of the run.
        name: name of the run; None for the default name.
        default_threads: number of threads if the configuration does not set it; None for the
            default of `run_alone`.

    Raises:
        RunsFailed: the run failed or diverged.
    """
    from lenet_exp.reports.terminal.run_summary import print_failure, print_result, print_view
    from lenet_exp.runs.run import prepare_alone, run_alone
    from lenet_exp.tracking.uploader.uploads import Followed, uploads

    job = prepare_alone(config, name)
    followed = Followed(job.folder, config.tracking)
    started_runs: list[Any] = []
    results: list[Any] = []

    def on_result(result: Any) -> None:
        results.append(result)  # first, because a signal can arrive while the result is printed
        print_result(result)

    with uploads(followed):
        try:
            result = run_alone(
                job,
                default_threads=default_threads,
                on_start=started_runs.append,
                on_result=on_result,
            )
        except (KeyboardInterrupt, Terminated):
            is_unfinished = started_runs and not results
            if is_unfinished and name is None:
                exception = " without sweep.force=true" if config.sweep.force else ""
                print(f"to resume, rerun the same command{exception}")
            raise
        except Exception as e:
            if isinstance(e, UserError) or not started_runs:
                raise
            print_failure(e, started_runs[0])  # the traceback is in the run's log
            raise RunsFailed from e

    print_view(followed.with_run_id(result), config)
    if not result.outcome.ended_well:
        raise RunsFailed
    return result.value


def main() -> None:
    """Run the `lenet-train` command."""
    from lenet_exp.tracking.uploader.client import close_uploader

    try:
        run_app("lenet-train", "train", train, sys.argv[1:])
    finally:
        close_uploader()
