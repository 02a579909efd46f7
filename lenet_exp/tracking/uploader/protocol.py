"""Messages between the process that trains and the process that uploads: JSON objects, one per
line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lenet_exp.config.typed_json import read_as, to_plain

T = TypeVar("T")


class FolderKind(StrEnum):
    """The kind of folder that an uploading process follows."""

    run = "run"
    sweep = "sweep"


class RequestKind(StrEnum):
    """A kind of request: to follow a folder, to upload the rest, or to forget a folder."""

    follow = "follow"
    complete = "complete"
    forget = "forget"


class AnswerKind(StrEnum):
    """A kind of report from an uploading process.

    `opened` and `completed` answer requests, `progress` counts the uploads of a request to
    complete. `log` is a log line, and `alive` reports for how long a call to the store has exceeded
    its time limit.
    """

    opened = "opened"
    progress = "progress"
    completed = "completed"
    log = "log"
    alive = "alive"


@dataclass(frozen=True)
class FolderToFollow:
    """A run or a sweep, and where to upload it.

    Attributes:
        kind: whether it is a run or a sweep.
        outputs: path of the outputs folder.
        outputs_exist: whether this folder exists.
        uri: address of the store, with its password; None for the store in the outputs folder.
        experiment: name of the experiment.
        models: value of `tracking.models`.
        user: user who trains it.
        rests: whether to leave almost all of the machine's time to training.
    """

    kind: FolderKind
    outputs: str
    outputs_exist: bool
    uri: str | None
    experiment: str
    models: str
    user: str | None
    rests: bool


@dataclass(frozen=True)
class Request:
    """A request of a training process.

    Attributes:
        kind: what to do.
        path: path of the run or sweep folder.
        follow: details of a request to follow the folder; None for other requests.
        exports: for a request to complete the uploads, whether a trained model will be exported.
    """

    kind: RequestKind
    path: str
    follow: FolderToFollow | None = None
    exports: bool = False


@dataclass(frozen=True)
class Answer:
    """A report of an uploading process.

    Attributes:
        kind: what is reported.
        path: path of the run or sweep folder; empty for `log` and `alive`.
        text: error of `opened`, which is empty if the store can be used, or text of `log`.
        level: level of `log`.
        done, of: number of uploaded runs, and number of runs, of `progress`.
        left: numbers of runs, models, and sweeps that are missing after `completed`; None if
            unknown.
        seconds: time by which the call in progress exceeds its limit, of `alive`.
    """

    kind: AnswerKind
    path: str = ""
    text: str = ""
    level: int = 0
    done: int = 0
    of: int = 0
    left: list[int] | None = None
    seconds: float = 0.0


def to_line(message: Request | Answer) -> bytes:
    """Return a message as a line of JSON."""
    return json.dumps(to_plain(message)).encode() + b"\n"


def from_line(kind: type[T], line: bytes) -> T:
    """Return the message in a line of JSON."""
    return read_as(kind, json.loads(line))
