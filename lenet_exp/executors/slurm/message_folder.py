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
        messages: list[tuple[str, Message]] = []
        for name in sorted(os.listdir(self._folder)):
            if name.startswith("."):
                continue
            path = self._folder / name
            try:
                message = from_json(path.read_bytes())
            except ValueError:
                message = {}
            if not isinstance(message, dict):
                message = {}
            path.unlink(missing_ok=True)

            sender = name.rpartition(".")[0]
            messages.append((sender, message))
        return messages


class Heartbeats:
    """Heartbeat files, one per process, rewritten every few seconds.

    The reader measures times with its own clock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Keyed by process: modification time of its file in ns, and when the reader noticed it.
        self._last_beats: dict[str, tuple[int, float]] = {}

    def beat(self, name: str) -> None:
        """Send a heartbeat from the process with this name.

        Raises:
            OSError: the folder does not exist or cannot be written to.
        """
        # Some network file systems do not propagate a bare touch.
        with (self._folder / name).open("w") as file:
            file.write(f"{os.getpid()}\n")

    def silent(self, now: float) -> dict[str, float]:
        """Return the seconds since the last heartbeat of each process, keyed by process name.

        Args:
            now: current time in seconds, from the same clock in all calls.
        """
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                modified_ns = os.stat(entry.path).st_mtime_ns
                last_modified_ns, _ = self._last_beats.get(entry.name, (0, 0.0))
                if modified_ns != last_modified_ns:
                    self._last_beats[entry.name] = (modified_ns, now)
        return {name: now - since for name, (_, since) in self._last_beats.items()}
