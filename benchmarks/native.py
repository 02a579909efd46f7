"""A native training step on one core takes at most 0.2 times as long as a step in eager PyTorch.

With batch size 256, a native step also takes no longer than its dense limit. The dense limit is the
time for the multiplications of a step (1.13 million per image) at the speed of a large matrix
product.

The benchmark trains on random images with the recipe mnist_fast: SELU, Nesterov momentum 0.9, and
weight decay 5e-4. It measures CPU times, because they are more reliable on a busy machine, and
tests each compiler that is found.

    python -m benchmarks.native
    python -m benchmarks.native --shapes   # the same for networks of other shapes, with batch size
                                           128

For other shapes, a step in eager PyTorch is the faster of two memory layouts (channels last or
first).
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable

import torch

from benchmarks.measure import Seconds, interleave, keep, parser, show_ratio, show_seconds
from lenet_exp.cache import cache_folder
from lenet_exp.config.compose import compose
from lenet_exp.data.images import TrainingData
from lenet_exp.training.engine import Engine, TorchEngine
from lenet_exp.training.native.build import KEPT, build_with
from lenet_exp.training.native.compiler import find_compilers
from lenet_exp.training.native.engine import NativeEngine
from lenet_exp.training.native.layout import NativeShape
from lenet_exp.training.native.library import Kernels, kernels
from lenet_exp.training.native.options import native_shape
from lenet_exp.training.native.target import find_target
from lenet_exp.training.network import network_size
from lenet_exp.training.state import new_training_state

STEPS = 5  # number of steps that are timed together
IMAGES = 2000  # number of random images
SIDE = 1024  # number of rows and columns in the matrices
MULTIPLY_ADDS = 1.13e6  # number of multiplications per image in the forward and backward pass
SHAPES = {  # goals: largest ratio to eager PyTorch and to the dense limit
    "model.width=0.5": ("<= 0.20", ""),
    "model.width=1": ("<= 0.20", "<= 1.00"),
    "model.width=2": ("<= 0.38", "<= 0.95"),
    "model.width=4": ("<= 0.45", "<= 0.95"),
    "model.kernel_size=3": ("", ""),
    "model.kernel_size=7": ("", ""),
    "model.pooling=average": ("", ""),
    "dataset.image_size=28": ("", ""),
    "model=lenet_300_100": ("", "<= 1.20"),
    "model=linear": ("<= 1.00", ""),
}


def made_up_data(side: int = 32) -> TrainingData:
    """Create random training data."""
    index = torch.arange(IMAGES)
    return TrainingData(
        name="made up",
        class_names=tuple("0123456789"),
        images=torch.rand(IMAGES, 1, side, side) * 2 - 1,
        labels=torch.randint(10, (IMAGES,)),
        train_index=index,
        val_index=index[:10],
        digests={},
        source="",
        files={},
    )


def steps(
    engine: Engine, batch_size: int, data: TrainingData, *overrides: str, channels_last: bool = True
) -> Callable[[], float]:
    """Return a function that trains a network for a few steps and returns the CPU time per step in
    seconds.
    """
    base = ["experiment=mnist_fast", f"batch_size={batch_size}", "num_threads=1", "device=cpu"]
    config = compose([*base, *overrides])
    state = new_training_state(config, torch.device("cpu"))
    if not channels_last:
        for parameter in state.model.parameters():
            parameter.data = parameter.data.contiguous()
    step = engine.stepper(state, data, 10**6)
    done = 0

    def timed() -> float:
        nonlocal done
        batches = [torch.randperm(IMAGES)[:batch_size] for _ in range(STEPS)]
        start = time.process_time()
        for batch in batches:
            step(batch, done)
            done += 1
        return (time.process_time() - start) / STEPS

    return timed


def products(batch_size: int, multiply_adds: float = MULTIPLY_ADDS) -> Callable[[], float]:
    """Return a function that returns the dense limit for a step: its CPU time in seconds at matrix
    product speed.
    """
    a = torch.rand(SIDE, SIDE)
    b = torch.rand(SIDE, SIDE)

    def timed() -> float:
        start = time.process_time()
        torch.mm(a, b)
        return (time.process_time() - start) * multiply_adds * batch_size / SIDE**3

    return timed


def without_gradient(shape: NativeShape) -> int:
    """Return the number of multiplications per image of the first layer. The gradient of the images
    is not computed.
    """
    if not shape.channels:
        first_size, *_ = (*shape.units, shape.classes)
        return shape.side**2 * first_size
    side_of_maps = shape.side + 1 - shape.kernel_size
    return side_of_maps**2 * shape.kernel_size**2 * shape.channels[0]


def shapes(arguments: Namespace) -> Seconds:
    """Print the times of a step, and their ratios, for networks of other shapes."""
    all_seconds: Seconds = {}
    for override, (goal_torch, goal_dense) in SHAPES.items():
        config = compose([override])
        data = made_up_data(config.dataset.image_size or 32)
        built = kernels(native_shape(config))
        if isinstance(built, str):
            sys.exit(f"benchmarks.native: {built}")
        multiply_adds = 3 * network_size(config).multiply_adds
        multiply_adds -= without_gradient(built.layout.shape)

        ways = {
            "last": steps(TorchEngine(), 128, data, override),
            "first": steps(TorchEngine(), 128, data, override, channels_last=False),
            "dense": products(128, multiply_adds),
            "native": steps(NativeEngine(built), 128, data, override),
        }
        seconds = interleave(ways, arguments.repeats)
        named = {f"{override} {name}": values for name, values in seconds.items()}
        all_seconds |= named
        show_seconds(in_milliseconds(named), "ms of a core")
        faster = min((seconds["last"], seconds["first"]), key=min)
        show_ratio(f"{override} / torch", seconds["native"], faster, goal_torch)
        show_ratio(f"{override} / dense", seconds["native"], seconds["dense"], goal_dense)
    return all_seconds


def compilers(arguments: Namespace) -> Seconds:
    """Print the times of a step of LeNet-5, and their ratios, for each compiler that is found."""
    target = find_target()
    if isinstance(target, str):
        sys.exit(f"benchmarks.native: {target}")
    data = made_up_data()
    folder = cache_folder(KEPT)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    compiled = {}
    for compiler in find_compilers():
        compiled[compiler.name] = Kernels(build_with(folder, compiler, target))

    all_seconds: Seconds = {}
    for batch_size in (128, 256):
        ways = {
            f"torch {batch_size}": steps(TorchEngine(), batch_size, data),
            f"dense {batch_size}": products(batch_size),
        }
        for name, built in compiled.items():
            ways[f"{name} {batch_size}"] = steps(NativeEngine(built), batch_size, data)
        seconds = interleave(ways, arguments.repeats)
        all_seconds |= seconds
        show_seconds(in_milliseconds(seconds), "ms of a core")
        for name in compiled:
            way = f"{name} {batch_size}"
            show_ratio(f"{way} / torch", seconds[way], seconds[f"torch {batch_size}"], "<= 0.2")
            show_ratio(f"{way} / dense", seconds[way], seconds[f"dense {batch_size}"], "<= 1")
    print(f"{target.name}, one core, {arguments.repeats} rounds of {STEPS} steps")
    return all_seconds


def in_milliseconds(seconds: Seconds) -> Seconds:
    """Return the same durations in milliseconds."""
    return {name: [1000 * value for value in values] for name, values in seconds.items()}


def main() -> None:
    """Run the benchmark and print the ratios."""
    options = parser(__doc__, repeats=20)
    options.add_argument("--shapes", action="store_true", help="compare networks of other shapes")
    arguments = options.parse_args()

    torch.set_num_threads(1)
    if arguments.shapes:
        keep(arguments, "native shapes", shapes(arguments))
    else:
        keep(arguments, "native", compilers(arguments))


if __name__ == "__main__":
    main()
