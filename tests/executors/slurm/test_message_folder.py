"""Message files are complete, ordered, and contain only JSON."""

from __future__ import annotations

import math
import os
import pickle

import pytest

from lenet_exp.executors.slurm import messages
from lenet_exp.executors.slurm.message_folder import Heartbeats, MessageFolder
from lenet_exp.executors.work import EpochReport, JobEnd
from lenet_exp.stopping import Terminated


def test_messages_are_read_once_in_order_of_each_sender(tmp_path):
    one = MessageFolder(tmp_path)
    other = MessageFolder(tmp_path)
    reader = MessageFolder(tmp_path)
    for n in range(12):
        one.put("7_0-0-0", {"n": n})
    other.put("7_1-0-0", {"n": 0})
    (tmp_path / ".half-written").write_text('{"n": ')

    *from_one, from_other = reader.take()

    assert from_one == [("7_0-0-0", {"n": n}) for n in range(12)]
    assert from_other == ("7_1-0-0", {"n": 0})
    assert reader.take() == []


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"n": NaN}', pickle.dumps(print)])
def test_corrupt_message_is_returned_empty_with_sender(tmp_path, content):
    (tmp_path / "7_0-0-0.000000001").write_bytes(content)
    assert MessageFolder(tmp_path).take() == [("7_0-0-0", {})]
    assert not list(tmp_path.iterdir())


def test_heartbeats_do_not_depend_on_other_clocks(tmp_path):
    beats = Heartbeats(tmp_path)
    beats.beat("a")
    beats.beat("b")
    assert beats.silent(100.0) == {"a": 0.0, "b": 0.0}
    # any change of the time is a heartbeat, even to an earlier time
    os.utime(tmp_path / "a", (7, 7))
    assert beats.silent(130.0) == {"a": 0.0, "b": 30.0}


@pytest.mark.parametrize("loss", [0.1, 1 / 3, math.inf, math.nan])
def test_epoch_report_is_transmitted_bit_for_bit(loss):
    report = EpochReport(3, 2, 0.1 + 0.2, loss)
    assert repr(messages.read_report(messages.job_message(5, report))) == repr(report)


def test_job_end_is_sent_as_text():
    def transmitted(end: JobEnd) -> JobEnd:
        return messages.read_job_end(messages.job_message(5, end))

    lost = JobEnd(3, lost="over the time limit of 2 s", over_limit=True)
    assert transmitted(lost) == lost

    failed = transmitted(JobEnd(3, error=KeyError("a\nb")))
    assert failed.job == 3
    assert str(failed.error) == "KeyError: 'a\\nb'"

    stopped = transmitted(JobEnd(3, error=Terminated()))
    assert isinstance(stopped.error, Terminated)
