"""Tensors shared by unrelated processes of a user on the same machine, such as Ray actors on one node.

A private folder contains one file per tensor, named after the digest of its content. The file lists the processes that
have the tensor in memory. Another process can open the file descriptor of a listed process (`/proc/<pid>/fd`). The
kernel frees the memory when the last of these processes ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_exp.data.shared_memory import SharedTensor, to_shared_memory


def shared_on_machine(content: NDArray[np.float32] | NDArray[np.int64], folder: Path | None = None) -> SharedTensor:
    """Return an array as a shared tensor, which uses the memory of another process on this machine if possible.

    Args:
        content: array to share.
        folder: private folder for the lists of processes; by default, a folder in the temporary folder. If the folder
            cannot be used, each process has its own copy.
    """
    data = np.ascontiguousarray(content).data
    folder = folder or Path(tempfile.gettempdir()) / f"lenet_exp-shared-{os.getuid()}"
    digest = hashlib.sha256(data).hexdigest()
    shape, dtype = tuple(content.shape), torch.from_numpy(np.empty(0, content.dtype)).dtype
    try:
        with _locked(folder):
            holders = folder / digest
            for line in holders.read_text().splitlines() if holders.exists() else []:
                descriptor = _opened(line, content.nbytes, digest)
                if descriptor is not None:
                    _note(holders, descriptor)
                    return SharedTensor(descriptor, shape, dtype)
            shared = to_shared_memory(torch.tensor(content))
            holders.unlink(missing_ok=True)
            _note(holders, shared.descriptor)
            return shared
    except OSError:  # no usable folder or no /proc: use a copy
        return to_shared_memory(torch.tensor(content))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a private folder, which is created if needed, for the duration of a `with` block.

    Raises:
        OSError: the folder cannot be used, or is not private.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder}: must be owned by you and inaccessible to other users")
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _note(holders: Path, descriptor: int) -> None:
    with holders.open("a") as file:
        file.write(f"{os.getpid()} {descriptor}\n")


def _opened(line: str, size: int, digest: str) -> int | None:
    """Open a file descriptor of another process, or return None if it is closed or its content differs.

    Args:
        line: process ID and number of the descriptor, separated by a space.
        size: expected size in bytes.
        digest: expected SHA-256 digest (hex) of the content.
    """
    process, _, number = line.partition(" ")
    if not (process.isdigit() and number.isdigit()):
        return None
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR)
        if os.fstat(descriptor).st_size == max(size, 1) and _digest(descriptor, size) == digest:
            os.set_inheritable(descriptor, True)
            return descriptor
        os.close(descriptor)
    return None


def _digest(descriptor: int, size: int) -> str:
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as memory, memoryview(memory) as view:
        return hashlib.sha256(view[:size]).hexdigest()
