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
from lenet_exp.machine import command_line, cpu_count, now_ms, versions
from lenet_exp.outputs import check_outputs
from lenet_exp.reports.terminal.log_output import log_to_file
from lenet_exp.reports.terminal.progress import Display
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
from lenet_exp.training.state import TrainingState, new_training_state

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
        command=command_line(),
        default_threads=threads,
        forced_ms=forced_ms,
        on_start=on_start,
        on_result=on_result,
        prune=prune,
    )


def run(
    job: Job,
    *,
    command: str,
    default_threads: int,
    forced_ms: int = 0,
    on_start: OnStart = lambda folder: None,
    on_result: OnResult = lambda result: None,
    prune: Callable[[EpochResult], bool] = lambda result: False,
    display: Display | None = None,
) -> RunResult:
    """Train a job to the end, or return its saved result.

    If there is an earlier attempt, it is resumed.

    Args:
        job: job to train.
        command: command of the run or of its sweep, for the record.
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
    config = job.executed
    folder = job.folder
    display = display or Display()
    save_code([config], job.outputs)
    load_code(codes(config), job.outputs)
    device = choose_device(config.device)
    model_file = _model_file(job)

    with folder.claim():
        saved_record = folder.checked_result()
        earlier = folder.begun()
        if earlier is not None and earlier.created_ms < forced_ms:
            saved_record = None
            earlier = None

        if saved_record is not None:
            _use_saved_result(job, saved_record, device, model_file)
            result = RunResult(folder.path, saved_record, repeated=True)
            on_result(result)
            return result

        threads = _use_threads(config, earlier, default_threads)
        engine_choice = _choose_engine(job, earlier, device, threads)
        config = replace(config, num_threads=threads, engine=engine_choice.engine)
        data = load_training_data(config, device)
        if fingerprint(config, data.digests, scheduled_rates(config)) != job.fingerprint:
            raise DataError(
                f"dataset={config.dataset.name}: the data ({data.source}) or the program has "
                "changed since this sweep started; rerun its command without sweep.resume="
            )

        # Python's default thresholds, because a network can leave large tensors in reference cycles
        thresholds = gc.get_threshold()
        gc.set_threshold(700, 10, 10)
        try:
            state = new_training_state(config, device, given_weights(config, job.outputs))
            with graceful(), log_to_file(folder.log_file):
                new = begin(
                    job, config, data, device, engine_why=engine_choice.why, command=command
                )
                # This machine's clock can be behind.
                new = replace(new, created_ms=max(new.created_ms, forced_ms))
                begun, checkpoints = _begin(job, earlier, new, state, forced_ms=forced_ms)
                log.log(display.level_alone(), "%s: engine %s", job.name, engine_choice.words)
                on_start(folder)

                training = RunTraining(
                    folder=folder,
                    begun=begun,
                    state=state,
                    data=data,
                    checkpoints=checkpoints,
                    model_file=model_file,
                    display=display,
                    prune=prune,
                )
                record = training.train()
        finally:
            gc.set_threshold(*thresholds)

        result = RunResult(folder.path, record, repeated=False)
        on_result(result)
        return result


def _use_saved_result(
    job: Job, record: Record, device: torch.device, model_file: ModelFile | None
) -> None:
    """Clean up the folder of a run that has a result, and write `model_path` again."""
    folder = job.folder
    folder.clean_up()
    weights = folder.best_weights()

    if model_file is not None and weights is not None:
        model_file.replace(weights, record)
    elif model_file is not None and record.best_epoch is not None:
        log.warning(
            "%s: weights for model_path are missing; to retrain, set sweep.force=true", job.name
        )
    _log_other_execution(job.config, device, record)


def _use_threads(config: Config, earlier: Record | None, default_threads: int) -> int:
    """Set the number of threads: as requested, as in an earlier attempt, or the default."""
    earlier_threads = earlier.execution.get("num_threads") if earlier is not None else None
    if not isinstance(earlier_threads, int):
        earlier_threads = None
    return use_threads(config.num_threads, earlier_threads, default_threads)


def _choose_engine(
    job: Job, earlier: Record | None, device: torch.device, threads: int
) -> EngineChoice:
    """Return a job's engine, or the other engine of an earlier attempt that can be resumed.

    Raises:
        ConfigError: the job needs the native engine, which is not available on this machine. The
            torch engine would give different weights.
    """
    earlier_engine = _resumable_engine(job, earlier, device, threads)
    if earlier_engine is not None:
        return EngineChoice(earlier_engine, "it started the run")

    choose_engine(job.executed)
    return EngineChoice(job.engine, job.engine_why)


def _resumable_engine(
    job: Job, earlier: Record | None, device: torch.device, threads: int
) -> EngineName | None:
    """Return an earlier attempt's engine if this machine can resume the attempt only with it.

    Returns:
        None if the user chose an engine, or the attempt used the job's engine, or this machine
        cannot resume it with identical results.
    """
    if earlier is None or job.config.engine is not EngineName.auto:
        return None
    if earlier.engine == job.engine:
        return None

    is_available = earlier.engine == EngineName.torch or why_not_native(job.config) is None
    if not is_available or earlier.engine not in set(EngineName):
        return None

    engine = EngineName(earlier.engine)
    config = replace(job.config, engine=engine, num_threads=threads)
    execution = describe_execution(config, device)
    resumed = replace(earlier, execution=execution, versions=versions())
    if earlier.execution_differences(resumed):
        return None
    return engine


def _model_file(job: Job) -> ModelFile | None:
    path = job.config.model_path
    return ModelFile(path, job.config.dataset.name, job.run) if path else None


def _log_other_execution(config: Config, device: torch.device, record: Record) -> None:
    """Log a message if this request might not give the exact weights of a saved result.

    The weights may differ if the result was trained with execution settings other than those
    requested, or with a different torch version.
    """
    requested: dict[str, str | int | None] = {"num_threads": config.num_threads}
    if config.device != "auto":
        requested["device"] = device.type
    if config.engine is not EngineName.auto:
        requested["engine"] = config.engine.value

    recorded = exact_result_properties(record.execution, record.versions)
    if "torch" in recorded and "torch" in versions():
        requested["torch"] = versions()["torch"]

    differences = []
    for key, value in requested.items():
        recorded_value = recorded.get(key)
        if value is None or recorded_value in (None, value):
            continue
        differences.append(f"{key}={recorded_value}")

    if differences:
        log.info(
            "%s: trained with %s; to retrain, set sweep.force=true",
            record.name,
            ", ".join(differences),
        )


def _begin(
    job: Job, earlier: Record | None, new: Record, state: TrainingState, *, forced_ms: int
) -> tuple[Record, Checkpoints]:
    """Resume an earlier attempt if possible; if not, continue a shorter run, or start over.

    An attempt is resumed only if the weights will be identical.

    Args:
        job: job of the run.
        earlier: record of the earlier attempt; None if there is none.
        new: record of the new attempt.
        state: initial training state, which is updated in place.
        forced_ms: see `run`.

    Returns:
        The record of the run at its start, and its checkpoints.
    """
    folder = job.folder
    # checkpoints of an earlier attempt that had none to restore; the attempt's MLflow run stays
    attempt: Checkpoints | None = None

    if earlier is not None:
        differences = earlier.execution_differences(new)
        if differences:
            log.info(
                "%s: starting over, because results would differ: the run was started with %s",
                new.name,
                describe_differences(differences),
            )
        else:
            checkpoints = folder.resume()
            if checkpoints.restore(state):
                log.info(
                    "%s: resuming in epoch %d after %d steps",
                    new.name,
                    state.position.epoch,
                    state.position.steps,
                )
                return earlier.begun, checkpoints
            if folder.has_no_metrics(earlier.created_ms):
                new = replace(earlier.begun, continued_from="", inherited_epochs=0)
                attempt = checkpoints

    new, shorter = continue_shorter_run(job, new, state, forced_ms)
    if attempt is None:
        checkpoints = folder.start(new)
    else:
        folder.begin(new)
        checkpoints = attempt

    if shorter is not None:
        checkpoints.inherit(shorter, state)
    return new, checkpoints
