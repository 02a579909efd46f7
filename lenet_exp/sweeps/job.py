"""One job of a sweep. However it ends, its result is a file in the sweep folder and the others go on."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from lenet_exp.config.schema import Config
from lenet_exp.errors import UserError
from lenet_exp.reports.progress import display
from lenet_exp.reports.sweep_table import at_chance
from lenet_exp.run import RunResult, run
from lenet_exp.sweeps.plan import Job, SweepFolder
from lenet_exp.sweeps.run_folder import RunFolder
from lenet_exp.tracking.delivery import Delivery

log = logging.getLogger("lenet_exp")

SWEEP_THREADS = 1  # for num_threads=null: the cores are for runs side by side


def run_job(config: Config, folder: Path, number: int) -> float:
    """Runs job `number` of the sweep in `folder`; the best validation accuracy, or NaN where there is none."""
    sweep = SweepFolder(folder)
    jobs = sweep.jobs()
    job = jobs[number] if number < len(jobs) else Job(number, f"job {number}", {})
    parent = sweep.plan().get("mlflow_run_id")
    opened: list[Delivery] = []

    def open_delivery(config: Config) -> Delivery:
        opened.append(Delivery(config.tracking, parent=parent, in_sweep=True))
        return opened[0]

    def end(outcome: str, reason: str, record: dict[str, Any] | None = None, result: RunResult | None = None) -> None:
        sweep.end_job(number, job_result(outcome, reason, record, result))

    try:
        result = run(config, name=job.name, default_threads=SWEEP_THREADS, open_delivery=open_delivery)
    except Exception as e:
        reason = str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
        end("failed", reason)
        display.job_done(f"{job.name}: failed: {reason}")
        return math.nan
    except BaseException as e:
        end("killed", type(e).__name__)
        raise
    end(result.outcome, result.record["reason"], result.record, result)
    display.job_done(f"{job.name}: {_line(result)}")
    return result.value


def job_result(outcome: str, reason: str, record: dict[str, Any] | None, result: RunResult | None) -> dict[str, Any]:
    """What the table and the parent run need to know of a job."""
    return {
        "outcome": outcome,
        "reason": reason,
        "best_val_accuracy": record["best_val_accuracy"] if record else None,
        "best_epoch": record["best_epoch"] if record else None,
        "seconds": record["seconds"] if record else None,
        "at_chance": at_chance(record) if record else False,
        "repeated": result.repeated if result else False,
        "folder": str(result.folder) if result else None,
        "log": str(RunFolder(result.folder).log_file) if result else None,
        "mlflow_run_id": result.mlflow_run_id if result else None,
        "ended_ms": time.time_ns() // 1_000_000,
    }


def _line(result: RunResult) -> str:
    if result.outcome != "finished":
        return f"{result.outcome}: {result.record['reason']}"
    best = f"{result.record['best_val_accuracy']:.2%} in epoch {result.record['best_epoch']}"
    return f"{best}, trained before" if result.repeated else f"{best}, {result.record['seconds']:.1f} s"
