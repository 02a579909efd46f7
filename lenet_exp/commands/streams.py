"""Standard output and error that a command survives: what can't be written there is dropped, and nothing else stops.

Nor does a password of an address get there, whoever prints it: Hydra prints the overrides of a job that failed.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO, cast

from lenet_exp.addresses import hide_password


class Stream:
    """A text stream that stops writing at the first error, and remembers it.

    `lenet-train -m ... | head` and a full disk behind `> file` end the printing, not the sweep.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str, *, secret: bool = False) -> int:
        if self.error is None:
            try:
                self._stream.write(text if secret else hide_password(text))
            except OSError as e:
                self.error = e
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as e:
                self.error = e

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def print_secret(line: str) -> None:
    """Prints a line with a secret that it is there for, such as a link with a token."""
    out: object = sys.stdout
    if isinstance(out, Stream):
        out.write(f"{line}\n", secret=True)
        out.flush()
    else:
        print(line, flush=True)


def guard_streams() -> tuple[Stream, Stream]:
    """Makes this process's output and error such streams; a closed one (`>&-`) goes nowhere, so that no file that is
    opened later takes its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free one: this
    found = []
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name) or os.fdopen(descriptor, "w", closefd=False)
        if not isinstance(stream, Stream):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a terminal that has no `±`
            stream = Stream(stream)
            setattr(sys, name, cast(TextIO, stream))
        found.append(stream)
    return found[0], found[1]


def discard_rest(stream: Stream, descriptor: int) -> None:
    """Nothing more goes to a stream that failed, when Python flushes it at its end, either."""
    if stream.error is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
