"""A missing set is downloaded whole or not at all; the mirror is a real server on loopback."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenet_exp.api import compose
from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
REQUESTS = 2 * len(FILES)  # torchvision asks where a file is, then for it


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; counts what is asked for, and can break off in the middle of a file."""

    asked: list[str]
    break_off: bool

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if not self.break_off or "images" not in self.path:
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(real_data) -> Iterator[tuple[str, type[Mirror]]]:
    """The address of a mirror of MNIST's original files, and its handler."""
    folder = Path(real_data) / "MNIST" / "raw"
    if not (folder / f"{FILES[0]}.gz").is_file():
        pytest.skip(f"no original .gz files in {folder}")
    handler = type("OneMirror", (Mirror,), {"asked": [], "break_off": False})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", handler
    server.shutdown()
    thread.join()
    server.server_close()


def load(root: Path, *mirrors: str) -> int:
    config = compose([f"dataset.mirrors=[{','.join(repr(m) for m in mirrors)}]"])
    return len(read_images(config.dataset, str(root), "train").labels)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def left_in(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock")}


def test_a_missing_set_comes_from_the_mirror_once(mirror, tmp_path):
    address, handler = mirror
    assert load(tmp_path / "data", address) == 60_000
    assert left_in(tmp_path / "data") == {f"MNIST/raw/{name}" for name in FILES}
    asked = len(handler.asked)
    assert load(tmp_path / "data", address) == 60_000
    assert len(handler.asked) == asked == REQUESTS


def test_the_next_mirror_serves_where_one_has_nothing(mirror, tmp_path):
    address, _ = mirror
    assert load(tmp_path / "data", f"{address}nothing-here/", address) == 60_000


def test_a_download_that_breaks_off_never_counts_and_the_next_one_starts_over(mirror, tmp_path):
    address, handler = mirror
    handler.break_off = True
    with pytest.raises(DataError, match="the download failed") as caught:
        load(tmp_path / "data", address)
    assert address in str(caught.value)
    assert not (tmp_path / "data").exists()
    handler.break_off = False
    assert load(tmp_path / "data", address) == 60_000


def test_what_a_killed_download_left_behind_is_removed(mirror, tmp_path):
    aside = tmp_path / "data" / ".mnist.download" / "MNIST" / "raw"
    aside.mkdir(parents=True)
    (aside / f"{FILES[0]}.gz").write_bytes(b"half a fi")
    assert load(tmp_path / "data", mirror[0]) == 60_000
    assert left_in(tmp_path / "data") == {f"MNIST/raw/{name}" for name in FILES}


def test_a_mirror_with_other_content_is_refused_by_its_checksum(tmp_path, mirror):
    other = tmp_path / "other"
    other.mkdir()
    for name in FILES:
        (other / f"{name}.gz").write_bytes(b"\x1f\x8b not mnist")
    handler = type("Other", (Mirror,), {"asked": [], "break_off": False})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(other))) as server:
        threading.Thread(target=server.serve_forever).start()
        with pytest.raises(DataError, match="the download failed"):
            load(tmp_path / "data", f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_one_line(mirror):
    with pytest.raises(DataError, match="/proc/data/MNIST/raw") as caught:
        load(Path("/proc/data"), mirror[0])
    assert "\n" not in str(caught.value)


LOADER = """
import sys
from pathlib import Path
from tests.data.test_download import load
print(load(Path(sys.argv[1]), sys.argv[2]))
"""


def test_two_processes_that_need_the_same_set_at_once_end_with_one_good_copy(mirror, tmp_path):
    address, handler = mirror
    command = [sys.executable, "-c", LOADER, str(tmp_path / "data"), address]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=300)[0].strip() for process in both] == ["60000", "60000"]
    assert left_in(tmp_path / "data") == {f"MNIST/raw/{name}" for name in FILES}
    assert len(handler.asked) == REQUESTS
