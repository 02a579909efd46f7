"""Estimates for `sweep.dry_run`: the number of runs, time, and disk space that a sweep needs."""

from __future__ import annotations

import heapq
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from lenet_exp.addresses import SQLITE, store_uri
from lenet_exp.amounts import duration, megabytes, number_of
from lenet_exp.comparison.statistics.power import detectable
from lenet_exp.config.schema import LENET5, SEED_FLAGS, Config, LoggedModels
from lenet_exp.data.images import load_training_data
from lenet_exp.folders.checkpoints import keeps_state
from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SearchPlan
from lenet_exp.folders.sweep_progress import RUN_SECONDS, SWEEP_SECONDS, UPLOAD_SHARE
from lenet_exp.machine import cpu_count
from lenet_exp.training.engine import engine_of, native_shapes
from lenet_exp.training.execution import SWEEP_THREADS, choose_device
from lenet_exp.training.native.build import is_built
from lenet_exp.training.network import network_size
from lenet_exp.training.state import new_training_state

TIMED_STEPS = 12
# Sizes in bytes, measured with digits and MNIST (see docs/how-to/disk.md).
TEXT_BYTES = 10e3  # history, record, and log
WEIGHT_BYTES = 4  # per parameter
STATE_BYTES = 8  # per parameter: the final training state, with momentum
PICTURE_BYTES = 45e3  # mistakes.png
LOGGED_TEXT_BYTES = 35e3  # configuration, record, log, and rows of the database
LOGGED_PICTURES_BYTES = 60e3  # learning curves, confusion matrix, and mistakes.png
MODEL_BYTES = 85e3  # of a logged model, in addition to two copies of the weights
DATABASE_BYTES = 1e6  # a new database
SWEEP_PICTURES_BYTES = 1.2e6  # the comparison page and figures of a sweep
# Seconds to upload a run to a database on this machine, measured on two quiet cores.
UPLOAD_SECONDS = 0.05
PICTURES_SECONDS = 0.02
MODEL_SECONDS = 0.3


