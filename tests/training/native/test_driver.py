"""The kernels in separate programs: compared with plain loops, under sanitizers, and emulating other CPUs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lenet_exp.training.native.build import KERNELS
from lenet_exp.training.native.target import AVX2, AVX512, find_target

DRIVER = Path(__file__).with_name("driver.cpp")
COMPARE = DRIVER.with_name("compare.cpp")
FLAGS = ["-std=c++17", f"-I{KERNELS}", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra",
         "-Werror", "-pthread"]  # fmt: skip
DIGESTS = DRIVER.with_name("driver.txt")


def run(folder: Path, compiler: str, *options: str, program: Path = DRIVER, emulator: tuple[str, ...] = ()) -> str:
    """What a program prints, compiled so; skips where compiler or emulator are not there. It has to end well."""
    for tool in (compiler, *emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here")
    subprocess.run([compiler, *FLAGS, *options, str(program), "-o", str(folder / "program")], check=True)
    line = [*emulator, str(folder / "program"), "quick"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(march: str) -> str:
    """`-march=...`, where this CPU can run it."""
    able = {AVX512: {AVX512.march, AVX2.march}, AVX2: {AVX2.march}}
    found = find_target()
    if isinstance(found, str) or march not in able.get(found, ()):
        pytest.skip(f"this CPU is not {march}")
    return f"-march={march}"


def test_kernels_compute_what_plain_loops_do(tmp_path):
    compiler = next((name for name in ("clang++", "g++") if shutil.which(name)), "g++")
    said = run(tmp_path, compiler, "-O1", here(AVX2.march), program=COMPARE)
    assert "conv1.weight" in said


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(("compiler", "march"), [("g++", AVX2.march), ("g++", AVX512.march), ("clang++", AVX2.march)])
def test_compilers_and_instruction_sets_change_no_bit(tmp_path, compiler, march):
    assert run(tmp_path, compiler, "-O2", here(march)) == DIGESTS.read_text()


@pytest.mark.by_hand
def test_sanitizers_find_nothing(tmp_path):
    """With clang: gcc takes minutes for it."""
    options = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", here(AVX2.march))
    assert run(tmp_path, "clang++", *options) == DIGESTS.read_text()
    run(tmp_path, "clang++", *options, program=COMPARE)


@pytest.mark.slow(seconds=12)
def test_arm_code_has_the_same_bits(tmp_path):
    found = run(tmp_path, "aarch64-linux-gnu-g++", "-O2", "-march=armv8-a", "-static", emulator=("qemu-aarch64",))
    assert found == DIGESTS.read_text()
