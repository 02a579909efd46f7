"""Estimates for `sweep.dry_run`: the number of runs, time, and disk space that a sweep needs."""

from __future__ import annotations

import heapq
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
from lenet_exp.folders.sweep_plan import RacePlan, SearchPlan
from lenet_exp.folders.sweep_progress import RUN_SECONDS, SWEEP_SECONDS, UPLOAD_SHARE
from lenet_exp.machine import cpu_count
from lenet_exp.sweeps.race.estimate import race_estimate
from lenet_exp.training.engine import engine_of, native_shapes
from lenet_exp.training.execution import SWEEP_THREADS, choose_device
from lenet_exp.training.native.build import is_built
from lenet_exp.training.network import network_size
from lenet_exp.training.state import new_training_state

TIMED_STEPS = 12
WARMUP_STEPS = 2  # the first of the timed steps, which are slower
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

# The swept flags of a configuration and their values.
SweptFlags = tuple[tuple[str, str], ...]


def estimate_lines(
    sweep: SweepFolder | None, jobs: Sequence[Job], config: Config, race: RacePlan | None = None
) -> list[str]:
    """Return lines that describe a sweep or run, with the estimated time and disk space. Only a few
    steps are executed.

    Args:
        sweep: folder of the sweep; None for a single run.
        jobs: jobs of the sweep or run.
        config: configuration of one job; its `sweep.*` flags apply to the sweep.
        race: plan of a sweep that adds seeds; None if the sweep has a fixed number of seeds.
    """
    job_of_run = {job.run: job for job in jobs}
    trained_runs = {
        run for run, job in job_of_run.items() if job.folder.checked_result() is not None
    }
    jobs_to_train = []
    num_resumed = 0
    for run, job in job_of_run.items():
        if config.sweep.force or run not in trained_runs:
            jobs_to_train.append(job)
        if run not in trained_runs and job.folder.history().epochs:
            num_resumed += 1

    num_trained = len(job_of_run) - len(jobs_to_train)
    duplicates = number_of(len(jobs) - len(job_of_run), "duplicate")
    lines = [
        _subject(sweep, len(jobs)),
        f"  {num_trained} already trained, {duplicates}, {len(jobs_to_train)} to train",
    ]
    if num_resumed:
        lines.append(f"  {number_of(num_resumed, 'run')} will resume from a checkpoint")
    if jobs_to_train:
        lines += _cost_lines(jobs_to_train, config, is_sweep=sweep is not None)
    if sweep is not None and race is not None:
        workers = _workers(config, _threads(jobs, SWEEP_THREADS))
        lines.append(f"  {race_estimate(sweep, jobs, race, workers)}")
    elif sweep is not None:
        lines += _detectable_lines(jobs)
    return lines


def _subject(sweep: SweepFolder | None, num_jobs: int) -> str:
    """Return the first line of an estimate, such as `sweep 0123456789abcdef: 6 jobs`."""
    if sweep is None:
        return "1 run"
    resumed = " (resumed)" if sweep.kept_plan() is not None else ""
    return f"sweep {sweep.id}{resumed}: {number_of(num_jobs, 'job')}"


def _cost_lines(jobs: Sequence[Job], config: Config, *, is_sweep: bool) -> list[str]:
    """Return lines with the estimated time and disk space for training jobs.

    Args:
        jobs: jobs to train.
        config: configuration of one job; its `sweep.*` flags apply to the sweep.
        is_sweep: whether the jobs belong to a sweep, whose runs use few threads by default.
    """
    default_threads = SWEEP_THREADS if is_sweep else cpu_count()
    threads = _threads(jobs, default_threads)
    workers = min(_workers(config, threads), len(jobs))

    run_seconds = [seconds + RUN_SECONDS for seconds in _seconds(jobs, default_threads)]
    # More workers than cores are not faster.
    training = makespan(run_seconds, min(workers, _parallel_runs(threads)))
    uploads = _remaining_upload_seconds(jobs, len(jobs), training)
    seconds = SWEEP_SECONDS + training + uploads

    space = megabytes(_bytes(jobs, len(jobs)))
    return [
        f"  about {duration(seconds)} on {_workers_text(workers, threads)} "
        "(estimated from a few steps, with uploads to MLflow)",
        f"  about {space} MB of disk space in {jobs[0].outputs}",
    ]


