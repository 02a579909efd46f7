"""All processes of a user share one copy of a tensor, which is freed when the last process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from lenet_exp.data.shared_memory import SharedTensor, from_shared_memory
from lenet_exp.data.shared_on_machine import shared_on_machine

HOLDS = """
import os, sys, pathlib, numpy as np
from lenet_exp.data.shared_on_machine import shared_on_machine
shared = shared_on_machine(np.arange(12, dtype=np.float32).reshape(3, 4), pathlib.Path(sys.argv[1]))
print(os.fstat(shared.descriptor).st_ino, flush=True)
sys.stdin.read()
"""
CONTENT = np.arange(12, dtype=np.float32).reshape(3, 4)


def memory(shared: SharedTensor) -> int:
    return os.fstat(shared.descriptor).st_ino


def test_tensor_is_shared_and_kept_after_first_process_is_killed(tmp_path):
    folder = tmp_path / "shared"
    command = [sys.executable, "-c", HOLDS, str(folder)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    number = int(first.stdout.readline())
    shared = shared_on_machine(CONTENT, folder)
    assert memory(shared) == number
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert torch.equal(from_shared_memory(shared), torch.from_numpy(CONTENT))
    assert os.get_inheritable(shared.descriptor)
    again = shared_on_machine(CONTENT, folder)
    assert memory(again) == number  # this process still maps it
    for one in (shared, again):
        os.close(one.descriptor)


def test_other_or_modified_content_is_not_shared(tmp_path):
    shared = shared_on_machine(CONTENT, tmp_path / "shared")
    other = shared_on_machine(CONTENT + 1, tmp_path / "shared")
    assert memory(other) != memory(shared)
    os.pwrite(shared.descriptor, b"\xff" * 4, 0)
    again = shared_on_machine(CONTENT, tmp_path / "shared")
    assert memory(again) != memory(shared)
    assert torch.equal(from_shared_memory(again), torch.from_numpy(CONTENT))
    for one in (shared, other, again):
        os.close(one.descriptor)


@pytest.mark.parametrize("content", [np.zeros((0, 3), np.float32), np.arange(3, dtype=np.int64)])
def test_empty_and_integer_arrays_can_be_shared(tmp_path, content):
    for shared in (shared_on_machine(content, tmp_path / "shared"), shared_on_machine(content, tmp_path / "shared")):
        assert torch.equal(from_shared_memory(shared), torch.from_numpy(content))
        os.close(shared.descriptor)


def test_folder_writable_by_others_is_not_used(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    shared, again = shared_on_machine(CONTENT, folder), shared_on_machine(CONTENT, folder)
    assert memory(shared) != memory(again)
    assert list(folder.iterdir()) == []
    os.close(shared.descriptor)
    os.close(again.descriptor)
