"""Finds the C++ compilers on this machine, reads their versions, and runs them with a time
limit.
"""

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
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-exceptions",
    "-fno-rtti",
)


class CompilerError(Exception):
    """Raised if the compiler cannot be run, takes too long, or reports an error.

    The message is a short phrase.
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
        first_line = self.version.splitlines()[0].strip()
        return f"ziglang {first_line}" if self.is_zig else first_line

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
        march = f"-march={target.march}"
        if self.is_zig:  # without -nostdlib++, zig builds a C++ library first
            own_flags = ("-nostdlib++", *target.zig)
        elif "clang" in self.version:
            own_flags = ("-nostdlib++", march)
        else:
            # Without these flags, gcc carries values between iterations of conv2's loop, and clones
            # the dense layers' block without flattening it. Both spill sums from registers and make
            # a step a third slower.
            own_flags = ("-fno-predictive-commoning", "-fno-ipa-cp-clone", march)
        return (*FLAGS, *own_flags, *(f"-D{definition}" for definition in definitions))

    def compile(self, source: Path, library: Path, target: Target, *definitions: str) -> None:
        """Compile a source file into a library.

        Raises:
            CompilerError: compilation failed.
        """
        arguments = [*self.arguments(target, *definitions), str(source), "-o", str(library)]
        result = _run([*self.command, *arguments], COMPILE_SECONDS)
        if result.returncode != 0:
            error = _error_line(result.stderr).strip()[:200]
            raise CompilerError(error or f"exit status {result.returncode}")


def _error_line(output: str) -> str:
    """Return the first line of a compiler's output that names an error; if none does, the first."""
    lines = output.strip().splitlines()
    for line in lines:
        if "error" in line.lower():
            return line
    return lines[0] if lines else ""


def find_compilers() -> Iterator[Compiler]:
    """Yield the working compilers among $CXX, clang++, g++, and ziglang.

    The optional extra `native` installs ziglang.
    """
    for command in _compiler_commands():
        if not command or shutil.which(command[0]) is None:
            continue

        is_zig = "ziglang" in command
        version_command = [*command[:-1], "version"] if is_zig else [*command, "--version"]
        try:
            result = _run(version_command, VERSION_SECONDS)
        except CompilerError:
            continue
        version = result.stdout.strip()
        if result.returncode == 0 and version:
            yield Compiler(tuple(command), version)


def _compiler_commands() -> list[list[str]]:
    commands = []
    chosen_compiler = os.environ.get("CXX", "")
    if chosen_compiler.strip():
        commands.append(shlex.split(chosen_compiler))
    commands.append(["clang++"])
    commands.append(["g++"])
    if find_spec("ziglang") is not None:
        commands.append([sys.executable, "-m", "ziglang", "c++"])
    return commands


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
