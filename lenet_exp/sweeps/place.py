"""Runs jobs of a sweep in a Slurm allocation, after loading the sweep's plan from the sweep folder."""

from __future__ import annotations

from dataclasses import replace

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.schema import EngineName
from lenet_exp.data.images import data_digests
from lenet_exp.errors import ConfigError, DataError
from lenet_exp.executors.host import Host, PortableWork
from lenet_exp.executors.slurm.messages import PlacePlan, SlurmMessages
from lenet_exp.executors.slurm.place import Place, place_name
from lenet_exp.folders.job import Job, job_from_json
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.sweeps.workers import remote_task
from lenet_exp.training.native.library import why_no_kernels


def serve(sweep: SweepFolder) -> bool:
    """Run jobs of a sweep until none are left. Return whether the sweep was restarted, which requires a new process.

    Raises:
        UserError, OSError, ValueError: a file in the sweep folder is missing, unreadable, or corrupt.
    """
    channel = SlurmMessages(sweep.path / "slurm")
    plan = channel.plan()
    if plan is None:
        return False
    try:
        return _serve(sweep, channel, plan)
    except OSError:
        now = channel.plan()
        if now is not None and now.session == plan.session:
            raise
        return now is not None  # the sweep ended or restarted while this process was starting


def _serve(sweep: SweepFolder, channel: SlurmMessages, plan: PlacePlan) -> bool:
    task, prepare = remote_task(sweep, plan.work)
    like = [job_from_json(value, sweep.outputs) for value in plan.work.like]
    output, probe = sweep.path / "workers.log", (sweep.path / plan.probe, plan.probe)
    work = PortableWork(
        task=task, prepare=prepare, sets=[], output=output, time_limit=plan.time_limit, asks=plan.asks, probe=probe
    )
    host = Host(work)
    lacks = why_no_kernels() if any(job.engine is EngineName.native for job in like) else ""
    place = replace(host.describe(), lacks=lacks, data=_other_data(like))

    def has_driver() -> bool:
        return sweep.owner() is not None

    return Place(channel, plan.session, place_name(), host, sweep.outputs, has_driver).serve(place)


def _other_data(like: list[Job]) -> str:
    """Describe a dataset that is missing or different on this node. Return an empty string if all datasets match."""
    for job in like:
        named = f"dataset={job.config.dataset.name} in data_root={job.config.data_root}"
        try:
            if fingerprint(job.executed, data_digests(job.executed)) != job.fingerprint:
                return f"{named} differs from the data on the submitting machine"
        except (DataError, ConfigError) as e:
            return f"{named}: {e}"
    return ""
