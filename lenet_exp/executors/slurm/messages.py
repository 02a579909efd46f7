"""Messages between a sweep and its job slots in Slurm allocations, and the files that contain them.

A job slot is a process in an allocation that runs one job at a time. The files are in the sweep
folder:

slurm/plan.json          the part of the sweep that slots need; deleted when the sweep ends
slurm/job.sh, <id>.log   script and logs of the allocations
slurm/<session>/         one session of the sweep: messages in driver/ and to-<slot>/, and
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

# Kinds of messages from a slot.
DESCRIBED = "described"
QUESTION = "question"
ENDED = "ended"
NOT_BEGUN = "not begun"
LEFT = "left"
# Kinds of messages to a slot.
START = "start"
ANSWER = "answer"
STOP = "stop"
LEAVE = "leave"


@dataclass(frozen=True)
class PlacePlan:
    """The part of a sweep that a slot needs to run jobs.

    Attributes:
        session: ID of the sweep's session.
        work: data that the slot needs to run the sweep's jobs.
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
        """Start a new session of the sweep, and end earlier sessions.

        Running slots detect and join the new session.

        Args:
            work: data that the slots need to run the sweep's jobs.
            asks, time_limit: see `PortableWork`.
            probe: see `PlacePlan`.
        """
        session = uuid.uuid4().hex[:8]
        plan = PlacePlan(session, work, asks, time_limit, probe=probe)
        for name in ("driver", "beats"):
            (self.folder / session / name).mkdir(parents=True)
        write_json(self.folder / "plan.json", asdict(plan))

        for path in self.folder.iterdir():
            if path.is_dir() and path.name != session:
                shutil.rmtree(path, ignore_errors=True)
        return plan

    def close(self, session: str) -> None:
        """End a session. Its slots detect the end of the session and exit."""
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
        """Return the folder for messages from slots to the sweep."""
        return MessageFolder(self.folder / session / "driver")

    def slot(self, session: str, name: str) -> MessageFolder:
        """Return the folder for messages from the sweep to one slot."""
        folder = self.folder / session / f"to-{name}"
        folder.mkdir(exist_ok=True)
        return MessageFolder(folder)

    def beats(self, session: str) -> Heartbeats:
        """Return the heartbeat files of a session's slots."""
        return Heartbeats(self.folder / session / "beats")


def start(turn: int, job: Job) -> Message:
    """Return the message that starts a job in a slot.

    Args:
        turn: number of the attempt; see `StartJob`.
        job: job to start.
    """
    return {"kind": START, "turn": turn, "number": job.number, "job": job_to_json(job)}


def job_message(turn: int, report: EpochReport | JobEnd | None) -> Message:
    """Return the message that reports an epoch or the end of a job.

    In the message, accuracies and losses are strings, because JSON has no infinity.

    Args:
        turn: number of the attempt; see `StartJob`.
        report: epoch or end of the job; None if the job was stopped before it started.
    """
    if report is None:
        return {"kind": NOT_BEGUN, "turn": turn}
    if isinstance(report, EpochReport):
        return {
            "kind": QUESTION,
            "turn": turn,
            "number": report.job,
            "epoch": report.epoch,
            "value": repr(report.value),
            "val_loss": repr(report.val_loss),
        }

    error = None
    if report.error is not None:
        line = f"{type(report.error).__name__}: {report.error}"
        error = " ".join(line.split())
    return {
        "kind": ENDED,
        "turn": turn,
        "number": report.job,
        "error": error,
        "lost": report.lost,
        "over_limit": report.over_limit,
        "interrupted": isinstance(report.error, Terminated),
    }


def read_report(message: Message) -> EpochReport:
    """Return the epoch report that a message contains.

    Raises:
        ValueError, KeyError, TypeError: the message is malformed.
    """
    value = float(message["value"])
    val_loss = float(message["val_loss"])
    return EpochReport(int(message["number"]), int(message["epoch"]), value, val_loss)


def read_job_end(message: Message) -> JobEnd:
    """Return the end of a job, as reported in a message.

    Raises:
        ValueError, KeyError, TypeError: the message is malformed.
    """
    error: BaseException | None = None
    if message["error"] is not None:
        error = RuntimeError(message["error"])
    if message["interrupted"]:
        error = Terminated()

    lost = message["lost"]
    if lost is not None:
        lost = str(lost)
    number = int(message["number"])
    over_limit = bool(message["over_limit"])
    return JobEnd(number, error=error, lost=lost, over_limit=over_limit)
