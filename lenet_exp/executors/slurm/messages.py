"""Messages between a sweep and its places in Slurm allocations, and the files in the sweep's folder that hold them.

slurm/plan.json          what a place has to know of the sweep; no such file: the sweep is over
slurm/job.sh, <id>.log   the allocation's script, and what the allocations printed
slurm/<session>/         of one start of the sweep: driver/ and to-<place>/ are boxes, beats/ says who lives
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lenet_exp.config.plain import read_as
from lenet_exp.executors.executor import EpochReport, RemoteWork
from lenet_exp.executors.host import PlaceInfo, Question
from lenet_exp.executors.local.pool import JobEnd
from lenet_exp.executors.slurm.message_folder import Heartbeats, Message, MessageFolder
from lenet_exp.files import read_json, write_json
from lenet_exp.folders.job import Job, job_to_json
from lenet_exp.stopping import Terminated

DESCRIBED, QUESTION, ENDED, NOT_BEGUN, LEFT = "described", "question", "ended", "not begun", "left"
START, ANSWER, STOP, LEAVE = "start", "answer", "stop", "leave"


@dataclass(frozen=True)
class PlacePlan:
    """The part of a sweep that a place needs.

    Attributes:
        session: names the start of the sweep that it is of.
        work: of the sweep.
        asks, time_limit: as of `PortableWork`.
        probe: the name of a file in the sweep's folder that holds its own name.
    """

    session: str
    work: RemoteWork
    asks: bool
    time_limit: float | None
    probe: str


class SlurmMessages:
    """The folder `slurm` of a sweep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, work: RemoteWork, *, asks: bool, time_limit: float | None, probe: str) -> PlacePlan:
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
        return None if value is None else read_as(PlacePlan, value)

    def driver(self, session: str) -> MessageFolder:
        """The messages from places."""
        return MessageFolder(self.folder / session / "driver")

    def place(self, session: str, name: str) -> MessageFolder:
        """The messages to one place."""
        folder = self.folder / session / f"to-{name}"
        folder.mkdir(exist_ok=True)
        return MessageFolder(folder)

    def beats(self, session: str) -> Heartbeats:
        return Heartbeats(self.folder / session / "beats")


def start(turn: int, job: Job) -> Message:
    """Tells a place to begin with a job."""
    return {"kind": START, "turn": turn, "number": job.number, "job": job_to_json(job)}


def job_message(turn: int, what: Question | JobEnd | None) -> Message:
    """A message about a job's progress or end. Numbers are strings: JSON has none for an infinite loss."""
    if isinstance(what, Question):
        report: EpochReport = what.what
        figures = {"val_accuracy": repr(report.val_accuracy), "val_loss": repr(report.val_loss)}
        return {"kind": QUESTION, "turn": turn, "number": report.job, "epoch": report.epoch, **figures}
    if what is None:
        return {"kind": NOT_BEGUN, "turn": turn}
    error = None if what.error is None else " ".join(f"{type(what.error).__name__}: {what.error}".split())
    ended = {"number": what.job, "error": error, "lost": what.lost, "over_limit": what.over_limit}
    return {"kind": ENDED, "turn": turn, **ended, "interrupted": isinstance(what.error, Terminated)}


def place_message(place: PlaceInfo) -> Message:
    return {"kind": DESCRIBED, **asdict(place)}


def read_report(message: Message) -> EpochReport:
    """Raises:
    ValueError, KeyError, TypeError: it is none.
    """
    accuracy, loss = (float(message[name]) for name in ("val_accuracy", "val_loss"))
    return EpochReport(int(message["number"]), int(message["epoch"]), accuracy, loss)


def read_job_end(message: Message) -> JobEnd:
    """Raises:
    ValueError, KeyError, TypeError: it is none.
    """
    error: BaseException | None = None if message["error"] is None else RuntimeError(message["error"])
    if message["interrupted"]:
        error = Terminated()
    lost = None if message["lost"] is None else str(message["lost"])
    return JobEnd(int(message["number"]), error=error, lost=lost, over_limit=bool(message["over_limit"]))
