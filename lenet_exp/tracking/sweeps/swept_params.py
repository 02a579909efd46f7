"""Swept flags and their values, as parameters of the sweep's own MLflow run."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.folders.job import Job
from lenet_exp.folders.records import SweepPlan
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.tracking.stores.store import Store

SHOWN = 20  # maximum number of values listed; beyond that, the first ones and their number
LONGEST = 500  # maximum number of characters in the list


def log_swept(store: Store, run_id: str, sweep: SweepFolder) -> None:
    """Log parameters that the run lacks. MLflow does not allow changes, and the same jobs may be spelled
    differently."""
    from mlflow.entities import Param

    plan = sweep.started()
    if not plan.swept:
        return
    known = store.client.get_run(run_id).data.params
    new = {k: v for k, v in swept_params(plan, sweep.jobs()).items() if k not in known}
    if new:
        store.client.log_batch(run_id, params=[Param(k, v) for k, v in new.items()])


def swept_params(plan: SweepPlan, jobs: Sequence[Job]) -> dict[str, str]:
    """Return the values of each swept flag in the order of the jobs; for a search, its space as typed."""
    typed = dict(o.lstrip("+").split("=", 1) for o in plan.overrides if "=" in o)
    found = {}
    for flag in (swept.lstrip("+") for swept in plan.swept):
        values = list(dict.fromkeys(job.swept[flag] for job in jobs if flag in job.swept))
        text = typed.get(flag, "") if plan.search is not None or not values else _listed(values)
        if text:
            found[flag] = text[:LONGEST]
    return found


def _listed(values: Sequence[str]) -> str:
    """Return values as a list: `relu, selu`."""
    more = f", and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more