def estimate_lines(sweep: SweepFolder | None, jobs: Sequence[Job], config: Config) -> list[str]:
    """Return lines that describe a sweep or run, with the estimated time and disk space. Only a few
    steps are executed.

    Args:
        sweep: folder of the sweep; None for a single run.
        jobs: jobs of the sweep or run.
        config: configuration of one job; its `sweep.*` flags apply to the sweep.
    """
    unique = {job.run: job for job in jobs}
    todo = {
        r: job
        for r, job in unique.items()
        if config.sweep.force or job.folder.checked_result() is None
    }
    begun = sum(
        bool(job.folder.history().epochs)
        for job in todo.values()
        if job.folder.checked_result() is None
    )
    shows = _shows(jobs) if sweep is not None else []
    goes_on = " (resumed)" if sweep is not None and sweep.kept_plan() else ""
    lines = [
        f"sweep {sweep.id}{goes_on}: {number_of(len(jobs), 'job')}"
        if sweep is not None
        else "1 run"
    ]
    twice = number_of(len(jobs) - len(unique), "duplicate")
    lines.append(f"  {len(unique) - len(todo)} already trained, {twice}, {len(todo)} to train")
    if begun:
        lines.append(f"  {number_of(begun, 'run')} will resume from a checkpoint")
    if not todo:
        return lines + shows
    default = SWEEP_THREADS if sweep is not None else cpu_count()
    threads = max(job.config.num_threads or default for job in todo.values())
    workers = min(config.sweep.workers or max(1, cpu_count() // threads), len(todo))
    at_once = min(workers, max(1, cpu_count() // threads))  # more workers than cores are not faster
    seconds = makespan(
        (run + RUN_SECONDS for run in _seconds(list(todo.values()), default)), at_once
    )
    seconds = (
        SWEEP_SECONDS + seconds + _remaining_upload_seconds(list(todo.values()), len(todo), seconds)
    )
    how = "estimated from a few steps, with uploads to MLflow"
    lines.append(f"  about {duration(seconds)} on {_places(workers, threads)} ({how})")
    lines.append(
        f"  about {megabytes(_bytes(list(todo.values()), len(todo)))} MB of disk space in {jobs[0].outputs}"
    )
    return lines + shows


def _bytes(jobs: Sequence[Job], runs: int) -> int:
    """Return the disk space of runs in bytes: their run folders and, unless the store is a server,
    their MLflow runs.

    Args:
        jobs: jobs of the runs, or examples of them.
        runs: number of runs.
    """
    tracking = jobs[0].config.tracking
    is_stored_here = store_uri(tracking.uri, jobs[0].outputs).startswith(SQLITE)
    parameters = [network_size(job.config).parameters for job in jobs]
    states = [count for job, count in zip(jobs, parameters, strict=True) if keeps_state(job.config)]
    weights = WEIGHT_BYTES * statistics.fmean(parameters)

    a_run = TEXT_BYTES + weights + STATE_BYTES * sum(states) / len(jobs)
    if tracking.plots:
        a_run += PICTURE_BYTES
    if not is_stored_here:
        return round(runs * a_run)

    total = 0.0
    a_run += LOGGED_TEXT_BYTES
    if tracking.plots:
        a_run += LOGGED_PICTURES_BYTES
    if tracking.plots and runs > 1:
        total += SWEEP_PICTURES_BYTES
    if not (jobs[0].outputs / "mlflow.db").exists():
        total += DATABASE_BYTES
    a_model = MODEL_BYTES + 2 * weights
    return round(total + runs * a_run + _logged_models(jobs, runs) * a_model)


def _logged_models(jobs: Sequence[Job], runs: int) -> int:
    """Return the number of models that a sweep with these jobs logs to MLflow.

    Args:
        jobs: jobs of the runs, or examples of them.
        runs: number of runs.
    """
    models = jobs[0].config.tracking.models
    if models is LoggedModels.none:
        return 0
    is_complete = len(jobs) == runs  # a search has a new configuration in almost every run
    return len(_configurations(jobs)) if models is LoggedModels.best and is_complete else runs


def _configurations(jobs: Sequence[Job]) -> set[tuple[tuple[str, str], ...]]:
    """Return the swept flags of each configuration, without the seeds."""
    return {_without_seeds(job.swept) for job in jobs}


def _without_seeds(swept: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((flag, value) for flag, value in swept.items() if flag not in SEED_FLAGS)


def _remaining_upload_seconds(jobs: Sequence[Job], runs: int, training: float) -> float:
    """Return the time of the uploads that remain after training, in seconds.

    Args:
        jobs: jobs of the runs, or examples of them.
        runs: number of runs.
        training: duration of training in seconds. Uploads take a small share of the machine's time
            in the meantime.
    """
    a_run = UPLOAD_SECONDS
    if jobs[0].config.tracking.plots:
        a_run += PICTURES_SECONDS
    uploads = runs * a_run + _logged_models(jobs, runs) * MODEL_SECONDS
    return max(0.0, uploads - UPLOAD_SHARE * cpu_count() * training)


def _shows(jobs: Sequence[Job]) -> list[str]:
    """Return a line with the difference that a grid can show; empty if the grid has a single seed
    or configuration.
    """
    seeds = defaultdict[tuple[tuple[str, str], ...], set[int]](set)
    for job in jobs:
        seeds[_without_seeds(job.swept)].add(job.config.seed)
    datasets = len({job.config.dataset.name for job in jobs})
    n, k = min(map(len, seeds.values())), len(seeds) // datasets
    if n < 2 or k < 2:
        return []
    worse = f"at least about {detectable(k, n):.1f} standard deviations (over seeds) below the best"
    return [f"  {n} seeds can show that one of {k} configurations is not the best if it is {worse}"]


def search_estimate_lines(budgets: SearchPlan, corners: Sequence[Job], config: Config) -> list[str]:
    """Return lines with the estimated time and disk space of a search without pruning. Only a few
    steps are executed.

    Args:
        budgets: remaining budgets of the search.
        corners: jobs at the corners of the search space.
        config: configuration of one job; its `sweep.*` flags apply to the search.
    """
    epochs = _epoch_seconds(corners, SWEEP_THREADS)
    whole = [seconds * job.config.num_epoch for seconds, job in zip(epochs, corners, strict=True)]
    least, most, trial = duration(min(whole)), duration(max(whole)), statistics.fmean(whole)
    a_trial = least if least == most else f"{least} to {most}"
    threads = max(job.config.num_threads or SWEEP_THREADS for job in corners)
    workers = config.sweep.workers or max(1, cpu_count() // threads)
    limits = []
    if budgets.n_trials is not None:
        limits.append(budgets.n_trials * budgets.seeds * trial / workers)
    if budgets.max_epochs is not None:
        limits.append(budgets.max_epochs * statistics.fmean(epochs) / workers + max(whole))
    if budgets.max_seconds is not None:
        limits.append(budgets.max_seconds + max(whole))  # running trials may finish
    training = min(limits)
    runs = round(training * workers / trial)
    seconds = training + _remaining_upload_seconds(corners, runs, training)
    outputs = corners[0].outputs
    places = f"{_places(workers, threads)}, with uploads to MLflow"
    return [
        f"  one full trial: about {a_trial} (estimated from a few steps)",
        f"  without pruning: at most about {duration(seconds)} on {places}, {number_of(runs, 'run')}",
        f"  about {megabytes(_bytes(corners, runs))} MB of disk space in {outputs}",
    ]


def _stand_in(config: Config) -> tuple[Config, float]:
    """Return a configuration whose time can be measured without compiling kernels for it, and the
    factor by which the given configuration takes longer.

    If its shape has not been compiled, this is the configuration with LeNet-5, whose kernels were
    compiled when the engine was chosen. Smaller networks take as long as LeNet-5, because the
    kernels pad channels.
    """
    if all(map(is_built, native_shapes([config]))):
        return config, 1.0
    lenet5 = replace(config, model=LENET5)
    return lenet5, max(1.0, network_size(config).multiply_adds / network_size(lenet5).multiply_adds)


def _places(workers: int, threads: int) -> str:
    """Describe the workers of a sweep, such as `4 workers with 1 thread each`."""
    return f"{number_of(workers, 'worker')} with {number_of(threads, 'thread')}{' each' if workers > 1 else ''}"


def makespan(seconds: Iterable[float], places: int) -> float:
    """Return the time until all jobs have ended, if each job starts in the first slot that becomes
    free.

    Args:
        seconds: duration of each job, in seconds.
        places: number of slots, each of which runs one job at a time.
    """
    ends = [0.0] * places
    for job in seconds:
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


def _seconds(jobs: Sequence[Job], threads: int) -> list[float]:
    """Return the remaining time of each job, in seconds; `threads` applies to `num_threads=null`."""
    left = [job.config.num_epoch - len(job.folder.history().epochs) for job in jobs]
    return [n * seconds for n, seconds in zip(left, _epoch_seconds(jobs, threads), strict=True)]


def _epoch_seconds(jobs: Sequence[Job], threads: int) -> list[float]:
    """Return the seconds per epoch of each job. Only one job of each kind is timed."""
    kinds: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        c = job.config
        same = (
            c.dataset.name,
            c.model,
            c.activation,
            c.optimizer["_target_"],
            c.batch_size,
            c.augmentation,
            c.training,
        )
        kinds[str((*same, job.engine))].append(job)
    found: dict[int, float] = {}
    for kind in kinds.values():
        config, factor = _stand_in(kind[0].executed)
        per_image = factor * _seconds_an_image(config, threads)
        for job in kind:
            data = load_training_data(job.executed, torch.device("cpu"))
            found[id(job)] = per_image * (
                len(data.train_index) + len(data.val_index) / 3
            )  # no gradients in validation
    return [found[id(job)] for job in jobs]


def _seconds_an_image(config: Config, threads: int) -> float:
    device = choose_device(config.device)
    torch.set_num_threads(config.num_threads or threads)
    data, state = load_training_data(config, device), new_training_state(config, device)
    step, times = engine_of(config).stepper(state, data, TIMED_STEPS), []
    for n in range(TIMED_STEPS):
        first = n * config.batch_size % max(1, len(data.train_index) - config.batch_size)
        batch = data.train_index[first : first + config.batch_size]
        start = time.perf_counter()
        float(step(batch, n)[0])
        times.append((time.perf_counter() - start) / len(batch))
    return statistics.median(times[2:])
