"""All processes of a user share one copy of a dataset's tensor, which is freed when the last process ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_exp.data import images
from lenet_exp.data.images import data_digests, load_training_data, share_datasets, use_shared_datasets
from lenet_exp.data.shared_memory import SharedTensor, from_shared_memory, to_shared_memory
from lenet_exp.data.shared_on_machine import shared_on_machine
from tests.tools.commands import ROOT
from tests.tools.configs import compose

CPU = torch.device("cpu")
DIGITS = compose(["dataset=digits"])


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.int64, torch.uint8]),
)
@settings(max_examples=20)
def test_mapped_tensor_equals_shared_tensor(shape, dtype):
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    shared = to_shared_memory(tensor)
    try:
        mapped = from_shared_memory(shared)
        assert mapped.dtype == dtype
        assert torch.equal(mapped, tensor)
        mapped.fill_(9)  # a write stays in its process
        assert torch.equal(from_shared_memory(shared), tensor)
    finally:
        os.close(shared.descriptor)


def test_training_data_are_equal_from_shared_memory(monkeypatch):
    monkeypatch.setattr(images, "_SHARED", {})
    read, digests = load_training_data(DIGITS, CPU), data_digests(DIGITS)
    sets = share_datasets([DIGITS, DIGITS])
    descriptors = [d for s in sets for d in s.descriptors]
    assert len(sets) == 1
    assert len(descriptors) == 2
    use_shared_datasets(sets)
    mapped = load_training_data(DIGITS, CPU)
    assert mapped.images.data_ptr() == load_training_data(DIGITS, CPU).images.data_ptr()
    assert mapped.images.data_ptr() != read.images.data_ptr()
    for name in ("images", "labels", "train_index", "val_index"):
        assert torch.equal(getattr(mapped, name), getattr(read, name))
    assert (mapped.digests, mapped.source, mapped.files) == (read.digests, read.source, read.files)
    assert data_digests(DIGITS) == digests
    for descriptor in descriptors:
        os.close(descriptor)


MAPS = """
import sys, torch, cloudpickle
from lenet_exp.data import images
sets, config = cloudpickle.loads(sys.stdin.buffer.read())
images.read_images = None
images.use_shared_datasets(sets)
print(float(images.load_training_data(config, torch.device("cpu")).images.sum()), open("/proc/self/smaps").read())
"""


def test_other_process_maps_dataset_without_reading_files():
    """The kernel lists two mappings of a memfd in that process, none of whose pages is copied."""
    sets = share_datasets([DIGITS])
    given, descriptors = cloudpickle.dumps((sets, DIGITS)), [d for s in sets for d in s.descriptors]
    command = [sys.executable, "-c", MAPS]
    done = subprocess.run(command, input=given, pass_fds=descriptors, stdout=subprocess.PIPE, cwd=ROOT, check=True)
    total, *mappings = done.stdout.decode().split("memfd:lenet_exp")
    assert len(mappings) == 2  # images and labels
    assert [re.search(r"^Anonymous: +(\d+) kB$", mapping, re.MULTILINE)[1] for mapping in mappings] == ["0", "0"]
    assert float(total.split()[0]) == pytest.approx(float(load_training_data(DIGITS, CPU).images.sum()), rel=1e-6)
    for descriptor in descriptors:
        os.close(descriptor)


CONTENT = np.arange(12, dtype=np.float32).reshape(3, 4)
HOLDS = """
import os, sys, pathlib, numpy as np
from lenet_exp.data.shared_on_machine import shared_on_machine
content = np.arange(12, dtype=np.float32).reshape(3, 4)
print(os.fstat(shared_on_machine(content, pathlib.Path(sys.argv[1])).descriptor).st_ino, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Callable[..., SharedTensor]]:
    """Return a function that shares `CONTENT`, or other content, in a folder of the user."""
    opened: list[int] = []

    def share(content: np.ndarray = CONTENT) -> SharedTensor:
        shared = shared_on_machine(content, tmp_path / "shared")
        opened.append(shared.descriptor)
        return shared

    yield share
    for descriptor in opened:
        os.close(descriptor)


def memory(shared: SharedTensor) -> int:
    return os.fstat(shared.descriptor).st_ino


def test_tensor_is_shared_and_kept_after_first_process_is_killed(share, tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "shared")]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    number = int(first.stdout.readline())
    shared = share()
    assert memory(shared) == number
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert torch.equal(from_shared_memory(shared), torch.from_numpy(CONTENT))
    assert os.get_inheritable(shared.descriptor)
    assert memory(share()) == number  # this process still maps it


def test_other_or_modified_content_is_not_shared(share):
    shared = share()
    assert memory(share(CONTENT + 1)) != memory(shared)
    os.pwrite(shared.descriptor, b"\xff" * 4, 0)
    again = share()
    assert memory(again) != memory(shared)
    assert torch.equal(from_shared_memory(again), torch.from_numpy(CONTENT))


def test_folder_writable_by_others_is_not_used(share, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    assert memory(share()) != memory(share())
    assert list((tmp_path / "shared").iterdir()) == []
