"""Finds the C++ compilers on this machine, reads their versions, and runs them with a time limit."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lenet_exp.training.native.target import Target

VERSION_SECONDS = 60
COMPILE_SECONDS = 600  # time limit; a compiler that takes longer is not used
# With contraction, compilers could round a * b + c only once. The kernels use no C++ library,
# exceptions, or RTTI.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-ffp-contract=off",
         "-fno-math-errno", "-fno-exceptions", "-fno-rtti")  # fmt: skip


class CompilerError(Exception):
    """Raised if the compiler cannot be run, takes too long, or reports an error; the message is a
    short phrase.
    """


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, and the version text that it prints."""

    command: tuple[str, ...]
    version: str

    @property
    def name(self) -> str:
        """Name of the compiler for the user, such as `g++` or `ziglang`."""
        return "ziglang" if self.is_zig else Path(self.command[0]).name

    @property
    def says(self) -> str:
        """Version of the compiler, on one line."""
        first = self.version.splitlines()[0].strip()
        return f"ziglang {first}" if self.is_zig else first

    @property
    def is_zig(self) -> bool:
        """Whether the compiler is zig."""
        return "ziglang" in self.command or Path(self.command[0]).name == "zig"

    def arguments(self, target: Target, *definitions: str) -> tuple[str, ...]:
        """Return the compiler's arguments, without the names of the source and library files.

        Args:
            target: instruction set to compile for.
            definitions: macros to define, such as `NAME=VALUE`.
        """
        if self.is_zig:  # without -nostdlib++, zig builds a C++ library first
            chosen = ("-nostdlib++", *target.zig)
        elif "clang" in self.version:
            chosen = ("-nostdlib++", f"-march={target.march}")
        else:
            # Without these flags, gcc carries values between iterations of conv2's loop, and clones
            # the dense layers' block without flattening it. Both spill sums from registers and make
            # a step a third slower.
            chosen = ("-fno-predictive-commoning", "-fno-ipa-cp-clone", f"-march={target.march}")
        return (*FLAGS, *chosen, *(f"-D{definition}" for definition in definitions))

    def compile(self, source: Path, library: Path, target: Target, *definitions: str) -> None:
        """Compile a source file into a library.

        Raises:
            CompilerError: compilation failed.
        """
        arguments = [*self.arguments(target, *definitions), str(source), "-o", str(library)]
        done = _run([*self.command, *arguments], COMPILE_SECONDS)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            said = next(
                (line for line in lines if "error" in line.lower()), lines[0] if lines else ""
            )
            raise CompilerError(said.strip()[:200] or f"exit status {done.returncode}")


def find_compilers() -> Iterator[Compiler]:
    """Yield the working compilers among $CXX, clang++, g++, and ziglang (from the optional extra
    `native`).
    """
    named = os.environ.get("CXX", "")
    commands = [shlex.split(named)] if named.strip() else []
    commands += [[name] for name in ("clang++", "g++")]
    if find_spec("ziglang") is not None:
        commands.append([sys.executable, "-m", "ziglang", "c++"])
    for command in commands:
        if not command or shutil.which(command[0]) is None:
            continue
        asked = [*command[:-1], "version"] if "ziglang" in command else [*command, "--version"]
        try:
            done = _run(asked, VERSION_SECONDS)
        except CompilerError:
            continue
        if done.returncode == 0 and done.stdout.strip():
            yield Compiler(tuple(command), done.stdout.strip())


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command in its own session. On a timeout, kill all processes in the session."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as e:
        raise CompilerError(f"cannot be started ({e.strerror})") from e
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as e:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(e, subprocess.TimeoutExpired):
            raise CompilerError(f"timed out after {seconds:g} s") from e
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
