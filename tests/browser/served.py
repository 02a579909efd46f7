"""Run `lenet-ui` and read the links that it prints."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.tools.commands import end, start

LAST_LINE = "Press Ctrl-C to stop."


@dataclass(frozen=True)
class Served:
    """A running `lenet-ui`.

    Attributes:
        links: the pages' addresses by what they show: `runs`, `curves`, `sweep`.
        login: the user and the password that requests need.
    """

    process: subprocess.Popen[str]
    links: dict[str, str]
    login: tuple[str, str]

    @property
    def address(self) -> str:
        parts = urlsplit(self.links["runs"])
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which other commands log in."""
        user, password = self.login
        return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


@contextlib.contextmanager
def lenet_ui(*arguments: str, outputs: Path, **popen: Any) -> Iterator[Served]:
    """Run `lenet-ui`, by default on a free port, and stop it with Ctrl-C at the end."""
    if not any(argument.startswith("port=") for argument in arguments):
        arguments = (*arguments, "port=0")
    process = start(*arguments, outputs=outputs, program="ui", **popen)
    try:
        yield _served(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        end(process)


def _served(process: subprocess.Popen[str]) -> Served:
    """Wait until `lenet-ui` has printed its links and the password."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == LAST_LINE:
            text = "\n".join(lines)
            (login,) = re.findall(r"^user (\S+), password (\S+)", text, re.MULTILINE)
            return Served(process, links_in(text), login)

    raise AssertionError(f"lenet-ui ended: {lines}; {end(process).stderr}")


def links_in(text: str) -> dict[str, str]:
    """Return the links in the output of lenet-ui, by a word of their labels."""
    links = {}
    for label, url in re.findall(r"^(.*):\n\s*(http\S+)$", text, re.MULTILINE):
        for word in ("runs", "curves", "sweep"):
            if word in label:
                links[word] = url
    return links
