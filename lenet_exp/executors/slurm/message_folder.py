"""Messages as files in a shared folder, for machines that have no other connection.

A message is a JSON file, which a rename creates atomically. Reading a message runs no code, because
the file contains only numbers and text.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenet_exp.files import from_json, write_json

Message = Mapping[str, Any]  # JSON


class MessageFolder:
    """A folder to which several processes write messages, and from which one process reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = 0

    def put(self, sender: str, message: Message) -> None:
        """Write a message.

        Args:
            sender: name of the sender, which becomes part of the file name. Messages from one
                sender keep their order.
            message: content of the message.

        Raises:
            OSError: the folder does not exist or cannot be written to.
        """
        self._sent += 1
        write_json(self._folder / f"{sender}.{self._sent:09d}", message)

    def take(self) -> list[tuple[str, Message]]:
        """Remove and return new messages, each with the name of its sender. Corrupt messages are
        returned as `{}`.

        Raises:
            OSError: the folder does not exist or cannot be read.
        """
        found: list[tuple[str, Message]] = []
        for name in sorted(os.listdir(self._folder)):
            if name.startswith("."):
                continue
            path = self._folder / name
            try:
                message = from_json(path.read_bytes())
            except ValueError:
                message = {}
            path.unlink(missing_ok=True)
            found.append((name.rpartition(".")[0], message if isinstance(message, dict) else {}))
        return found


class Heartbeats:
    """Heartbeat files, one per process, rewritten every few seconds. The reader measures times with
    its own clock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, float]] = {}

    def beat(self, name: str) -> None:
        """Send a heartbeat from the process with this name.

        Raises:
            OSError: the folder does not exist or cannot be written to.
        """
        with (self._folder / name).open(
            "w"
        ) as file:  # Some network file systems do not propagate a bare touch.
            file.write(f"{os.getpid()}\n")

    def silent(self, now: float) -> dict[str, float]:
        """Return the number of seconds since the last heartbeat of each process, keyed by the name
        of the process.

        Args:
            now: current time in seconds, from the same clock in all calls.
        """
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                touched = os.stat(entry.path).st_mtime_ns
                if self._seen.get(entry.name, (0, 0.0))[0] != touched:
                    self._seen[entry.name] = touched, now
        return {name: now - since for name, (_, since) in self._seen.items()}
