"""Sets right what a process that was killed left behind: MLflow would show it as RUNNING for ever."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from lenet_exp.config.compose import typed
from lenet_exp.sweeps.freeze import FrozenJob
from lenet_exp.sweeps.owner import owner_of
from lenet_exp.sweeps.results import give_up, job_results
from lenet_exp.sweeps.sweep_folder import SweepFolder
from lenet_exp.tracking.delivery import Delivery
from lenet_exp.tracking.parent import close_parent

log = logging.getLogger("lenet_exp")


def repair(sweep: SweepFolder) -> bool:
    """Ends a sweep whose process died, and its runs, as killed. They can go on. Whether there was anything to do."""
    plan = sweep.plan()
    if plan["outcome"] != "running" or sweep.owner() is not None:
        return False
    with sweep.claim():
        jobs = list({job.run: job for job in sweep.jobs()}.values())
        delivery = _delivery(jobs[0], plan["tracking_uri"])
        for job in jobs:
            _bury(job, delivery)
        sweep.save({"outcome": "killed"})
        results = job_results(sweep, sweep.jobs(), plan["started_ms"])
        if delivery is not None:
            delivery.attempt("the sweep's own MLflow run", lambda s: close_parent(s, sweep, results, "killed"))
    log.info("sweep %s: its process died; it and its runs are marked as killed now, and can go on", sweep.id)
    return True


def _bury(job: FrozenJob, delivery: Delivery | None) -> None:
    folder = job.folder
    if folder.result() is not None or folder.job() is None or owner_of(folder.path) is not None:
        return
    with folder.claim():
        buried = give_up(folder, "killed", "its process died")
    if buried and delivery is not None:
        delivery.send(folder)


def _delivery(job: FrozenJob, tracking_uri: str | None) -> Delivery | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
    if uri is not None and "***" in uri:
        log.warning("tracking.uri=%s: its password was not kept; set MLFLOW_TRACKING_URI", uri)
        return None
    return Delivery(replace(typed(job.config).tracking, uri=uri), in_sweep=True)
