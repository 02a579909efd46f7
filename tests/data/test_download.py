"""A missing dataset is downloaded completely or not at all; the mirror is a real server on
loopback.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_exp.api import compose
from lenet_exp.data.download import download
from lenet_exp.data.readers import read_images
from lenet_exp.errors import DataError
from tests.data.idx import pictures, write_idx
from tests.tools.servers import served

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
REQUESTS = 2 * len(FILES)  # torchvision requests the location of a file, then the file


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serve a folder, record the requested paths, and optionally send truncated or altered
    files.
    """

    requested: list[str]
    sends: Callable[[bytes], bytes] | None

    def do_GET(self) -> None:
        self.requested.append(self.path)
        if self.sends is None or "images" not in self.path:
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(self.sends(content))
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[str, type[Mirror]]]:
    """Serve a folder, and yield the address and the handler."""
    handler = type("OneMirror", (Mirror,), {"requested": [], "sends": None})
    with served(functools.partial(handler, directory=str(folder))) as address:
        yield f"{address}/", handler


@pytest.fixture
def mirror(real_data) -> Iterator[tuple[str, type[Mirror]]]:
    """The address of a mirror of MNIST's original files, and its handler."""
    folder = Path(real_data) / "MNIST" / "raw"
    if not (folder / f"{FILES[0]}.gz").is_file():
        pytest.skip(f"no original .gz files in {folder}")
    with serve(folder) as served:
        yield served


def load(root: Path, *mirrors: str) -> int:
    quoted = ",".join(map(repr, mirrors))
    config = compose([f"dataset.mirrors=[{quoted}]"])
    return len(read_images(config.dataset, str(root), "train").labels)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def left_in(root: Path) -> set[str]:
    """Return the files below a folder, without locks."""
    files = set()
    for path in root.rglob("*"):
        if path.is_file() and not path.name.endswith(".lock"):
            files.add(path.relative_to(root).as_posix())
    return files


def test_missing_dataset_is_downloaded_once_replacing_partial_files(mirror, tmp_path):
    address, handler = mirror
    partial = tmp_path / "data" / ".mnist.download" / "MNIST" / "raw"
    partial.mkdir(parents=True)
    (partial / f"{FILES[0]}.gz").write_bytes(b"half a fi")

    assert load(tmp_path / "data", f"{address}nothing-here/", address) == 60_000

    assert left_in(tmp_path / "data") == {f"MNIST/raw/{name}" for name in FILES}
    requested = list(handler.requested)
    assert len([path for path in requested if "nothing-here" not in path]) == REQUESTS

    assert load(tmp_path / "data", address) == 60_000
    assert handler.requested == requested


@pytest.mark.parametrize(
    "sends",
    [lambda content: content[: len(content) // 2], lambda content: content[:-9] + b"not mnist"],
)
def test_incomplete_or_wrong_download_is_discarded_and_retried(sends, mirror, tmp_path):
    address, handler = mirror
    handler.sends = staticmethod(sends)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "data", address)
    assert address in str(caught.value)
    assert left_in(tmp_path / "data") == set()
    handler.sends = None
    assert load(tmp_path / "data", address) == 60_000


def test_unwritable_data_folder_is_one_line(mirror):
    with pytest.raises(DataError, match="/proc/data/MNIST/raw") as caught:
        load(Path("/proc/data"), mirror[0])
    assert "\n" not in str(caught.value)


def test_concurrent_processes_download_dataset_only_once(mirror, tmp_path):
    address, handler = mirror
    arguments = (tmp_path / "data", address)

    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        counts = pool.starmap(load, [arguments, arguments], chunksize=1)

    assert counts == [60_000, 60_000]
    assert left_in(tmp_path / "data") == {f"MNIST/raw/{name}" for name in FILES}
    assert len(handler.requested) == REQUESTS


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_archive_is_used_only_if_digest_matches(kind, tmp_path):
    """The archive contains files in folders, plain or compressed, and others that are not
    needed.
    """
    images, labels = pictures(20)
    packed = tmp_path / "packed" / "gzip"
    write_idx(packed / "images", images)
    write_idx(packed / "readme", labels)
    (packed / "labels.gz").write_bytes(gzip.compress((packed / "readme").read_bytes()))
    archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, packed.parent))
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    names = ["images", "labels"]

    with serve(tmp_path) as (address, _):
        own = replace(
            compose(["dataset=emnist_digits"]).dataset,
            files={"train": names, "test": []},
            archive=address + archive.name,
            archive_md5=digest,
        )
        other_digest = replace(own, archive_md5="0" * 32)
        with pytest.raises(DataError, match=archive.name):
            download(other_digest, tmp_path / "data", names)
        assert left_in(tmp_path / "data") == set()
        read = read_images(own, str(tmp_path / "data"), "train")

    assert np.array_equal(read.labels.numpy(), labels)
    assert left_in(tmp_path / "data") == {"EMNIST/raw/images", "EMNIST/raw/labels.gz"}
