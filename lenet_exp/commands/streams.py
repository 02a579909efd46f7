"""Standard output and error streams that do not stop a command if they cannot be written to.

They also hide passwords in addresses, no matter which code prints them. For example, Hydra prints the overrides of a
failed job.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO, cast

from lenet_exp.addresses import hide_password


class Stream:
    """A text stream that stops writing at the first error and remembers it.

    `lenet-train -m ... | head`, or a full disk behind `> file`, ends the output but not the sweep.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str, *, secret: bool = False) -> int:
        """Write text, without passwords unless `secret`; do nothing after an error."""
        if self.error is None:
            try:
                self._stream.write(text if secret else hide_password(text))
            except OSError as e:
                self.error = e
        return len(text)

    def flush(self) -> None:
        """Flush the stream; do nothing after an error."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as e:
                self.error = e

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def print_secret(line: str) -> None:
    """Print a line that can contain a secret, such as a link with a token."""
    out: object = sys.stdout
    if isinstance(out, Stream):
        out.write(f"{line}\n", secret=True)
        out.flush()
    else:
        print(line, flush=True)


def guard_streams() -> tuple[Stream, Stream]:
    """Replace this process's stdout and stderr with guarded streams, and return them.

    A closed stream (`>&-`) is redirected to /dev/null, so that no file opened later takes its descriptor.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # opens the lowest free descriptor, which is this one
    found = []
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name) or os.fdopen(descriptor, "w", closefd=False)
        if not isinstance(stream, Stream):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # for a terminal without `±`
            stream = Stream(stream)
            setattr(sys, name, cast(TextIO, stream))
        found.append(stream)
    return found[0], found[1]


def discard_rest(stream: Stream, descriptor: int) -> None:
    """Redirect a failed stream to /dev/null, so that Python's final flush does not fail either."""
    if stream.error is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
