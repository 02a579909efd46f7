"""That a value is made again where its files are not what they were, and only there."""

from __future__ import annotations

import os

import pytest

from lenet_exp.files import write_atomic
from lenet_exp.folders.remembered import Remembered


@pytest.fixture
def counted(tmp_path):
    """A value that is remembered, its file, and how often it was made."""
    file, made = tmp_path / "value", []
    known: Remembered[str | None] = Remembered(2)

    def get() -> str | None:
        def make() -> str | None:
            made.append(1)
            return file.read_text() if file.exists() else None

        return known.get((file,), make)

    return get, file, made


def test_a_file_that_stays_is_read_once_and_what_was_written_since_anew(counted):
    get, file, made = counted
    assert get() is None
    file.write_text("a")
    assert (get(), get(), len(made)) == ("a", "a", 2)
    file.write_text("other")
    assert get() == "other"
    file.unlink()
    assert get() is None


def test_another_file_of_the_same_size_and_time_is_another_one(counted):
    get, file, _ = counted
    file.write_text("a")
    at = file.stat().st_mtime_ns
    assert get() == "a"
    write_atomic(file, "b")
    os.utime(file, ns=(at, at))
    assert get() == "b"


def test_only_so_many_are_kept(tmp_path):
    known: Remembered[int] = Remembered(2)
    made = []
    for name in ["a", "b", "c", "c", "b", "a"]:
        known.get((tmp_path / name,), lambda name=name: made.append(name) or 0)
    assert made == ["a", "b", "c", "a"]
