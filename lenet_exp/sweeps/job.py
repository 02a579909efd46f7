"""One job of a sweep. However it ends, its result is a file in the sweep folder and the others go on."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from lenet_exp.cli import EXIT_FAILED, set_exit_status
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
    started: list[RunFolder] = []

    def open_delivery(config: Config) -> Delivery:
        return Delivery(config.tracking, parent=parent, in_sweep=True)

    def end(outcome: str, reason: str, result: RunResult | None = None) -> None:
        folder = RunFolder(result.folder) if result else next(iter(started), None)
        if outcome != "finished":
            set_exit_status(EXIT_FAILED)
        sweep.end_job(number, job_result(outcome, reason, folder, result))

    try:
        result = run(
            config,
            name=job.name,
            default_threads=SWEEP_THREADS,
            open_delivery=open_delivery,
            on_start=started.append,
            force_older=sweep.plan().get("created_ms", math.inf),  # duplicates in the sweep are trained once
        )
    except Exception as e:
        reason = _one_line(e)
        end("failed", reason)
        display.job_done(f"{job.name}: failed: {reason}")
        return math.nan
    except BaseException as e:
        end("killed", type(e).__name__)
        raise
    end(result.outcome, result.record["reason"], result)
    display.job_done(f"{job.name}: {_line(result)}")
    return result.value


def job_result(outcome: str, reason: str, folder: RunFolder | None, result: RunResult | None) -> dict[str, Any]:
    """What the table and the parent run need to know of a job.

    Args:
        folder: None where it failed before it had one.
        result: None where it failed or was killed.
    """
    record = (folder.record() if folder else None) or {}
    delivered = (folder.delivered() if folder else None) or {"mlflow_runs": []}
    mlflow_run_id = delivered["mlflow_runs"][-1]["run_id"] if delivered["mlflow_runs"] else None
    return {
        "outcome": outcome,
        "reason": reason,
        "best_val_accuracy": record.get("best_val_accuracy"),
        "best_epoch": record.get("best_epoch"),
        "seconds": record.get("seconds"),
        "at_chance": at_chance(record),
        "repeated": result.repeated if result else False,
        "folder": str(folder.path) if folder else None,
        "log": str(folder.log_file) if folder else None,
        "mlflow_run_id": result.mlflow_run_id if result else mlflow_run_id,
        "ended_ms": time.time_ns() // 1_000_000,
    }


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _line(result: RunResult) -> str:
    if result.outcome != "finished":
        return f"{result.outcome}: {result.record['reason']}"
    best = f"{result.record['best_val_accuracy']:.2%} in epoch {result.record['best_epoch']}"
    return f"{best}, trained before" if result.repeated else f"{best}, {result.record['seconds']:.1f} s"
