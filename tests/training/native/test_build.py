"""Building the library with real processes; the compiler is a script that copies a library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lenet_exp.cache import NoCache, cache_folder
from lenet_exp.training.native import build, compiler
from lenet_exp.training.native.library import Kernels
from tests.tools.until import until

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """#!/bin/sh
if [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi
echo compiled >> {log}
{body}
while [ "$1" != -o ]; do shift; done
cp {library} "$2"
"""
BUILD = "from lenet_exp.training.native.build import build; print(build().path)"


class Fake:
    """A fake compiler, which is the only compiler on the machine."""

    def __init__(self, folder: Path, library: str) -> None:
        self.script, self.log, self.library = folder / "fake-c++", folder / "log", library
        self.cache = folder / "cache"
        self.behave("")

    def behave(self, body: str) -> None:
        self.script.write_text(SCRIPT.format(log=self.log, library=self.library, body=body))
        self.script.chmod(0o755)

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def fake(kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(tmp_path, kernels._library._name)
    monkeypatch.setenv("CXX", str(fake.script))
    tools = tmp_path / "tools"  # the programs that the script needs, without other compilers
    tools.mkdir()
    for tool in ("sh", "sleep", "cp"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    return fake


@pytest.mark.slow(seconds=10)
def test_concurrent_processes_build_library_once(fake):
    fake.behave("sleep 0.3")
    line = [sys.executable, "-c", BUILD]
    environment = os.environ | {"XDG_CACHE_HOME": str(fake.cache)}
    started = [
        subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    outputs = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0] * 8
    (path,) = {Path(text.strip()) for text in outputs}
    assert path.parent == fake.cache / "lenet_exp" / "native"
    assert fake.runs == 1
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.building"))


def test_library_is_rebuilt_only_if_changed(fake):
    path = build.build(fake.cache).path
    assert build.build(fake.cache).path == path
    assert fake.runs == 1
    for damage in (b"", path.read_bytes()[:-1] + b"x"):
        path.write_bytes(damage)
        assert build.build(fake.cache).path == path
        assert path.read_bytes() == Path(fake.library).read_bytes()
    path.with_suffix(".sha256").unlink()
    build.build(fake.cache)
    assert fake.runs == 4
    Kernels(path)  # only now, because truncating a loaded library crashes the process


@pytest.mark.parametrize("what", ["library", "digest"])
def test_library_writable_by_others_is_rebuilt(fake, what):
    path = build.build(fake.cache).path
    (path if what == "library" else path.with_suffix(".sha256")).chmod(0o666)
    build.build(fake.cache)
    assert fake.runs == 2
    assert path.stat().st_mode & 0o777 == 0o600


def given_away(cache: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    cache.mkdir(mode=0o700)
    os.chown(cache, 12345, -1)


def open_to_all(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)


def linked(cache: Path) -> None:
    cache.with_name("elsewhere").mkdir(mode=0o700)
    cache.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [given_away, open_to_all, linked, Path.touch])
def test_cache_folder_not_private_to_user_is_refused(fake, make):
    make(fake.cache)
    with pytest.raises(build.BuildError, match=str(fake.cache)):
        build.build(fake.cache)
    assert fake.runs == 0


def test_hanging_compiler_is_reported(fake, monkeypatch):
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 0.5)
    fake.behave("sleep 60")
    start = time.monotonic()
    with pytest.raises(build.BuildError, match=r"0\.5 s"):
        build.build(fake.cache)
    assert time.monotonic() - start < 30


def test_compiler_that_writes_no_library_is_reported(fake):
    fake.behave("exit 0")
    with pytest.raises(build.BuildError, match=r"fake-c\+\+: .*no library"):
        build.build(fake.cache)


def test_next_compiler_is_used_if_first_writes_no_library(fake, tmp_path):
    second = tmp_path / "tools" / "g++"
    shutil.copy(fake.script, second)
    fake.behave("exit 0")
    assert build.build(fake.cache).path.exists()
    assert fake.runs == 2


@pytest.mark.slow(seconds=2)
def test_process_that_waits_for_compilation_says_so(fake, caplog):
    fake.behave("sleep 1")
    other = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        env=os.environ | {"XDG_CACHE_HOME": str(fake.cache)},
        cwd=ROOT,
    )
    cache = fake.cache / "lenet_exp" / "native"
    until(lambda: list(cache.glob("*.building")), other)
    with caplog.at_level("INFO", logger="lenet_exp"):
        build.build(cache)
    assert "waiting for another process" in caplog.text
    assert (other.wait(), fake.runs) == (0, 1)


def test_leftovers_of_killed_build_are_replaced(fake):
    path = build.build(fake.cache).path
    path.unlink()
    path.with_suffix(".building").mkdir()
    (path.with_suffix(".building") / path.name).write_bytes(b"half")
    assert build.build(fake.cache).path == path
    assert not path.with_suffix(".building").exists()


def test_user_without_home_folder_has_no_cache(monkeypatch):
    """The user has no entry in the password file, as in a container."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(build.BuildError, match="no home folder"):
        build.build()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    with pytest.raises(NoCache, match="no home folder"):
        cache_folder("native")
