"""Logs the flags that a sweep varies, with their values, as parameters of the sweep's MLflow run."""

from __future__ import annotations

from collections.abc import Sequence

from lenet_exp.folders.job import Job
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.folders.sweep_plan import SweepPlan
from lenet_exp.tracking.stores.store import Store

LONGEST = 500  # maximum number of characters in a list


def log_swept(store: Store, run_id: str, sweep: SweepFolder) -> None:
    """Log the swept flags of a sweep, with their values, unless the MLflow run of the sweep already has them.

    Existing parameters are kept even if a rerun specifies the same jobs differently, because MLflow does not allow
    changes to parameters.
    """
    from mlflow.entities import Param

    plan = sweep.started()
    if not plan.swept:
        return
    known = store.client.get_run(run_id).data.params
    new = {k: v for k, v in swept_params(plan, sweep.jobs()).items() if k not in known}
    if new:
        store.client.log_batch(run_id, params=[Param(k, v) for k, v in new.items()])


def swept_params(plan: SweepPlan, jobs: Sequence[Job]) -> dict[str, str]:
    """Return the values of each swept flag as text, keyed by flag.

    The values are in the order of the jobs. For a search, the text is the flag's search space as typed.
    """
    typed = dict(o.lstrip("+").split("=", 1) for o in plan.overrides if "=" in o)
    found = {}
    for flag in (swept.lstrip("+") for swept in plan.swept):
        values = list(dict.fromkeys(job.swept[flag] for job in jobs if flag in job.swept))
        text = typed.get(flag, "") if plan.search is not None or not values else ", ".join(values)
        if text:
            found[flag] = text[:LONGEST]
    return found
