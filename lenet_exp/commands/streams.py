"""Standard output and error streams that do not stop a command if writing to them fails.

The streams also hide passwords in addresses, regardless of which code prints an address. For
example, Hydra prints the overrides of a failed job.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO, cast

from lenet_exp.addresses import hide_password

# A ValueError means that the user's own code closed the underlying stream.
STREAM_ERRORS = (OSError, ValueError)


class Stream:
    """A text stream that stores the first error that occurs and ignores all output after that
    error.

    For example, a sweep continues if `head` exits in `lenet-train -m ... | head`, or if the disk
    becomes full while the output is redirected to a file. It also continues if the user's own code
    closes the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write text without the passwords in it, or do nothing after an error."""
        if self.error is None:
            try:
                self._stream.write(hide_password(text))
            except STREAM_ERRORS as e:
                self.error = e
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or do nothing after an error."""
        if self.error is None:
            try:
                self._stream.flush()
            except STREAM_ERRORS as e:
                self.error = e

    def close(self) -> None:
        """Flush the stream, and keep it open, because the command still prints its results."""
        self.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def guard_streams() -> tuple[Stream, Stream]:
    """Replace stdout and stderr in this process with `Stream` objects, and return these objects.

    A closed stream (`>&-`) is redirected to /dev/null, because the next file to be opened would
    otherwise get the descriptor of that stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free descriptor, which is the stream's
    return _guard_stream("stdout", 1), _guard_stream("stderr", 2)


def _guard_stream(name: str, descriptor: int) -> Stream:
    """Replace a stream of `sys`, unless it has been replaced before, and return the new stream."""
    stream = getattr(sys, name) or os.fdopen(descriptor, "w", closefd=False)
    if isinstance(stream, Stream):
        return stream
    if hasattr(stream, "reconfigure"):
        # The encoding of some terminals has no `±`.
        stream.reconfigure(errors="backslashreplace")
    guarded_stream = Stream(stream)
    setattr(sys, name, cast(TextIO, guarded_stream))
    return guarded_stream


def discard_rest(stream: Stream, descriptor: int) -> None:
    """Redirect a failed stream to /dev/null, so that Python's flush at exit does not also fail."""
    if stream.error is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
