"""Messages as files in a shared folder, for machines that have no other connection.

A message is JSON and appears atomically, by a rename. It holds only numbers and text, so it cannot run code.
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
    """A folder into which any process can put messages, and from which one process takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = 0

    def put(self, sender: str, message: Message) -> None:
        """Write a message.

        Args:
            sender: part of the file name; messages of one sender keep their order.

        Raises:
            OSError: the folder is gone or cannot be written to.
        """
        self._sent += 1
        write_json(self._folder / f"{sender}.{self._sent:09d}", message)

    def take(self) -> list[tuple[str, Message]]:
        """Remove and return new messages with their senders. A corrupt message is returned as an empty one.

        Raises:
            OSError: the folder is gone or cannot be read.
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
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            found.append((name.rpartition(".")[0], message if isinstance(message, dict) else {}))
        return found


class Heartbeats:
    """Heartbeat files, one per process, touched every few seconds. The reader measures silence by its own clock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, float]] = {}

    def beat(self, name: str) -> None:
        """Send a heartbeat.

        Raises:
            OSError: the folder is gone or cannot be written to.
        """
        with (self._folder / name).open("w") as file:  # Some network file systems do not propagate a bare touch.
            file.write(f"{os.getpid()}\n")

    def silent(self, now: float) -> dict[str, float]:
        """Return the seconds since the last new heartbeat of each process.

        Args:
            now: the current time in seconds, from the same clock in each call.
        """
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                touched = os.stat(entry.path).st_mtime_ns
                if self._seen.get(entry.name, (0, 0.0))[0] != touched:
                    self._seen[entry.name] = touched, now
        return {name: now - since for name, (_, since) in self._seen.items()}
