"""Creates the record of a new run, with all information needed to reproduce it."""

from __future__ import annotations

from dataclasses import asdict

import torch

from lenet_exp.config.fingerprint import TRAINING_VERSION
from lenet_exp.config.schema import Config
from lenet_exp.config.targets import canonical_config
from lenet_exp.data.images import TrainingData
from lenet_exp.folders.job import Job
from lenet_exp.folders.records import Record
from lenet_exp.machine import git_state, host, now_ms, user, versions
from lenet_exp.package_files import source_digest
from lenet_exp.training.execution import describe_execution
from lenet_exp.training.network import network_size


def begin(
    job: Job,
    config: Config,
    data: TrainingData,
    device: torch.device,
    *,
    engine_why: str,
    command: str,
) -> Record:
    """Return the record of a new run.

    Args:
        job: job that the run belongs to.
        config: configuration of the job, with the engine and number of threads already chosen.
        data: training data of the run.
        device: device that the run trains on.
        engine_why: reason for choosing the engine; see `describe_execution`.
        command: command of the run or of its sweep; see `machine.shell_command`.
    """
    normalization = None if data.shape.is_standard else data.normalization

    return Record(
        name=job.name,
        fingerprint=job.fingerprint,
        training_version=TRAINING_VERSION,
        config=canonical_config(config),
        data_digests=data.digests,
        data_source=data.source,
        data_files=data.files,
        source_digest=source_digest(),
        execution=describe_execution(config, device, engine_why),
        versions=versions(),
        git=git_state(),
        host=host(),
        user=user(),
        command=command,
        normalization=normalization,
        **asdict(network_size(config)),
        created_ms=now_ms(),
    )
