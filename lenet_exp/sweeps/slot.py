"""Runs jobs of a sweep in an allocation of a cluster."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.own_code import codes
from lenet_exp.config.schema import EngineName
from lenet_exp.data.images import data_digests
from lenet_exp.errors import ConfigError, DataError
from lenet_exp.executors.queues import serve_slot
from lenet_exp.executors.slot_process import PortableWork, SlotInfo, SlotProcess
from lenet_exp.executors.work import RemoteWork, WorkSpec
from lenet_exp.folders.code_folder import load_code
from lenet_exp.folders.job import Job, job_from_json
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.workers import cores_of, remote_task
from lenet_exp.training.native.library import why_no_kernels
from lenet_exp.training.optimizer import scheduled_rates


def serve(queue: str, sweep: SweepFolder) -> bool:
    """Run jobs of a sweep in an allocation until none are left. Return whether the sweep was
    restarted, which requires a new process.

    Args:
        queue: name of the cluster's entry in `queues.QUEUES`.

    Raises:
        UserError, OSError, ValueError: a file in the sweep folder is missing, unreadable, or
            corrupt.
    """
    return serve_slot(queue, sweep, partial(_new_process, sweep))


def _new_process(
    sweep: SweepFolder, work: RemoteWork, asks: bool, time_limit: float | None, probe: str
) -> tuple[SlotProcess, SlotInfo]:
    """Return a process that runs jobs of a sweep on this machine, and its description.

    Args:
        work: data that the process needs to run the jobs.
        asks, time_limit: see `PortableWork`.
        probe: name of a file in the sweep folder, which contains only this name.
    """
    task, prepare = remote_task(sweep, work)
    sample_jobs = [job_from_json(value, sweep.outputs) for value in work.sample_jobs]
    spec = WorkSpec(
        task=task,
        prepare=prepare,
        sets=[],
        cores=cores_of(sample_jobs),
        jobs=None,
        output=sweep.path / "workers.log",
    )
    portable_work = PortableWork(
        spec, arrays=[], time_limit=time_limit, asks=asks, probe=(sweep.path / probe, probe)
    )
    process = SlotProcess(portable_work)

    lacks = ""
    if any(job.engine is EngineName.native for job in sample_jobs):
        lacks = why_no_kernels()
    info = replace(process.describe(), lacks=lacks, data=_why_other_data(sample_jobs))
    return process, info


def _why_other_data(sample_jobs: list[Job]) -> str:
    """Describe a dataset that is missing or different on this node. Return an empty string if all
    datasets match.
    """
    for job in sample_jobs:
        named = f"dataset={job.config.dataset.name} in data_root={job.config.data_root}"
        try:
            load_code(codes(job.config), job.outputs)
            config = job.executed
            digest = fingerprint(config, data_digests(config), scheduled_rates(config))
            # The configuration came with the job, so only the data can differ.
            if digest != job.fingerprint:
                return f"{named} differs from the data on the submitting machine"
        except (DataError, ConfigError) as e:
            return f"{named}: {e}"
    return ""