def _threads(jobs: Sequence[Job], default_threads: int) -> int:
    """Return the largest number of threads of a job.

    Args:
        default_threads: number of threads of jobs with `num_threads=null`.
    """
    return max(job.config.num_threads or default_threads for job in jobs)


def _workers(config: Config, threads: int) -> int:
    """Return the number of workers of a sweep whose runs have this number of threads."""
    return config.sweep.workers or _parallel_runs(threads)


def _parallel_runs(threads: int) -> int:
    """Return how many runs with this number of threads the CPU cores allow."""
    return max(1, cpu_count() // threads)


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

    bytes_per_run = TEXT_BYTES + weights + STATE_BYTES * sum(states) / len(jobs)
    if tracking.plots:
        bytes_per_run += PICTURE_BYTES
    if not is_stored_here:
        return round(runs * bytes_per_run)

    total = 0.0
    bytes_per_run += LOGGED_TEXT_BYTES
    if tracking.plots:
        bytes_per_run += LOGGED_PICTURES_BYTES
    if tracking.plots and runs > 1:
        total += SWEEP_PICTURES_BYTES
    if not (jobs[0].outputs / "mlflow.db").exists():
        total += DATABASE_BYTES
    bytes_per_model = MODEL_BYTES + 2 * weights
    return round(total + runs * bytes_per_run + _logged_models(jobs, runs) * bytes_per_model)


def _logged_models(jobs: Sequence[Job], runs: int) -> int:
    """Return the number of models that a sweep with these jobs logs to MLflow.

    Args:
        jobs: jobs of the runs, or examples of them.
        runs: number of runs.
    """
    models = jobs[0].config.tracking.models
    if models is LoggedModels.none:
        return 0
    is_search = len(jobs) != runs  # with a new configuration in almost every run
    if is_search or models is not LoggedModels.best:
        return runs
    return len({_swept_flags(job) for job in jobs})


def _swept_flags(job: Job) -> SweptFlags:
    """Return the swept flags of a job and their values, without the seed and the split."""
    return tuple((flag, value) for flag, value in job.swept.items() if flag not in SEED_FLAGS)


def _remaining_upload_seconds(jobs: Sequence[Job], runs: int, training: float) -> float:
    """Return the time of the uploads that remain after training, in seconds.

    Args:
        jobs: jobs of the runs, or examples of them.
        runs: number of runs.
        training: duration of training in seconds. Uploads take a small share of the machine's time
            in the meantime.
    """
    seconds_per_run = UPLOAD_SECONDS
    if jobs[0].config.tracking.plots:
        seconds_per_run += PICTURES_SECONDS
    total = runs * seconds_per_run + _logged_models(jobs, runs) * MODEL_SECONDS
    uploaded_in_training = UPLOAD_SHARE * cpu_count() * training
    return max(0.0, total - uploaded_in_training)


def _detectable_lines(jobs: Sequence[Job]) -> list[str]:
    """Return a line with the difference that a grid can detect; empty if the grid has a single seed
    or configuration.
    """
    seeds = defaultdict[SweptFlags, set[int]](set)
    for job in jobs:
        seeds[_swept_flags(job)].add(job.config.seed)

    num_datasets = len({job.config.dataset.name for job in jobs})
    num_configurations = len(seeds) // num_datasets
    num_seeds = min(len(seeds_of_one) for seeds_of_one in seeds.values())
    if num_seeds < 2 or num_configurations < 2:
        return []
    deviations = detectable(num_configurations, num_seeds)
    return [
        f"  {num_seeds} seeds can show that one of {num_configurations} configurations is not the "
        f"best if it is at least about {deviations:.1f} standard deviations (over seeds) below "
        "the best"
    ]


def search_estimate_lines(budgets: SearchPlan, corners: Sequence[Job], config: Config) -> list[str]:
    """Return lines with the estimated time and disk space of a search without pruning. Only a few
    steps are executed.

    Args:
        budgets: remaining budgets of the search.
        corners: jobs at the corners of the search space.
        config: configuration of one job; its `sweep.*` flags apply to the search.
    """
    epoch_seconds = _epoch_seconds(corners, SWEEP_THREADS)
    trial_seconds = []
    for seconds, job in zip(epoch_seconds, corners, strict=True):
        trial_seconds.append(seconds * job.config.num_epoch)
    mean_trial = statistics.fmean(trial_seconds)
    longest_trial = max(trial_seconds)

    threads = _threads(corners, SWEEP_THREADS)
    workers = _workers(config, threads)
    limits = []
    if budgets.n_trials is not None:
        limits.append(budgets.n_trials * budgets.seeds * mean_trial / workers)
    if budgets.max_epochs is not None:
        mean_epoch = statistics.fmean(epoch_seconds)
        limits.append(budgets.max_epochs * mean_epoch / workers + longest_trial)
    if budgets.max_seconds is not None:
        limits.append(budgets.max_seconds + longest_trial)  # running trials may finish
    training = min(limits)
    runs = round(training * workers / mean_trial)
    total = training + _remaining_upload_seconds(corners, runs, training)

    shortest = duration(min(trial_seconds))
    longest = duration(longest_trial)
    a_trial = shortest if shortest == longest else f"{shortest} to {longest}"
    workers_text = _workers_text(workers, threads)
    space = megabytes(_bytes(corners, runs))
    return [
        f"  one full trial: about {a_trial} (estimated from a few steps)",
        f"  without pruning: at most about {duration(total)} on {workers_text}, "
        f"with uploads to MLflow, {number_of(runs, 'run')}",
        f"  about {space} MB of disk space in {corners[0].outputs}",
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
    ratio = network_size(config).multiply_adds / network_size(lenet5).multiply_adds
    return lenet5, max(1.0, ratio)


def _workers_text(workers: int, threads: int) -> str:
    """Describe the workers of a sweep, such as `4 workers with 1 thread each`."""
    text = f"{number_of(workers, 'worker')} with {number_of(threads, 'thread')}"
    return f"{text} each" if workers > 1 else text


def makespan(seconds: Iterable[float], slots: int) -> float:
    """Return the time until all jobs have ended, if each job starts in the first slot that becomes
    free.

    Args:
        seconds: duration of each job, in seconds.
        slots: number of slots, each of which runs one job at a time.
    """
    end_of_slots = [0.0] * slots  # a heap, whose first item is the smallest
    for job_seconds in seconds:
        heapq.heapreplace(end_of_slots, end_of_slots[0] + job_seconds)
    return max(end_of_slots)


def _seconds(jobs: Sequence[Job], threads: int) -> list[float]:
    """Return the remaining time of each job, in seconds; `threads` applies to
    `num_threads=null`.
    """
    remaining_seconds = []
    for job, epoch_seconds in zip(jobs, _epoch_seconds(jobs, threads), strict=True):
        epochs_left = job.config.num_epoch - len(job.folder.history().epochs)
        remaining_seconds.append(epochs_left * epoch_seconds)
    return remaining_seconds


def _epoch_seconds(jobs: Sequence[Job], threads: int) -> list[float]:
    """Return the seconds per epoch of each job. Only one job of each kind is timed."""
    jobs_by_kind: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        jobs_by_kind[_kind(job)].append(job)

    seconds_of_job: dict[int, float] = {}  # keyed by `id`, because numbers can repeat
    for same_kind in jobs_by_kind.values():
        config, factor = _stand_in(same_kind[0].executed)
        seconds_per_image = factor * _seconds_per_image(config, threads)
        for job in same_kind:
            data = load_training_data(job.executed, torch.device("cpu"))
            # Validation has no gradients, and takes a third of the time.
            images = len(data.train_index) + len(data.val_index) / 3
            seconds_of_job[id(job)] = seconds_per_image * images
    return [seconds_of_job[id(job)] for job in jobs]


def _kind(job: Job) -> str:
    """Return a key that is the same for jobs whose steps take the same time."""
    config = job.config
    optimizer = config.optimizer["_target_"]
    parts = (
        config.dataset.name,
        config.model,
        config.activation,
        optimizer,
        config.batch_size,
        config.augmentation,
        config.training,
        job.engine,
    )
    return str(parts)


def _seconds_per_image(config: Config, threads: int) -> float:
    """Time a few training steps, and return the median of the seconds per image."""
    device = choose_device(config.device)
    torch.set_num_threads(config.num_threads or threads)
    data = load_training_data(config, device)
    state = new_training_state(config, device)
    step = engine_of(config).stepper(state, data, TIMED_STEPS)

    times = []
    for number in range(TIMED_STEPS):
        first = number * config.batch_size % max(1, len(data.train_index) - config.batch_size)
        batch = data.train_index[first : first + config.batch_size]
        start = time.perf_counter()
        float(step(batch, number)[0])  # `float` waits for the device
        times.append((time.perf_counter() - start) / len(batch))
    return statistics.median(times[WARMUP_STEPS:])
