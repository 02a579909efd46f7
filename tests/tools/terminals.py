"""Commands on a terminal, for tests of progress bars."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from typing import Any

from tests.tools.commands import start

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SIZE = {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}


class Terminal:
    """A terminal of 80 columns on which `start` runs a command.

    Attributes:
        sent: the output so far, without escape sequences.
    """

    def __init__(self, *arguments: str, **how: Any) -> None:
        self._ours, theirs = pty.openpty()
        self.process = start(
            *arguments, env=SIZE, stdin=theirs, stdout=theirs, stderr=theirs, **how
        )
        os.close(theirs)
        self.sent = ""

    def shows(self, pattern: str | None) -> bool:
        """Read until the output matches the pattern; None reads to the end."""
        end = time.monotonic() + 300  # a progress bar never stops drawing
        while pattern is None or not re.search(pattern, self.sent):
            if time.monotonic() > end or not select.select([self._ours], [], [], 300)[0]:
                return False
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # on Linux: the other end is closed
                part = b""
            if not part:
                os.close(self._ours)
                return pattern is None
            self.sent += ESCAPES.sub("", part.decode(errors="replace"))
        return True
