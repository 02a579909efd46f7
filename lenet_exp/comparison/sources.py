"""Where a comparison's runs come from: run folders of sweeps that are here, else an MLflow store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lenet_exp.comparison.runs import ComparedRun, from_results
from lenet_exp.errors import ConfigError
from lenet_exp.sweeps.results import job_results
from lenet_exp.sweeps.resume import find_sweep, is_mlflow_run_id
from lenet_exp.sweeps.sweep_folder import SweepFolder


def runs_of_sweeps(which: Sequence[str], uri: str | None, experiment: str) -> tuple[list[ComparedRun], list[str], str]:
    """The runs of sweeps, the flags that were swept, and the commands.

    A sweep that is not in the outputs folder is looked for in the store by its MLflow run id.

    Raises:
        UserError: there is no such sweep.
    """
    runs: dict[str, ComparedRun] = {}
    swept: dict[str, None] = {}
    titles = []
    for name in which:
        try:
            sweep = find_sweep(name.strip())
        except ConfigError:
            if not is_mlflow_run_id(name.strip()):
                raise
            found, flags = runs_of_filter(f"tags.sweeps LIKE '%{name.strip()}%'", uri, experiment)
            if not found:
                raise
            titles.append(f"sweep {name.strip()}")
        else:
            plan = sweep.plan()
            found, flags = runs_of(sweep), [flag.lstrip("+") for flag in plan["swept"]]
            titles.append(plan["command"])
        runs |= {run.id: run for run in found}
        swept |= dict.fromkeys(flags)
    return list(runs.values()), list(swept), "; ".join(titles)


def runs_of(sweep: SweepFolder) -> list[ComparedRun]:
    """The runs of one sweep, from their run folders."""
    with _outputs_of(sweep):
        return from_results(job_results(sweep, sweep.jobs(), since_ms=0))


def runs_of_filter(filter_string: str, uri: str | None, experiment: str) -> tuple[list[ComparedRun], list[str]]:
    """The runs that a filter finds in the store, and no swept flags."""
    from lenet_exp.tracking.search import search
    from lenet_exp.tracking.store import default_uri

    return search(uri or default_uri(), experiment, filter_string), []


@contextmanager
def _outputs_of(sweep: SweepFolder) -> Iterator[None]:
    """Jobs look for their run folders in the outputs folder; the sweep may be named by a folder in another."""
    before, outputs = os.environ.get("LENET_EXP_OUTPUTS"), Path(sweep.path).parent.parent
    os.environ["LENET_EXP_OUTPUTS"] = str(outputs)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LENET_EXP_OUTPUTS"]
        else:
            os.environ["LENET_EXP_OUTPUTS"] = before
