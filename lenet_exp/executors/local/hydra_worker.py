"""A Hydra job in a worker of the pool; the worker's side of the local launcher."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

_job: Callable[[int, list[str]], JobReturn] | None = None


def prepare_worker(
    argv: list[str],
    singletons: dict[Any, Any],
    job: Callable[[int, list[str]], JobReturn],
) -> None:
    """In a new worker: what all of its jobs share."""
    global _job
    sys.argv = argv
    setup_globals()
    Singleton.set_state(singletons)
    _job = job


def run_here(index: int, overrides: list[str]) -> JobReturn:
    """In a worker: one job."""
    assert _job is not None
    done = _job(index, overrides)
    if done.status is not JobStatus.COMPLETED and isinstance(done._return_value, BaseException):
        text = "".join(traceback.format_exception(done._return_value))
        done._return_value.add_note(f"in a worker: {text}")  # the traceback itself does not travel
    return done


def run_hydra_job(
    hydra_context: HydraContext, config: DictConfig, task: TaskFunction, index: int, overrides: list[str]
) -> JobReturn:
    composed = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = f"{composed.hydra.job.name}_{index}"
        composed.hydra.job.num = index
    HydraConfig.instance().set_config(composed)
    return run_job(
        hydra_context=hydra_context,
        config=composed,
        task_function=task,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
