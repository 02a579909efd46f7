"""Short native trainings, and their digests.

python -m tests.training.native.trained                        stores the digests of all trainings
                                                               in digests.json
python -m tests.training.native.trained <library> [threads]    prints the digests on digits with a
                                                               library
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from lenet_exp.data.images import TrainingData, load_training_data
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.execution import NATIVE_ADAPTIVE, NATIVE_AUGMENTATION, NATIVE_KERNEL
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.native.engine import NativeEngine
from lenet_exp.training.native.layout import NativeShape
from lenet_exp.training.native.library import Kernels, kernels
from lenet_exp.training.native.options import native_shape
from lenet_exp.training.snapshot import snapshot
from lenet_exp.training.state import TrainingState, new_training_state
from lenet_exp.training.trained.weights import weights_digest
from tests.tools.configs import compose
from tests.training.small import configure

CPU = torch.device("cpu")
NOTED = Path(__file__).with_name("digests.json")
SHORT = ["dataset.train_size=200", "num_epoch=2"]
CONFIGURATIONS = {
    "selu, nesterov": [
        "activation=selu",
        "optimizer.nesterov=true",
        "schedule=cosine",
        "schedule.warmup=0.1",
    ],
    "relu, adam, averaged": [
        "activation=relu",
        "optimizer=adam",
        "optimizer.lr=0.001",
        "training.ema_decay=0.9",
        "optimizer.amsgrad=true",
    ],
    "rrelu, adamw, dropout": [
        "activation=rrelu",
        "optimizer=adamw",
        "optimizer.lr=0.001",
        "regularization=dropout_weight_decay",
    ],
    "prelu, rmsprop, clipped": [
        "activation=prelu",
        "optimizer=rmsprop",
        "optimizer.lr=0.0005",
        "optimizer.momentum=0.9",
        "optimizer.centered=true",
        "training.clip_norm=1",
        "training.label_smoothing=0.1",
        "schedule=step",
    ],
    "tanh, odd batches": ["activation=tanh", "batch_size=37", "schedule=one_cycle"],
    "elu": ["activation=elu", "optimizer.dampening=0.2"],
    "leaky relu that falls": ["activation=leaky_relu", "activation.negative_slope=-0.1"],
    "resampled": ["augmentation=[affine,elastic,flip,erase]"],
    "moved": ["augmentation=[shift,flip]", "batch_size=37"],
}
CLASSES_62 = f"dataset.class_names=[{','.join(f'c{i}' for i in range(62))}]"
AVERAGED = ["model.pooling=average", "dataset.image_size=28"]
SHAPES: dict[str, list[str]] = {
    "width 0.5": ["model.width=0.5"],
    "width 2": ["model.width=2"],
    "width 4": ["model.width=4"],
    "5 and 19 channels": ["model.channels=[5,19]"],
    "97 and 61 units": ["model.units=[97,61]"],
    "kernels of 3": ["model.kernel_size=3"],
    "kernels of 7": ["model.kernel_size=7"],
    "62 classes": [CLASSES_62],
    "average pooling": ["model.pooling=average"],
    "28x28 pixels": ["dataset.image_size=28"],
    "300-100": ["model=lenet_300_100"],
    "linear": ["model=linear"],
    "all of it": [
        "model.channels=[7,33]",
        "model.units=[97,61]",
        "model.kernel_size=3",
        CLASSES_62,
    ],
    "all of it, averaged": ["model.channels=[7,33]", "model.kernel_size=7", *AVERAGED],
    "five layers of 28x28 pixels": [
        "model=lenet_300_100",
        "model.units=[33,16,97,5]",
        "dataset.image_size=28",
    ],
}
IN_CI = ("all of it", "all of it, averaged", "300-100")  # compiling a shape takes 4 to 8 s
# Not a recipe, so that the digest changes only with the kernels.
MNIST = [
    "dataset=mnist",
    "dataset.train_size=4000",
    "dataset.val_size=1000",
    "schedule=linear",
    "schedule.warmup=0.2",
    "optimizer.lr=0.1",
    "optimizer.nesterov=true",
    "num_epoch=1",
    "batch_size=128",
]


def started(name: str, *more: str) -> tuple[TrainingState, TrainingData]:
    """Return the initial training state and the data of a configuration in `CONFIGURATIONS`."""
    config = configure(*SHORT, *CONFIGURATIONS[name], "engine=native", *more)
    return new_training_state(config, CPU), load_training_data(config, CPU)


def fit_native(
    kernels: Kernels,
    state: TrainingState,
    data: TrainingData,
    stop: Callable[[], bool] = lambda: False,
) -> list[EpochResult | Divergence]:
    """Train with these kernels and return the results of the epochs."""
    return list(fit(state, data, stop=stop, engine=NativeEngine(kernels)))


def state_digest(state: TrainingState) -> str:
    """Return the digest of the checkpoint's content, except times, and of the best weights."""
    tensors, _ = snapshot(state)
    assert state.best is not None
    return weights_digest(tensors | {f"best.{name}": t for name, t in state.best.weights.items()})[
        :16
    ]


def train_native(kernels: Kernels, name: str, threads: int = 1) -> str:
    """Return the digest of training a configuration in `CONFIGURATIONS`."""
    state, data = started(name, f"num_threads={threads}")
    fit_native(kernels, state, data)
    return state_digest(state)


def train_shape(
    name: str, threads: int = 1, build: Callable[[NativeShape], Kernels | str] = kernels
) -> str:
    """Return the digest of training a network shape in `SHAPES`."""
    more = [
        "activation=rrelu",
        "regularization.dropout_rate=0.2",
        "optimizer.nesterov=true",
        "augmentation=affine",
    ]
    config = configure(*SHORT, *SHAPES[name], *more, "engine=native", f"num_threads={threads}")
    own, state = build(native_shape(config)), new_training_state(config, CPU)
    assert isinstance(own, Kernels)
    fit_native(own, state, load_training_data(config, CPU))
    return state_digest(state)


def train_mnist(kernels: Kernels, data_root: str) -> str:
    """Return the digest of a short training on MNIST."""
    config = compose(
        [*MNIST, "num_threads=2", "device=cpu", "engine=native", f"data_root={data_root}"]
    )
    state = new_training_state(config, CPU)
    fit_native(kernels, state, load_training_data(config, CPU))
    return state_digest(state)


def note() -> None:
    own = kernels()
    assert isinstance(own, Kernels)
    digests = {
        "kernel": NATIVE_KERNEL,
        "adaptive": NATIVE_ADAPTIVE,
        "augmentation": NATIVE_AUGMENTATION,
        "digits": {name: train_native(own, name) for name in CONFIGURATIONS},
        "mnist": train_mnist(own, os.environ["LENET_EXP_DATA"]),
        "shapes": {name: train_shape(name) for name in SHAPES},
    }
    NOTED.write_text(json.dumps(digests, indent=1) + "\n")


def main() -> None:
    if len(sys.argv) == 1:
        note()
        return
    given, threads = Kernels(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for name in CONFIGURATIONS:
        print(train_native(given, name, threads), name)


if __name__ == "__main__":
    main()
