"""lenet-train: compose -> run -> the number that a sweep optimises."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lenet_exp.cli import EXIT_FAILED, run_app, set_exit_status
from lenet_exp.errors import UserError


def train(cfg: DictConfig) -> float:
    """Hydra's task: one run, alone or as a job of a sweep. Returns the best validation accuracy, NaN without one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lenet_exp.config.compose import typed
    from lenet_exp.reports.progress import log_to_console

    log_to_console()
    hydra = HydraConfig.get()
    config = typed(cfg)
    if hydra.mode == RunMode.MULTIRUN:
        from lenet_exp.sweeps.job import run_job

        return run_job(config, Path(hydra.sweep.dir).absolute(), hydra.job.num)
    return run_alone(config)


def run_alone(config: Any) -> float:
    """One run with its result on the terminal; a run that did not finish sets the exit status."""
    from lenet_exp.reports.run_summary import print_failure, print_run
    from lenet_exp.run import run

    started: list[Any] = []
    try:
        result = run(config, on_start=started.append)
    except Exception as e:
        if isinstance(e, UserError) or not started:
            raise
        print_failure(e, started[0])  # the traceback is in its log
        set_exit_status(EXIT_FAILED)
        return math.nan
    print_run(result, config)
    if result.outcome != "finished":
        set_exit_status(EXIT_FAILED)
    return result.value


def main() -> None:
    """The command lenet-train."""
    run_app("lenet-train", "train", train)


class _CallableModule(types.ModuleType):
    """`lenet_exp.train` is this module, for `python -m lenet_exp.train`, and the function of the Python API as well."""

    def __call__(self, config: Any) -> Any:
        from lenet_exp.api import train as train_config

        return train_config(config)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
