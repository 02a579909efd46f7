"""Messages as files of a folder that machines share: where no other way leads from one to the other.

A message is JSON and appears whole, by a rename; numbers and words are all that it can hold, so that none can run code.
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
    """A folder that anybody may put messages into, and that one process takes them out of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent = 0

    def put(self, sender: str, message: Message) -> None:
        """Args:
            sender: a file's name may hold it; its messages stay in their order.

        Raises:
            OSError: the folder is gone, or can't be written.
        """
        self._sent += 1
        write_json(self._folder / f"{sender}.{self._sent:09d}", message)

    def take(self) -> list[tuple[str, Message]]:
        """The messages that have come, with who sent them; what is damaged comes as an empty one.

        Raises:
            OSError: the folder is gone, or can't be read.
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
    """Heartbeats: one file per process, touched every few seconds. The reader's own clock decides what is too long."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, float]] = {}

    def beat(self, name: str) -> None:
        """Raises:
        OSError: the folder is gone, or can't be written.
        """
        with (self._folder / name).open("w") as file:  # a write, since not every file system hands on a mere touch
            file.write(f"{os.getpid()}\n")

    def silent(self, now: float) -> dict[str, float]:
        """For how many seconds nothing new was seen of each.

        Args:
            now: seconds, by the same clock at each call.
        """
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                touched = os.stat(entry.path).st_mtime_ns
                if self._seen.get(entry.name, (0, 0.0))[0] != touched:
                    self._seen[entry.name] = touched, now
        return {name: now - since for name, (_, since) in self._seen.items()}
