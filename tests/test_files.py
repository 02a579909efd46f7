"""Files appear complete or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_exp.errors import ConfigError
from lenet_exp.files import (
    from_json,
    output_path,
    read_json,
    remove,
    user_path,
    write_atomic,
    write_json,
)

TEXTS = st.text()
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ROOT = Path(__file__).resolve().parents[1]
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda v: st.lists(v) | st.dictionaries(TEXTS, v),
    max_leaves=20,
)


@pytest.mark.parametrize("content", [b"\x00\xff bytes", "text with \u00fcml\u00e4ut\n"])
def test_write_replaces_file_but_not_for_open_readers(content, tmp_path):
    path = tmp_path / "folder" / "file"
    write_atomic(path, "a long old text")
    with path.open() as reader:
        write_atomic(path, content)
        assert reader.read() == "a long old text"
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(path.parent) == ["file"]


def test_output_path_is_normalized_and_checked(tmp_path, monkeypatch):
    (tmp_path / "paper").mkdir()
    monkeypatch.chdir(tmp_path / "paper")
    assert output_path("../paper/./width.pdf", [".pdf"]) == tmp_path / "paper" / "width.pdf"
    assert output_path("../paper/width.PDF", [".pdf"]) == tmp_path / "paper" / "width.PDF"
    with pytest.raises(ConfigError, match=r"\.\./paper/width\.pdf\?"):
        output_path("../paper/width.pfd", [".pdf"])


@given(value=JSON)
@settings(max_examples=40)
def test_json_value_survives_round_trip(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("text", ["NaN", "[" * 100_000, "9" * 5000, b"\xff\xfe{", ""])
def test_invalid_json_raises_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011
        from_json(text)


def test_byte_order_mark_before_json_is_ignored():
    assert from_json(b'\xef\xbb\xbf{"a": 1e300}') == {"a": 1e300}


@pytest.mark.parametrize("text", ["x" * 256, "a/" * 2000, "\ud800", "~no such user/a"])
def test_invalid_path_is_refused(text):
    with pytest.raises(ConfigError, match="valid path"):
        user_path(text)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, Path.touch, lambda path: path.symlink_to(path)]
)
def test_remove_deletes_any_kind_of_file_but_not_link_targets(tmp_path, make):
    make(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    for name in ("a", "link", "never there"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("value", [{"loss": float("nan")}, {"path": Path("x")}])
def test_value_without_json_form_is_refused_and_old_file_stays(value, tmp_path):
    write_json(tmp_path / "file.json", "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == "old"
    assert read_json(tmp_path / "nothing.json") is None


def test_written_file_has_permissions_of_umask(tmp_path):
    before = os.umask(0o027)
    write_atomic(tmp_path / "file", "x")
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from lenet_exp.files import write_atomic
for i in itertools.count():
    write_atomic(Path(sys.argv[1]), bytes([i % 251]) * 3_000_000)
    print(i, flush=True)
"""


@pytest.mark.parametrize("writes", [1, 5])
def test_killed_write_leaves_a_complete_version(writes, tmp_path):
    path = tmp_path / "file"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE
    ) as process:
        for _ in range(writes):
            last = int(process.stdout.readline())
            assert len(path.read_bytes()) == 3_000_000  # the next write is under way
        process.send_signal(signal.SIGKILL)
    content = path.read_bytes()
    assert len(content) == 3_000_000
    assert len(set(content)) == 1
    assert content[0] >= last % 251


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from lenet_exp.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"n" * 5000)
except OSError as e:
    sys.exit(f"refused {e.filename}")
"""


def test_write_to_full_disk_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"o" * 500)
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr == f"refused {path}\n"
    assert path.read_bytes() == b"o" * 500
    assert os.listdir(tmp_path) == ["file"]
