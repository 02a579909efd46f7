"""A sweep from start to end: checks every job, opens the parent run, ends it in a true state, prints the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from lenet_exp.cli import EXIT_FAILED, set_exit_status
from lenet_exp.config.compose import config_groups, typed
from lenet_exp.config.schema import Config, Models
from lenet_exp.errors import ConfigError
from lenet_exp.outputs import check_outputs, outputs_dir
from lenet_exp.record import command_line
from lenet_exp.reports.progress import display, log_to_console
from lenet_exp.reports.sweep_table import print_sweep
from lenet_exp.sweeps.plan import SweepFolder, name_jobs
from lenet_exp.sweeps.run_folder import RunFolder
from lenet_exp.tracking.parent import Parent
from lenet_exp.tracking.store import hide_password

log = logging.getLogger("lenet_exp")


@contextmanager
def sweep_session(
    folder: str, overrides: list[str], swept: list[str], jobs: Sequence[Sequence[str]], composed: Sequence[DictConfig]
) -> Iterator[None]:
    """Surrounds the launching of a sweep's jobs.

    Args:
        folder: `hydra.sweep.dir`; jobs find the sweep there.
        overrides: as typed.
        swept: the flags with several values.
        jobs: each job's overrides.
        composed: each job's configuration.

    Raises:
        ConfigError: some job is wrong, or the outputs folder; nothing was started.
        StoreError: the MLflow store can't be used.
    """
    log_to_console()
    configs = check_jobs(jobs, composed)
    check_outputs()
    named = name_jobs(swept, [list(job) for job in jobs], set(config_groups()))
    tell_once(configs)
    sweep = SweepFolder(Path(folder).absolute())
    parent = Parent(configs[0].tracking)  # first: a store that can't be used leaves nothing behind
    sweep.start(command_line(), [hide_password(o) for o in overrides], named)
    sweep.set_mlflow_run(parent.open(sweep, swept))
    log.info("sweep of %d runs; outputs in %s", len(named), outputs_dir())
    start, outcome = time.perf_counter(), "killed"
    try:
        with display.sweep(len(named)):
            yield
        outcome = "finished"
    except Exception:
        outcome = "failed"
        raise
    finally:
        if configs[0].tracking.models is Models.best:
            parent.log_best_model(_best_folder(sweep))
        parent.close(sweep, outcome)
        results = [sweep.result(job.number) for job in named]
        if any(r is None or r["outcome"] != "finished" for r in results):
            set_exit_status(EXIT_FAILED)
        print_sweep(sweep, parent.uri, time.perf_counter() - start)


def check_jobs(jobs: Sequence[Sequence[str]], composed: Sequence[DictConfig]) -> list[Config]:
    """The typed configuration of every job.

    Raises:
        ConfigError: of the first job that is wrong, with its overrides.
    """
    from lenet_exp.config.check import check_config
    from lenet_exp.execution import choose_device

    configs = []
    for overrides, cfg in zip(jobs, composed, strict=True):
        try:
            config = typed(cfg)
            check_config(config)
            choose_device(config.device)
        except ConfigError as e:
            raise ConfigError(f"{e} (job: {' '.join(overrides)})" if len(jobs) > 1 else str(e)) from e
        configs.append(config)
    stores = {(c.tracking.uri, c.tracking.experiment) for c in configs}
    if len(stores) > 1:
        raise ConfigError("tracking.uri, tracking.experiment: a sweep goes to one place; allowed is one value")
    return configs


def tell_once(configs: Sequence[Config]) -> None:
    """Says which optimizers have no momentum where the sweep gives them one."""
    from lenet_exp.config.targets import keywords, option_name

    deaf = {option_name(c.optimizer) for c in configs if "momentum" not in keywords("optimizer", c.optimizer)}
    swept = {c.optimizer.get("momentum") for c in configs}
    if deaf and len(swept) > 1:
        log.info("optimizer.momentum has no effect for %s", ", ".join(sorted(deaf)))


def _best_folder(sweep: SweepFolder) -> RunFolder | None:
    results = [r for job in sweep.jobs() if (r := sweep.result(job.number)) and r["outcome"] == "finished"]
    best = max(results, key=lambda r: r["best_val_accuracy"], default=None)
    return RunFolder(Path(best["folder"])) if best else None
