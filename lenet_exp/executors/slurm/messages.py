"""Messages between a sweep and its places in Slurm allocations, and the files in the sweep folder
that contain them.

A place is a process in an allocation that runs one job at a time.

slurm/plan.json          the part of the sweep that places need; deleted when the sweep ends
slurm/job.sh, <id>.log   script and logs of the allocations
slurm/<session>/         one session of the sweep: messages in driver/ and to-<place>/, and
                         heartbeats in beats/
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lenet_exp.config.typed_json import read_as
from lenet_exp.executors.slurm.message_folder import Heartbeats, Message, MessageFolder
from lenet_exp.executors.work import EpochReport, JobEnd, RemoteWork
from lenet_exp.files import read_json, write_json
from lenet_exp.folders.job import Job, job_to_json
from lenet_exp.stopping import Terminated

DESCRIBED, QUESTION, ENDED, NOT_BEGUN, LEFT = "described", "question", "ended", "not begun", "left"
START, ANSWER, STOP, LEAVE = "start", "answer", "stop", "leave"


@dataclass(frozen=True)
class PlacePlan:
    """The part of a sweep that a place needs to run jobs.

    Attributes:
        session: ID of the sweep's session.
        work: data that the place needs to run the sweep's jobs.
        asks, time_limit: see `PortableWork`.
        probe: name of a file in the sweep folder; the file contains only this name.
    """

    session: str
    work: RemoteWork
    asks: bool
    time_limit: float | None
    probe: str


class SlurmMessages:
    """The `slurm` folder in a sweep folder, with the plan and the messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(
        self, work: RemoteWork, *, asks: bool, time_limit: float | None, probe: str
    ) -> PlacePlan:
        """Start a new session of the sweep, and end earlier sessions. Running places detect and
        join the new session.

        Args:
            work: data that the places need to run the sweep's jobs.
            asks, time_limit: see `PortableWork`.
            probe: see `PlacePlan`.
        """
        plan = PlacePlan(uuid.uuid4().hex[:8], work, asks, time_limit, probe=probe)
        for name in ("driver", "beats"):
            (self.folder / plan.session / name).mkdir(parents=True)
        write_json(self.folder / "plan.json", asdict(plan))
        for old in self.folder.iterdir():
            if old.is_dir() and old.name != plan.session:
                shutil.rmtree(old, ignore_errors=True)
        return plan

    def close(self, session: str) -> None:
        """End a session. Its places detect the end of the session and exit."""
        (self.folder / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / session, ignore_errors=True)

    def plan(self) -> PlacePlan | None:
        """Return the plan of the current session, or None if the sweep has ended.

        Raises:
            ValueError: the plan is corrupt.
        """
        value = read_json(self.folder / "plan.json")
        return None if value is None else read_as(PlacePlan, value)

    def driver(self, session: str) -> MessageFolder:
        """Return the folder for messages from places to the sweep."""
        return MessageFolder(self.folder / session / "driver")

    def place(self, session: str, name: str) -> MessageFolder:
        """Return the folder for messages from the sweep to one place."""
        folder = self.folder / session / f"to-{name}"
        folder.mkdir(exist_ok=True)
        return MessageFolder(folder)

    def beats(self, session: str) -> Heartbeats:
        """Return the heartbeat files of a session's places."""
        return Heartbeats(self.folder / session / "beats")


def start(turn: int, job: Job) -> Message:
    """Return the message that starts a job at a place.

    Args:
        turn: number of the attempt; see `StartJob`.
        job: job to start.
    """
    return {"kind": START, "turn": turn, "number": job.number, "job": job_to_json(job)}


def job_message(turn: int, what: EpochReport | JobEnd | None) -> Message:
    """Return the message that reports an epoch or the end of a job.

    In the message, accuracies and losses are strings, because JSON has no infinity.

    Args:
        turn: number of the attempt; see `StartJob`.
        what: epoch or end of the job; None if the job was stopped before it started.
    """
    if isinstance(what, EpochReport):
        figures = {"value": repr(what.value), "val_loss": repr(what.val_loss)}
        return {"kind": QUESTION, "turn": turn, "number": what.job, "epoch": what.epoch, **figures}
    if what is None:
        return {"kind": NOT_BEGUN, "turn": turn}
    error = (
        None
        if what.error is None
        else " ".join(f"{type(what.error).__name__}: {what.error}".split())
    )
    ended = {"number": what.job, "error": error, "lost": what.lost, "over_limit": what.over_limit}
    return {"kind": ENDED, "turn": turn, **ended, "interrupted": isinstance(what.error, Terminated)}


def read_report(message: Message) -> EpochReport:
    """Return the epoch report that a message contains.

    Raises:
        ValueError, KeyError, TypeError: the message is malformed.
    """
    value, loss = (float(message[name]) for name in ("value", "val_loss"))
    return EpochReport(int(message["number"]), int(message["epoch"]), value, loss)


def read_job_end(message: Message) -> JobEnd:
    """Return the end of a job, as reported in a message.

    Raises:
        ValueError, KeyError, TypeError: the message is malformed.
    """
    error: BaseException | None = (
        None if message["error"] is None else RuntimeError(message["error"])
    )
    if message["interrupted"]:
        error = Terminated()
    lost = None if message["lost"] is None else str(message["lost"])
    return JobEnd(
        int(message["number"]), error=error, lost=lost, over_limit=bool(message["over_limit"])
    )
