"""A job of a sweep, frozen: composed, checked, named by what it trains, independent of conf/ from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir


@dataclass(frozen=True)
class FrozenJob:
    """One job of a sweep.

    Attributes:
        number: from 0.
        name: short; says what differs.
        swept: the values of the swept flags.
        overrides: as Hydra composed it from.
        config: plain; `typed` reads it back.
        fingerprint: of what it trains.
        run: name of its run folder. Jobs with the same one are trained once.
    """

    number: int
    name: str
    swept: dict[str, str]
    overrides: list[str]
    config: dict[str, Any]
    fingerprint: str
    run: str

    @property
    def folder(self) -> RunFolder:
        return RunFolder(outputs_dir() / "runs" / self.run)


def sweep_key(experiment: str, jobs: Sequence[FrozenJob]) -> str:
    """The name of a sweep's folder: 16 hex digits of what it trains and where it goes."""
    text = "\n".join([experiment, *sorted(job.run for job in jobs)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
