"""What a sweep and its places in allocations of Slurm say to each other, and where that lies in the sweep's folder.

slurm/plan.json          what a place has to know of the sweep; no such file: the sweep is over
slurm/job.sh, <id>.log   the allocation's script, and what the allocations printed
slurm/<session>/         of one start of the sweep: driver/ and to-<place>/ are boxes, beats/ says who lives
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lenet_exp.executors.executor import Report
from lenet_exp.executors.host import Described, Question
from lenet_exp.executors.local.pool import Done
from lenet_exp.executors.slurm.mailbox import Beats, Box
from lenet_exp.files import Json, read_json, write_json
from lenet_exp.folders.job import Job, job_json, job_of
from lenet_exp.folders.stored import stored_of
from lenet_exp.stopping import Terminated

DESCRIBED, QUESTION, ENDED, NOT_BEGUN, LEFT = "described", "question", "ended", "not begun", "left"
START, ANSWER, STOP, LEAVE = "start", "answer", "stop", "leave"


@dataclass(frozen=True)
class PlacePlan:
    """What a place has to know of a sweep.

    Attributes:
        session: names the start of the sweep that it is of.
        work: what `Elsewhere` carries.
        asks, time_limit: as of `Carried`.
        probe: the name of a file in the sweep's folder that holds its own name.
    """

    session: str
    work: Any
    asks: bool
    time_limit: float | None
    probe: str


class Desk:
    """The folder `slurm` of a sweep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, work: Any, *, asks: bool, time_limit: float | None, probe: str) -> PlacePlan:
        """A new session, from which on those before count no more; its places find it by themselves."""
        plan = PlacePlan(uuid.uuid4().hex[:8], work, asks, time_limit, probe)
        for name in ("driver", "beats"):
            (self.folder / plan.session / name).mkdir(parents=True)
        write_json(self.folder / "plan.json", asdict(plan))
        for old in self.folder.iterdir():
            if old.is_dir() and old.name != plan.session:
                shutil.rmtree(old, ignore_errors=True)
        return plan

    def close(self, session: str) -> None:
        """Places that live see that there is nothing more for them."""
        (self.folder / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / session, ignore_errors=True)

    def plan(self) -> PlacePlan | None:
        """None where the sweep is over.

        Raises:
            ValueError: it can't be read.
        """
        value = read_json(self.folder / "plan.json")
        return None if value is None else stored_of(PlacePlan, value)

    def driver(self, session: str) -> Box:
        """What places say."""
        return Box(self.folder / session / "driver")

    def place(self, session: str, name: str) -> Box:
        """What a place is told."""
        folder = self.folder / session / f"to-{name}"
        folder.mkdir(exist_ok=True)
        return Box(folder)

    def beats(self, session: str) -> Beats:
        return Beats(self.folder / session / "beats")


def start(turn: int, job: Job) -> dict[str, Json]:
    """Tells a place to begin with a job."""
    return {"kind": START, "turn": turn, "number": job.number, "job": job_json(job)}


def job_in(message: Mapping[str, Json], outputs: Path) -> Job:
    """Raises:
    ValueError: there is none in it.
    """
    return job_of(message.get("job"), outputs)


def said(turn: int, what: Question | Done | None) -> dict[str, Json]:
    """What came of a job, so far. Numbers are words: a loss may be infinite, which JSON has no number for."""
    if isinstance(what, Question):
        report: Report = what.what
        return {
            "kind": QUESTION,
            "turn": turn,
            "number": report.job,
            "epoch": report.epoch,
            "val_accuracy": repr(report.val_accuracy),
            "val_loss": repr(report.val_loss),
        }
    if what is None:
        return {"kind": NOT_BEGUN, "turn": turn}
    error = None if what.error is None else " ".join(f"{type(what.error).__name__}: {what.error}".split())
    ended = {"number": what.job, "error": error, "lost": what.lost, "over_limit": what.over_limit}
    ended["interrupted"] = isinstance(what.error, Terminated)
    return {"kind": ENDED, "turn": turn, **ended}


def described(place: Described) -> dict[str, Json]:
    return {"kind": DESCRIBED, **asdict(place)}


def described_in(message: Mapping[str, Json]) -> Described:
    """Raises:
    ValueError: it is none.
    """
    return stored_of(Described, message)


def number_in(message: Mapping[str, Json], name: str) -> int:
    """Raises:
    ValueError, KeyError: there is no such number.
    """
    return int(str(message[name]))


def report_in(message: Mapping[str, Json]) -> Report:
    """Raises:
    ValueError, KeyError, TypeError: it is none.
    """
    accuracy, loss = (float(str(message[name])) for name in ("val_accuracy", "val_loss"))
    return Report(number_in(message, "number"), number_in(message, "epoch"), accuracy, loss)


def done_in(message: Mapping[str, Json]) -> Done:
    """Raises:
    ValueError, KeyError, TypeError: it is none.
    """
    error: BaseException | None = None if message["error"] is None else RuntimeError(str(message["error"]))
    if message["interrupted"]:
        error = Terminated()
    lost = None if message["lost"] is None else str(message["lost"])
    return Done(number_in(message, "number"), error=error, lost=lost, over_limit=bool(message["over_limit"]))
