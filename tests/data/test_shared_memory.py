"""All processes of a user share one copy of a dataset's tensor, which is freed when the last
process ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import cloudpickle
import pytest
import torch

from lenet_exp.data import images
from lenet_exp.data.images import (
    data_digests,
    load_training_data,
    share_datasets,
    use_shared_datasets,
)
from tests.tools.commands import ROOT
from tests.tools.configs import compose

CPU = torch.device("cpu")
DIGITS = compose(["dataset=digits"])


def test_training_data_are_equal_from_shared_memory(monkeypatch):
    monkeypatch.setattr(images, "_SHARED", {})
    read = load_training_data(DIGITS, CPU)
    digests = data_digests(DIGITS)

    sets = share_datasets([DIGITS, DIGITS])
    assert len(sets) == 1
    descriptors = sets[0].descriptors
    assert len(descriptors) == 2
    use_shared_datasets(sets)
    mapped = load_training_data(DIGITS, CPU)
    mapped_twice = load_training_data(DIGITS, CPU)

    assert mapped.images.data_ptr() == mapped_twice.images.data_ptr()
    assert mapped.images.data_ptr() != read.images.data_ptr()
    for name in ("images", "labels", "train_index", "val_index"):
        assert torch.equal(getattr(mapped, name), getattr(read, name))
    assert mapped.digests == read.digests
    assert mapped.source == read.source
    assert mapped.files == read.files
    assert data_digests(DIGITS) == digests
    for descriptor in descriptors:
        os.close(descriptor)


MAPS = """
import sys, torch, cloudpickle
from lenet_exp.data import images
sets, config = cloudpickle.loads(sys.stdin.buffer.read())
images.read_images = None
images.use_shared_datasets(sets)
data = images.load_training_data(config, torch.device("cpu"))
print(float(data.images.sum()), open("/proc/self/smaps").read())
"""


def test_other_process_maps_dataset_without_reading_files():
    """The kernel lists two mappings of a memfd in that process, none of whose pages is copied."""
    (shared,) = share_datasets([DIGITS])
    descriptors = shared.descriptors

    done = subprocess.run(
        [sys.executable, "-c", MAPS],
        input=cloudpickle.dumps(([shared], DIGITS)),
        pass_fds=descriptors,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )

    total, *mappings = done.stdout.decode().split("memfd:lenet_exp")
    assert len(mappings) == 2  # images and labels
    for mapping in mappings:
        copied_kb = re.search(r"^Anonymous: +(\d+) kB$", mapping, re.MULTILINE)[1]
        assert copied_kb == "0"
    expected_total = float(load_training_data(DIGITS, CPU).images.sum())
    assert float(total.split()[0]) == pytest.approx(expected_total, rel=1e-6)
    for descriptor in descriptors:
        os.close(descriptor)
