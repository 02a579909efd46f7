"""An epoch takes little more time than its arithmetic, and much less time than in the original
script.

The benchmark compares four ways to train and validate an epoch:

  ancestor  the original script: DataLoader, transforms per sample, contiguous tensors, activation
            before pooling
  bare      a hand-tuned loop without other features: tensors in memory, channels-last, pooling
            first, fused SGD
  fit       lenet_exp.training.fit.fit, the training loop of lenet-train, with engine=torch
  native    the same training loop with engine=native, if the native engine is available

The goals are fit / bare <= 1.1, ancestor / fit >= 4, and ancestor / native >= 15. The batch size is
256, the activation is SELU, and SGD uses learning rate 0.01, momentum 0.9, and weight decay 5e-4.

    python -m benchmarks.training

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

from benchmarks.measure import interleave, keep, parser, positive, show_ratio, show_seconds
from lenet_exp.config.compose import compose
from lenet_exp.config.schema import Config, EngineName
from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.machine import cpu_count
from lenet_exp.training.engine import why_not_native
from lenet_exp.training.evaluate import EVAL_BATCH
from lenet_exp.training.fit import fit
from lenet_exp.training.native.library import describe_kernels
from lenet_exp.training.state import new_training_state

BATCH = 256
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


class Net(nn.Module):
    """LeNet-5 with SELU activations, in plain PyTorch."""

    def __init__(self, *, pool_first: bool) -> None:
        super().__init__()
        self.pool_first = pool_first
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for conv in (self.conv1, self.conv2):
            x = conv(x)
            if self.pool_first:
                x = F.selu(F.max_pool2d(x, 2))
            else:
                x = F.max_pool2d(F.selu(x), 2)
        x = F.selu(self.fc1(x.flatten(1)))
        x = F.selu(self.fc2(x))
        return cast(Tensor, self.fc3(x))


class Ancestor:
    """Trains like the original script.

    Args:
        images: training images, including those for validation.
        val_size: number of images for validation.
        fraction: fraction of the batches to time; the time is then scaled to all batches.
    """

    def __init__(self, images: datasets.MNIST, val_size: int, fraction: float) -> None:
        train, val = random_split(images, [len(images) - val_size, val_size])
        self.train = DataLoader(train, batch_size=BATCH, shuffle=True)
        self.val = DataLoader(val, batch_size=BATCH)
        self.fraction = fraction

    def epoch(self) -> float:
        """Train and validate one epoch and return its duration in seconds."""
        model = Net(pool_first=False)
        optimizer = torch.optim.SGD(model.parameters(), **SGD)

        def train(images: Tensor, labels: Tensor) -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

        seconds = self._pass(self.train, train)
        model.eval()
        correct = 0

        def validate(images: Tensor, labels: Tensor) -> None:
            nonlocal correct
            correct += int((model(images).argmax(1) == labels).sum())

        with torch.no_grad():
            return seconds + self._pass(self.val, validate)

    def _pass(self, loader: DataLoader[Any], step) -> float:  # type: ignore[no-untyped-def]
        batches = math.ceil(len(loader) * self.fraction)
        start = time.perf_counter()
        for i, (images, labels) in enumerate(loader, 1):
            step(images, labels)
            if i == batches:
                break
        return (time.perf_counter() - start) * len(loader) / batches


def bare_epoch(
    build: Callable[[], nn.Module],
    data: TrainingData,
    batch_size: int = BATCH,
    form: torch.memory_format = torch.channels_last,
) -> float:
    """Train and validate one epoch in a loop without other features, and return its duration in
    seconds.
    """
    train_images = data.images[data.train_index]
    train_labels = data.labels[data.train_index]
    model = cast(Any, build()).to(memory_format=form)
    optimizer = torch.optim.SGD(model.parameters(), **SGD, fused=True)

    start = time.perf_counter()
    for batch in torch.randperm(len(train_labels)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(train_images[batch]), train_labels[batch]).backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for part in data.val_index.split(EVAL_BATCH):
            int((model(data.images[part]).argmax(1) == data.labels[part]).sum())
    return time.perf_counter() - start


def fit_epoch(config: Config, data: TrainingData) -> float:
    """Train and validate one epoch with `fit` and return its duration in seconds."""
    state = new_training_state(config, torch.device("cpu"))
    start = time.perf_counter()
    for _ in fit(state, data):
        pass
    return time.perf_counter() - start


def torchvision_images(config: Config, benchmark: str) -> datasets.MNIST:
    """Open the dataset with torchvision, like the original script. Exit with a one-line error if it
    is not found.
    """
    cls = getattr(datasets, str(config.dataset.torchvision_class))
    # The images are resized as floats, as in the original script. This is required for its
    # published models to reach exactly their published accuracies.
    steps = [
        transforms.ToTensor(),
        transforms.Resize(32, antialias=True),
        transforms.Normalize(0.5, 0.5),
    ]
    try:
        return cls(config.data_root, train=True, transform=transforms.Compose(steps))
    except (RuntimeError, OSError):
        name = config.dataset.name
        sys.exit(
            f"benchmarks.{benchmark}: {name} is not in {config.data_root}; set LENET_EXP_DATA to "
            f"the folder that holds it, or fetch it: lenet-train dataset={name} num_epoch=1"
        )


def main() -> None:
    """Run the benchmark, and print the times and ratios."""
    options = parser(__doc__, repeats=5)
    options.add_argument(
        "--dataset", default="mnist", choices=["mnist", "fashion_mnist", "kmnist", "qmnist"]
    )
    options.add_argument("--threads", type=positive, default=cpu_count(), help="default: all cores")
    options.add_argument(
        "--ancestor-fraction",
        type=fraction,
        default=1.0,
        help="time this share of its epoch, scaled",
    )
    arguments = options.parse_args()

    config = compose([f"dataset={arguments.dataset}", "num_epoch=1", "engine=torch", "device=cpu"])
    native = replace(config, engine=EngineName.native)
    why_not = why_not_native(native)
    images = torchvision_images(config, "training")
    ancestor = Ancestor(images, config.dataset.val_size, arguments.ancestor_fraction)
    data = load_training_data(config, torch.device("cpu"))
    torch.set_num_threads(arguments.threads)
    ways: dict[str, Callable[[], float]] = {
        "ancestor": ancestor.epoch,
        "bare": partial(bare_epoch, partial(Net, pool_first=True), data),
        "fit": lambda: fit_epoch(config, data),
    }
    if why_not is None:
        exact = load_training_data(native, torch.device("cpu"))
        ways["native"] = lambda: fit_epoch(native, exact)
    else:
        print(f"no native engine here: {why_not}")

    seconds = interleave(ways, arguments.repeats)
    show_seconds(seconds, "seconds an epoch")
    if arguments.ancestor_fraction < 1:
        print(
            f"ancestor: {arguments.ancestor_fraction:g} of an epoch was timed, "
            "and scaled to a whole one"
        )
    show_ratio("fit / bare", seconds["fit"], seconds["bare"], "<= 1.1")
    show_ratio("ancestor / fit", seconds["ancestor"], seconds["fit"], ">= 4")
    if why_not is None:
        show_ratio("ancestor / native", seconds["ancestor"], seconds["native"], ">= 15")
        print(f"native: {describe_kernels()}")
    print(f"{arguments.dataset}, {arguments.threads} threads, {arguments.repeats} rounds")
    keep(arguments, "training", seconds)


def fraction(text: str) -> float:
    """Parse a number that must be greater than 0 and at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed is > 0 and <= 1")
    return number


if __name__ == "__main__":
    main()
