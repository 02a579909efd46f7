"""Jobs of a sweep: composed, checked, and frozen, so later changes to conf/ do not affect them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lenet_exp.config.flags import without_removed
from lenet_exp.config.schema import Config, EngineName
from lenet_exp.config.typed_json import read_as
from lenet_exp.folders.digests import redacted, verified, with_digest
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.stored import Stored, to_json, without_secrets
from lenet_exp.outputs import outputs_dir


@dataclass(frozen=True)
class Job(Stored):
    """A job of a sweep.

    Attributes:
        number: position of the job in the sweep, counted from 0.
        name: short name that contains the swept values.
        swept: values of the swept flags, keyed by flag.
        overrides: overrides from which Hydra composed the configuration.
        config: configuration as requested; `engine=auto` is not replaced with the chosen engine.
        fingerprint: hash that identifies the experiment.
        run: name of the job's run folder. Jobs with the same run are trained only once.
        engine: engine that executes the training steps.
        engine_why: reason for the choice of the engine, as a short phrase.
        trial: number of the trial in a search; None in a grid.
        epochs_before: in a search, number of epochs that the run had when the job was created; they
            do not count toward the search's budgets.
        outputs: path of the outputs folder; not stored, because the outputs folder contains the
            sweep folder.
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
        """The configuration with the chosen engine."""
        return replace(self.config, engine=self.engine)

    @property
    def trial_number(self) -> int:
        """The number of the job's trial in a search, or the number of the job in a grid."""
        return self.number if self.trial is None else self.trial

    @property
    def folder(self) -> RunFolder:
        """The run folder of the job."""
        return RunFolder(self.outputs / "runs" / self.run)


def job_from_json(value: Any, outputs: Path) -> Job:
    """Return the job that a line of jobs.jsonl describes.

    Args:
        value: the line as a JSON value.
        outputs: path of the outputs folder that contains the sweep.

    Raises:
        ValueError: the line does not describe a valid job.
    """
    job = read_as(Job, redacted(verified(value)))
    job.other.pop("digest", None)
    return replace(job, outputs=outputs, overrides=without_removed(job.overrides))


def job_to_json(job: Job) -> Any:
    """Return the JSON value that describes a job in jobs.jsonl."""
    value = to_json(job)
    del value["outputs"]  # the outputs folder can be moved
    return with_digest(without_secrets(value))
