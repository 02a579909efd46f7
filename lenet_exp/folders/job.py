"""A job of a sweep, frozen: composed, checked, named by what it trains, independent of conf/ from then on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lenet_exp.config.plain import read_as
from lenet_exp.config.schema import Config, EngineName
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.digests import redacted, verified, with_digest
from lenet_exp.folders.stored import Stored, to_json, without_secrets
from lenet_exp.outputs import outputs_dir


@dataclass(frozen=True)
class Job(Stored):
    """One job of a sweep.

    Attributes:
        number: from 0.
        name: short; says what differs.
        swept: the values of the swept flags.
        overrides: as Hydra composed it from.
        config: as it was asked for: `engine=auto` stays so.
        fingerprint: of what it trains.
        run: name of its run folder. Jobs with the same one are trained once.
        engine: what will do its steps, and why (in half a line).
        trial: of a search: whose configuration it trains; None in a grid, and in older releases the job's number.
        epochs_before: of a search: epochs that its run had when it was asked for, which cost the search nothing.
        outputs: the outputs folder; not kept, since the sweep's folder, which hands out jobs, lies in it.
    """

    number: int
    name: str
    swept: dict[str, str]
    overrides: list[str]
    config: Config
    fingerprint: str
    run: str
    engine: EngineName = EngineName.torch
    engine_why: str = ""
    trial: int | None = None
    epochs_before: int = 0
    outputs: Path = field(default_factory=outputs_dir, compare=False)

    @property
    def executed(self) -> Config:
        """The configuration with the engine that was chosen."""
        return replace(self.config, engine=self.engine)

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.outputs / "runs" / self.run)


def job_from_json(value: Any, outputs: Path) -> Job:
    """The job that a line of jobs.jsonl holds, in this outputs folder.

    Raises:
        ValueError: it is none.
    """
    job = read_as(Job, redacted(verified(value)))
    job.other.pop("digest", None)
    return replace(job, outputs=outputs)


def job_to_json(job: Job) -> Any:
    """As a line of jobs.jsonl holds it."""
    return with_digest(without_secrets({key: value for key, value in to_json(job).items() if key != "outputs"}))
