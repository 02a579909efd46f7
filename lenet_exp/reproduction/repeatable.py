"""Prepares a recorded run to be retrained or evaluated again, or explains why it cannot be."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lenet_exp.config.compose import compose, typed
from lenet_exp.config.fingerprint import TRAINING_VERSION, fingerprint
from lenet_exp.config.own_code import unidentified_classes
from lenet_exp.config.schema import Config, EngineName, LoggedModels
from lenet_exp.config.typed_json import to_plain
from lenet_exp.data.images import TrainingData, data_digests, load_training_data
from lenet_exp.errors import ConfigError, UserError
from lenet_exp.files import user_path
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Record, describe_differences
from lenet_exp.machine import command_line
from lenet_exp.outputs import outputs_dir
from lenet_exp.reproduction.reproduce_result import ReproduceResult, differs, not_comparable
from lenet_exp.reproduction.verify import contradiction
from lenet_exp.runs.begin import begin
from lenet_exp.tracking.models.code import Source, with_trusted_code
from lenet_exp.tracking.models.recorded import RecordedRun
from lenet_exp.training.check import check_config
from lenet_exp.training.engine import ASKED_FOR, choose_engine
from lenet_exp.training.execution import choose_device, use_threads
from lenet_exp.training.optimizer import scheduled_rates
from lenet_exp.training.trained.trust import check_network, check_training, is_trusted

FOLDER = "reproduced"  # subfolder of the outputs folder

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class RepeatableRun:
    """A recorded run that is ready to be retrained, or to have its weights evaluated.

    Attributes:
        record: record of the original run.
        job: job that retrains the run in a separate outputs folder, with the recorded device,
            threads, and engine, and without uploads and model files.
        data: training data of the run, on the recorded device.
        excuse: reason why the weights can legitimately differ on this machine; empty if they must
            be identical.
    """

    record: Record
    job: Job
    data: TrainingData
    excuse: str


def repeatable(
    recorded: RecordedRun, data_root: str | None, file: str | None, trust: str | None
) -> RepeatableRun | ReproduceResult:
    """Prepare a recorded run for retraining or evaluation.

    Differences between this machine and the original machine are logged.

    Args:
        recorded: run to prepare.
        data_root: folder with the datasets; by default, the folder in the record or, if that does
            not exist, this machine's default folder.
        file: .npz file with the images of a run with `dataset=arrays`; by default, the path in the
            record.
        trust: classes and modules that the user trusts; a record from another outputs folder may
            use them.

    Returns:
        The prepared run, or a result if the preparation is unnecessary or impossible.

    Raises:
        ConfigError: `trust` contains an invalid name, or `file` was not found or cannot be used for
            this run.
    """
    record = recorded.record
    if recorded.altered:
        return differs(recorded.altered)
    if record is None or record.outcome is None:
        return not_comparable("the run has no record yet")
    problem = contradiction(recorded, record)
    if problem:
        return differs(problem)
    if record.training_version != TRAINING_VERSION:
        return not_comparable(
            f"trained with training version {record.training_version}; "
            f"this release has {TRAINING_VERSION}"
        )

    if file is not None:
        record = _with_images(record, file)
    try:
        config, device = _as_executed(recorded, record, data_root, trust)
        mismatch = _mismatch(record, config)
        if mismatch is not None:
            return mismatch
        data = load_training_data(config, device)
    except UserError as e:
        return not_comparable(_with_hint(e, record))

    use_threads(config.num_threads, 1)
    job = Job(
        number=0,
        name=record.name,
        swept={},
        overrides=[],
        config=config,
        fingerprint=record.fingerprint,
        run=recorded.id,
        engine=EngineName(record.engine),
        engine_why=ASKED_FOR,
        outputs=outputs_dir() / FOLDER / recorded.id,
    )
    here = begin(job, config, data, device, engine_why=ASKED_FOR, command=command_line())
    return RepeatableRun(record, job, data, excuse=_excuse(record, here))


def _mismatch(record: Record, config: Config) -> ReproduceResult | None:
    """Return why a configuration does not give the run of a record here; None if it does.

    Either the data differs, or the fingerprint.

    Raises:
        UserError: the data is not available.
    """
    digests = data_digests(config)
    differing_parts = [
        part for part, digest in record.data_digests.items() if digests.get(part) != digest
    ]
    if differing_parts:
        parts = ", ".join(differing_parts)
        place = config.dataset.file or config.data_root
        return not_comparable(f"the data is different here ({parts}; {place})")

    rates = scheduled_rates(config)
    if fingerprint(config, digests, rates) == record.fingerprint:
        return None
    if fingerprint(config, digests) == record.fingerprint:
        rates_text = " and ".join(f"{rate:g}" for rate in rates)
        return not_comparable(
            f"its parameter groups have the learning rates {rates_text}, but release 0.3 gave all "
            "of them the scheduled rate of the first group"
        )
    return differs("its configuration does not match its fingerprint")


def _with_hint(error: UserError, record: Record) -> str:
    """Return the text of an error; if the run's file was not found, also what to do about it."""
    file = record.config.dataset.file
    if file is None or Path(file).exists():
        return str(error)
    return f"{error}; to use a copy of this file, add dataset.file=<path>"


