"""Run lenet-train as on another machine that shares the disk, under another host name (Linux, as root)."""

from __future__ import annotations

import ctypes
import socket

from lenet_exp.commands import train

CLONE_NEWUTS = 0x04000000
NAME = "another-machine"


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(NAME)
    train.main()
