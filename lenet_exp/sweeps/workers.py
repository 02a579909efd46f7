"""What the workers of a sweep get: the data sets in shared memory, and the number of threads they will use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from lenet_exp.config.compose import typed
from lenet_exp.config.schema import Sweep
from lenet_exp.data.images import SharedSet, share, use_shared
from lenet_exp.executors.local_launcher import LocalLauncher
from lenet_exp.folders.job import FrozenJob
from lenet_exp.training.execution import SWEEP_THREADS

log = logging.getLogger("lenet_exp")


def prepare_workers(launcher: LocalLauncher, jobs: Sequence[FrozenJob]) -> None:
    """Sets up a launcher for these jobs; loads each of their data sets once."""
    distinct = {str([job.config[flag] for flag in ("dataset", "data_root", "split_seed")]): job for job in jobs}
    sets, descriptors = share(typed(job.config) for job in distinct.values())
    launcher.prepare = partial(_prepare, sets)
    launcher.inherit = descriptors
    launcher.cores_per_job = max(job.config["num_threads"] or SWEEP_THREADS for job in jobs)


def tell_promises(launcher: object, flags: Sweep) -> None:
    """Says what another launcher than the local one can't do."""
    if isinstance(launcher, LocalLauncher):
        return
    name = type(launcher).__name__
    defaults = {"workers": None, "retries": 1, "fail_fast": False, "max_failures": None, "time_limit": None}
    without = [f"sweep.{flag}" for flag, value in defaults.items() if getattr(flags, flag) != value]
    if without:
        log.warning("%s: no effect of %s; hydra/launcher=local has them", name, ", ".join(without))
    log.info("%s: a process that dies ends the sweep, and the same line again goes on", name)


def _prepare(sets: list[SharedSet]) -> None:
    use_shared(sets)
