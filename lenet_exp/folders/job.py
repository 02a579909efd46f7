"""A job of a sweep, frozen: composed, checked, named by what it trains, independent of conf/ from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        number: from 0.
        name: short; says what differs.
        swept: the values of the swept flags.
        overrides: as Hydra composed it from.
        config: plain; `typed` reads it back.
        fingerprint: of what it trains.
        run: name of its run folder. Jobs with the same one are trained once.
        outputs: the outputs folder; not kept, since the sweep's folder, which hands out jobs, lies in it.
    """

    number: int
    name: str
    swept: dict[str, str]
    overrides: list[str]
    config: dict[str, Any]
    fingerprint: str
    run: str
    outputs: Path = field(default_factory=outputs_dir, compare=False)

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.outputs / "runs" / self.run)

    def as_json(self) -> dict[str, Any]:
        """A line of jobs.jsonl."""
        return {key: value for key, value in asdict(self).items() if key != "outputs"}


def sweep_key(experiment: str, jobs: Sequence[Job]) -> str:
    """The name of a sweep's folder: 16 hex digits of what it trains and where it goes."""
    text = "\n".join([experiment, *sorted(job.run for job in jobs)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