def _with_images(record: Record, file: str) -> Record:
    """Return a record whose images are read from another file.

    Digests show whether the images are the same.

    Raises:
        ConfigError: the file was not found, or the run was not trained on such a file.
    """
    dataset = record.config.dataset
    path = user_path(file).absolute()
    if dataset.file is None:
        raise ConfigError(
            f"dataset.file={file}: the run was not trained on an .npz file, but on {dataset.name}"
        )
    if not path.is_file():
        raise ConfigError(f"dataset.file={file}: not found")

    config = replace(record.config, dataset=replace(dataset, file=str(path)))
    return replace(record, config=config)


def _as_executed(
    recorded: RecordedRun, record: Record, data_root: str | None, trust: str | None
) -> tuple[Config, torch.device]:
    """Return the configuration with the recorded execution settings, and the device.

    Raises:
        UserError: this machine or release cannot execute the configuration, or the record specifies
            an untrusted class.
    """
    config = _trusted_config(recorded, record, trust)
    if record.engine not in {EngineName.torch, EngineName.native}:
        raise UserError(f"engine={record.engine}: not available in this release")

    execution = record.execution
    threads = execution.get("num_threads", config.num_threads)
    if not isinstance(threads, int):
        threads = None
    tracking = replace(config.tracking, uri=None, plots=False, models=LoggedModels.none, tags={})
    config = replace(
        config,
        device=str(execution.get("device", config.device)),
        num_threads=threads,
        engine=EngineName(record.engine),
        data_root=data_root or _existing_data_root(config),
        model_path=None,
        tracking=tracking,
    )
    config = typed(to_plain(config))
    check_config(config)
    device = choose_device(config.device)
    choose_engine(config)
    return config, device


def _trusted_config(recorded: RecordedRun, record: Record, trust: str | None) -> Config:
    """Return the configuration of a record, whose classes may be imported.

    Raises:
        UserError: the record specifies an untrusted class.
    """
    source: Source = recorded.mlflow_run
    if recorded.folder is not None:
        source = recorded.folder.path.absolute().parent.parent
    config = with_trusted_code(recorded.name, record.config, trust, source)
    for target in unidentified_classes(config):
        if not is_trusted(target, trust):
            raise UserError(
                f"release 0.2 did not store the code of {target}; "
                f"to use your own version of it, add trust={target}"
            )

    if recorded.is_ours:
        return config

    # The classes and mirrors of another outputs folder can come from an untrusted configuration.
    check_network(recorded.name, config, trust)
    check_training(recorded.name, config, trust)
    return replace(config, dataset=replace(config.dataset, mirrors=None, archive=None))


def _existing_data_root(config: Config) -> str:
    """Return the recorded data folder or, if it does not exist, this machine's default folder."""
    if Path(config.data_root).is_dir():
        return config.data_root
    return compose([]).data_root


def _excuse(record: Record, here: Record) -> str:
    """Log how this machine differs from the original machine.

    Returns:
        The differences that can change exact weights; empty if there are none.
    """
    if record.source_digest and record.source_digest != here.source_digest:
        log.info("code: %s (now %s)", record.source_digest[:12], here.source_digest[:12])

    packages = []
    for name, version in record.versions.items():
        version_here = here.versions.get(name, version)
        if version_here != version:
            packages.append(f"{name}={version} (now {version_here})")
    if packages:
        log.info("versions: %s", ", ".join(packages))

    if record.host not in ("", here.host):
        log.info("host: %s (now %s)", record.host, here.host)

    files = []
    for name, digest in record.data_files.items():
        if here.data_files.get(name, digest) != digest:
            files.append(name)
    if files:
        log.info(
            "data files: different, but with the same images and labels (%s)", ", ".join(files)
        )

    reasons = []
    differences = record.execution_differences(here)
    if differences:
        reasons.append(f"trained with {describe_differences(differences)}")
    missing = record.missing_properties(here)
    if missing:
        reasons.append(f"its record, from an older release, lacks {', '.join(missing)}")
    return "; ".join(reasons)
