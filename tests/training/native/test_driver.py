"""The kernels in separate programs: compared with plain loops, under sanitizers, and emulating
other CPUs.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_exp.training.native.build import KERNELS
from lenet_exp.training.native.layout import NativeShape
from lenet_exp.training.native.options import native_shape
from lenet_exp.training.native.target import AVX2, AVX512, find_target
from tests.training.native.trained import SHAPES
from tests.training.small import configure

DRIVER = Path(__file__).with_name("driver.cpp")
COMPARE = DRIVER.with_name("compare.cpp")
FLAGS = [
    "-std=c++17",
    f"-I{KERNELS}",
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-rtti",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
]
DIGESTS = DRIVER.with_name("driver.txt")
IN_ARM_CI = ("all of it", "all of it, averaged")


def run(
    folder: Path,
    compiler: str,
    *options: str,
    program: Path = DRIVER,
    emulator: tuple[str, ...] = (),
) -> str:
    """Compile and run a program, and return its output. Skip the test if the compiler or the
    emulator is missing.
    """
    for tool in (compiler, *emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} not found")
    compiled = str(folder / "program")
    subprocess.run([compiler, *FLAGS, *options, str(program), "-o", compiled], check=True)
    done = subprocess.run([*emulator, compiled, "quick"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(march: str) -> str:
    """Return `-march=...`, or skip the test if this CPU does not support it."""
    supported = {AVX512: {AVX512.march, AVX2.march}, AVX2: {AVX2.march}}
    target = find_target()
    if isinstance(target, str) or march not in supported.get(target, ()):
        pytest.skip(f"this CPU is not {march}")
    return f"-march={march}"


def defined(shape: NativeShape) -> list[str]:
    return [f"-D{definition}" for definition in shape.definitions]


def definitions(name: str | None) -> list[str]:
    """Return the definitions of a shape in `SHAPES`, or none for that of LeNet-5."""
    if name is None:
        return []
    return defined(native_shape(configure(*SHAPES[name])))


def expected_digests(folder: Path, shape: list[str]) -> str:
    """Return the stored digests of LeNet-5, or those of gcc's simplest code for another shape."""
    if not shape:
        return DIGESTS.read_text()
    return run(folder, "g++", "-O1", here(AVX2.march), *shape)


def compare(folder: Path, *options: str) -> None:
    """Compare the kernels with plain loops."""
    compiler = "clang++" if shutil.which("clang++") else "g++"
    output = run(folder, compiler, "-O1", here(AVX2.march), *options, program=COMPARE)
    assert "weight 0" in output


def test_kernels_match_plain_loops(tmp_path):
    compare(tmp_path)


@st.composite
def shapes(draw: st.DrawFn) -> NativeShape:
    """Draw a network shape that plain loops compute within a second."""
    has_convolutions = draw(st.integers(0, 3)) != 0
    units = draw(st.lists(st.integers(1, 130), max_size=3))
    side = draw(st.sampled_from([28, 32]))
    kernel_size = 0
    channels: tuple[int, ...] = ()
    average = False
    if has_convolutions:
        kernel_size = draw(st.sampled_from([3, 5, 7]))
        channels = (draw(st.integers(1, 26)), draw(st.integers(1, 50)))
        average = draw(st.booleans())
    classes = draw(st.integers(2, 128))

    return NativeShape(
        side=side,
        kernel_size=kernel_size,
        channels=channels,
        average=average,
        units=tuple(units),
        classes=classes,
    )


@pytest.mark.slow(seconds=20)
@settings(max_examples=4, deadline=None)
@given(shape=shapes())
def test_kernels_match_plain_loops_for_any_shape(tmp_path_factory, shape):
    compare(tmp_path_factory.mktemp("shape"), *defined(shape))


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(
    ("compiler", "march"), [("g++", AVX2.march), ("g++", AVX512.march), ("clang++", AVX2.march)]
)
@pytest.mark.parametrize(
    "name", [None, *(pytest.param(name, marks=pytest.mark.by_hand) for name in SHAPES)]
)
def test_digests_do_not_depend_on_compiler_or_instruction_set(tmp_path, compiler, march, name):
    shape = definitions(name)
    expected = expected_digests(tmp_path, shape)
    assert run(tmp_path, compiler, "-O2", here(march), *shape) == expected


@pytest.mark.by_hand
@pytest.mark.parametrize("name", [None, *SHAPES])
def test_sanitizers_report_no_errors(tmp_path, name):
    """The test uses clang, because gcc needs minutes."""
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    options = ("-O1", *sanitize, here(AVX2.march), *definitions(name))
    digests = run(tmp_path, "clang++", *options)
    assert name is not None or digests == DIGESTS.read_text()
    run(tmp_path, "clang++", *options, program=COMPARE)


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize(
    "name",
    [
        None,
        *(
            pytest.param(name, marks=() if name in IN_ARM_CI else pytest.mark.by_hand)
            for name in SHAPES
        ),
    ],
)
def test_arm_code_gives_same_digests(tmp_path, name):
    shape = definitions(name)
    optimized = "-O1" if shape else "-O2"
    arm = ("-march=armv8-a", "-static", *shape, optimized)
    expected = expected_digests(tmp_path, shape)
    assert run(tmp_path, "aarch64-linux-gnu-g++", *arm, emulator=("qemu-aarch64",)) == expected
