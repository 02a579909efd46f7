"""Runs jobs of a sweep in an allocation of a cluster."""

from __future__ import annotations

from dataclasses import replace

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

    def host_of(
        work: RemoteWork, asks: bool, time_limit: float | None, probe: str
    ) -> tuple[SlotProcess, SlotInfo]:
        task, prepare = remote_task(sweep, work)
        sample_jobs = [job_from_json(value, sweep.outputs) for value in work.sample_jobs]
        spec = WorkSpec(
            task,
            prepare,
            [],
            cores=cores_of(sample_jobs),
            jobs=None,
            output=sweep.path / "workers.log",
        )
        host = SlotProcess(
            PortableWork(spec, [], time_limit, asks=asks, probe=(sweep.path / probe, probe))
        )
        lacks = (
            why_no_kernels() if any(job.engine is EngineName.native for job in sample_jobs) else ""
        )
        return host, replace(host.describe(), lacks=lacks, data=_other_data(sample_jobs))

    return serve_slot(queue, sweep, host_of)


def _other_data(sample_jobs: list[Job]) -> str:
    """Describe a dataset that is missing or different on this node. Return an empty string if all
    datasets match.
    """
    for job in sample_jobs:
        named = f"dataset={job.config.dataset.name} in data_root={job.config.data_root}"
        try:
            load_code(codes(job.config), job.outputs)
            config = job.executed
            if (
                fingerprint(config, data_digests(config), scheduled_rates(config))
                != job.fingerprint
            ):
                return f"{named} differs from the data on the submitting machine"
        except (DataError, ConfigError) as e:
            return f"{named}: {e}"
    return ""
