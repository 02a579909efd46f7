"""A sweep on disk, outputs/sweeps/<start>/: what was asked for (sweep.json), what each job came to (jobs/<n>.json)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_exp.files import read_json, write_json

# MLflow shows about 15 characters of a name.
SHORT = {
    "batch_size": "batch",
    "dropout_rate": "drop",
    "learning_rate": "lr",
    "momentum": "mom",
    "negative_slope": "slope",
    "num_epoch": "epochs",
    "num_threads": "threads",
    "split_seed": "split",
    "train_size": "n",
    "weight_decay": "wd",
}


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its number from 0, a short name that says what differs, and its swept flags' values."""

    number: int
    name: str
    swept: dict[str, str]


class SweepFolder:
    """Reads and writes one sweep folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    def start(self, command: str, overrides: list[str], jobs: list[Job]) -> None:
        """Writes down what is going to be done."""
        write_json(
            self.path / "sweep.json",
            {
                "command": command,
                "overrides": overrides,
                "jobs": [{"name": j.name, "swept": j.swept} for j in jobs],
                "created_ms": time.time_ns() // 1_000_000,
                "mlflow_run_id": None,
            },
        )

    def set_mlflow_run(self, run_id: str | None) -> None:
        write_json(self.path / "sweep.json", self.plan() | {"mlflow_run_id": run_id})

    def plan(self) -> dict[str, Any]:
        return read_json(self.path / "sweep.json") or {}

    def jobs(self) -> list[Job]:
        return [Job(i, j["name"], j["swept"]) for i, j in enumerate(self.plan().get("jobs", []))]

    def end_job(self, number: int, result: dict[str, Any]) -> None:
        """What a job came to: outcome, reason, best_val_accuracy, best_epoch, seconds, repeated, folder, log."""
        write_json(self.path / "jobs" / f"{number}.json", result)

    def result(self, number: int) -> dict[str, Any] | None:
        return read_json(self.path / "jobs" / f"{number}.json")


def name_jobs(swept: list[str], jobs: list[list[str]], groups: set[str]) -> list[Job]:
    """Names the jobs of a grid by the values of their swept flags.

    Args:
        swept: the flags with several values.
        jobs: the overrides of each job, `flag=value`.
        groups: the flags that are config groups; their value says enough by itself (`relu`).
    """
    named = []
    for number, overrides in enumerate(jobs):
        values = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
        mine = {flag.lstrip("+"): values.get(flag.lstrip("+"), "") for flag in swept}
        parts = [value if flag in groups else f"{_short(flag)}={value}" for flag, value in mine.items()]
        named.append(Job(number, " ".join(parts) or f"job {number}", mine))
    return named


def _short(flag: str) -> str:
    leaf = flag.rpartition(".")[2]
    return SHORT.get(leaf, leaf)
