"""Runs a job: starts or resumes its run, or returns its saved result."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.own_code import codes
from lenet_exp.config.schema import Config, EngineName
from lenet_exp.data.images import load_training_data
from lenet_exp.errors import DataError
from lenet_exp.folders.checkpoints import Checkpoints
from lenet_exp.folders.code_folder import load_code, save_code
from lenet_exp.folders.given_weights import given_weights
from lenet_exp.folders.job import Job
from lenet_exp.folders.model_file import ModelFile
from lenet_exp.folders.records import Record, describe_differences, exact_result_properties
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.machine import cpu_count, now_ms, versions
from lenet_exp.outputs import check_outputs
from lenet_exp.reports.terminal.progress import Display, log_to_file
from lenet_exp.runs.begin import begin
from lenet_exp.runs.continuation import continue_shorter_run
from lenet_exp.runs.former_defaults import log_former_run
from lenet_exp.runs.jobs import lone_job
from lenet_exp.runs.training import RunTraining
from lenet_exp.stopping import graceful
from lenet_exp.training.engine import EngineChoice, choose_engine, why_not_native
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import choose_device, describe_execution, use_threads
from lenet_exp.training.optimizer import scheduled_rates
from lenet_exp.training.state import TrainingState, new_lane

log = logging.getLogger("lenet_exp")

OnStart = Callable[[RunFolder], None]
OnResult = Callable[[RunResult], None]


def prepare_alone(config: Config, name: str | None = None) -> Job:
    """Check a configuration that is trained outside a sweep, and return its job.

    Args:
        config: configuration to train.
        name: name of the run; by default, the dataset, activation, and optimizer.

    Raises:
        ConfigError, DataError: the configuration is invalid, or the data cannot be used.
    """
    job = lone_job(config, name)
    log_former_run(job)
    check_outputs(job.outputs)
    _model_file(job)  # report an unwritable path before anything else starts
    save_code([job.config], job.outputs)
    return job


def run_alone(
    job: Job,
    *,
    default_threads: int | None = None,
    on_start: OnStart = lambda folder: None,
    on_result: OnResult = lambda result: None,
    prune: Callable[[EpochResult], bool] = lambda result: False,
) -> RunResult:
    """Train a job outside a sweep, or return its saved result.

    Args:
        job: job from `prepare_alone`.
        default_threads: number of threads for `num_threads=null`; by default, the number of cores.
        on_start, on_result, prune: see `run`.

    Raises:
        BaseException: training failed or was interrupted; see `run`.
    """
    forced_ms = now_ms() if job.config.sweep.force else 0
    threads = default_threads or cpu_count()
    return run(
        job,
        default_threads=threads,
        forced_ms=forced_ms,
        on_start=on_start,
        on_result=on_result,
        prune=prune,
    )


def run(
    job: Job,
    *,
    default_threads: int,
    forced_ms: int = 0,
    on_start: OnStart = lambda folder: None,
    on_result: OnResult = lambda result: None,
    prune: Callable[[EpochResult], bool] = lambda result: False,
    display: Display | None = None,
) -> RunResult:
    """Train a job to the end, resuming an earlier attempt if there is one, or return its saved
    result.

    Args:
        job: job to train.
        default_threads: number of threads for `num_threads=null`, unless an earlier attempt used a
            different number.
        forced_ms: time in milliseconds since 1970; a run that started before this time is
            retrained.
        on_start: function called with the run folder once it is ready, before training.
        on_result: function called with the result.
        prune: function called with the result of every epoch except the last, and again with the
            results of epochs from an earlier attempt. If it returns True, the run ends as `pruned`
            and can be resumed later.
        display: display of the sweep, if the run trains in the sweep's own process; by default, the
            run has its own display.

    Raises:
        ConfigError: the device is not available on this machine, or `model_path` cannot be written
            to.
        DataError: the data was not found, or has changed since the job was created.
        BaseException: training failed or was interrupted; the original exception is raised. The
            outcome in the record is `failed` or `killed`.
    """
    config, folder, display = job.executed, job.folder, display or Display()
    save_code([config], job.outputs)
    load_code(codes(config), job.outputs)
    device = choose_device(config.device)
    model_file = _model_file(job)
    with folder.claim():
        record = folder.checked_result()
        earlier = folder.begun()
        if earlier is not None and earlier.created_ms < forced_ms:
            earlier = record = None
        if record is not None:
            folder.clean_up()
            weights = folder.best_weights()
            if model_file is not None and weights is not None:
                model_file.replace(weights, record)
            elif model_file is not None and record.best_epoch is not None:
                log.warning(
                    "%s: weights for model_path are missing; to retrain, set sweep.force=true",
                    job.name,
                )
            _tell_other_execution(job.config, device, record)
            result = RunResult(folder.path, record, repeated=True)
            on_result(result)
            return result
        threads = earlier.execution.get("num_threads") if earlier is not None else None
        threads = use_threads(
            config.num_threads, threads if isinstance(threads, int) else None, default_threads
        )
        chosen = _engine(job, earlier, device, threads)
        config = replace(config, num_threads=threads, engine=chosen.engine)
        data = load_training_data(config, device)
        if fingerprint(config, data.digests, scheduled_rates(config)) != job.fingerprint:
            raise DataError(
                f"dataset={config.dataset.name}: the data ({data.source}) or the program has changed since this sweep "
                "started; rerun its command without sweep.resume="
            )
        rarely = gc.get_threshold()
        gc.set_threshold(
            700, 10, 10
        )  # as usual, because a network can leave large tensors in reference cycles
        lane = new_lane(config, device, given_weights(config, job.outputs))
        try:
            with graceful(), log_to_file(folder.log_file):
                new = begin(job, config, data, device, engine_why=chosen.why)
                new = replace(
                    new, created_ms=max(new.created_ms, forced_ms)
                )  # this machine's clock can be behind
                begun, checkpoints = _begin(job, earlier, new, lane, forced_ms=forced_ms)
                log.log(display.level_alone(), "%s: engine %s", job.name, chosen.words)
                on_start(folder)
                record = RunTraining(
                    folder=folder,
                    begun=begun,
                    lane=lane,
                    data=data,
                    checkpoints=checkpoints,
                    model_file=model_file,
                    display=display,
                    prune=prune,
                ).train()
        finally:
            gc.set_threshold(*rarely)
        result = RunResult(folder.path, record, repeated=False)
        on_result(result)
        return result


def _engine(job: Job, earlier: Record | None, device: torch.device, threads: int) -> EngineChoice:
    """Return a job's engine or, with `engine=auto`, the engine of an earlier attempt that this
    machine can resume.

    Raises:
        ConfigError: the job needs the native engine, which is not available on this machine. The
            torch engine would give different weights.
    """
    if (
        job.config.engine is EngineName.auto
        and earlier is not None
        and earlier.engine != job.engine
    ):
        can = earlier.engine == EngineName.torch or why_not_native(job.config) is None
        if can and earlier.engine in set(EngineName):
            began = EngineName(earlier.engine)
            here = describe_execution(
                replace(job.config, engine=began, num_threads=threads), device
            )
            if not earlier.execution_differences(
                replace(earlier, execution=here, versions=versions())
            ):
                return EngineChoice(began, "it started the run")
    choose_engine(job.executed)
    return EngineChoice(job.engine, job.engine_why)


def _model_file(job: Job) -> ModelFile | None:
    path = job.config.model_path
    return ModelFile(path, job.config.dataset.name, job.run) if path else None


def _tell_other_execution(config: Config, device: torch.device, record: Record) -> None:
    """Log a message if the exact weights of a saved result may differ from those that this request
    would give.

    The weights may differ if the result was trained with execution settings other than those
    requested, or with a different torch version.
    """
    asked: dict[str, str | int | None] = {"num_threads": config.num_threads}
    if config.device != "auto":
        asked["device"] = device.type
    if config.engine is not EngineName.auto:
        asked["engine"] = config.engine.value
    had = exact_result_properties(record.execution, record.versions)
    if "torch" in had and "torch" in versions():
        asked["torch"] = versions()["torch"]
    was = {key: had.get(key) for key, value in asked.items() if value is not None}
    other = [f"{key}={value}" for key, value in was.items() if value not in (None, asked[key])]
    if other:
        log.info(
            "%s: trained with %s; to retrain, set sweep.force=true", record.name, ", ".join(other)
        )


def _begin(
    job: Job, earlier: Record | None, new: Record, lane: TrainingState, *, forced_ms: int
) -> tuple[Record, Checkpoints]:
    """Resume an earlier attempt if the weights will be identical; if not, continue a shorter run,
    or start over.
    """
    folder, other = job.folder, earlier.execution_differences(new) if earlier is not None else {}
    attempt: Checkpoints | None = (
        None  # an earlier attempt without a checkpoint, whose MLflow run stays
    )
    if earlier is not None and not other:
        checkpoints = folder.resume()
        if checkpoints.restore(lane):
            log.info(
                "%s: resuming in epoch %d after %d steps",
                new.name,
                lane.position.epoch,
                lane.position.steps,
            )
            return earlier.begun, checkpoints
        if folder.has_no_metrics(earlier.created_ms):
            new, attempt = (
                replace(earlier.begun, continued_from="", inherited_epochs=0),
                checkpoints,
            )
    elif earlier is not None:
        was = describe_differences(other)
        log.info(
            "%s: starting over, because results would differ: the run was started with %s",
            new.name,
            was,
        )
    new, shorter = continue_shorter_run(job, new, lane, forced_ms)
    if attempt is not None:
        folder.begin(new)
    checkpoints = attempt or folder.start(new)
    if shorter is not None:
        checkpoints.inherit(shorter, lane)
    return new, checkpoints
