"""User-defined networks, each with one peculiarity. Most replace one method of `Net`, according to
the tables below.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from lenet_exp.training.activations import Dropout as SeededDropout


class Net(nn.Module):
    """A linear network without mistakes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, num_classes)
        self.prepare()

    def prepare(self) -> object:
        """Change the network after its construction."""

    def logits(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images)


class NeedsArgument(Net):
    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(num_classes)


class NoModule:
    def __init__(self, num_classes: int) -> None:
        pass


def function(num_classes: int) -> nn.Module:
    return Net(num_classes)


class Base(BaseException):
    """An exception that `except Exception` does not catch."""


class Speechless(Exception):
    """An exception without a message, because its `__str__` method fails."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


SIZES = itertools.count(10)


def fail(error: BaseException) -> Any:
    raise error


def tie(net: Any) -> None:
    net.first = nn.Linear(1024, 1024)
    net.second = nn.Linear(1024, 1024)
    net.second.weight = net.first.weight


def hide_layer(net: Any) -> None:
    net.layers = [net.fc]
    del net.fc


def lock(net: Any) -> None:
    """Add an attribute that cannot be copied or pickled."""
    net.lock = threading.Lock()


def receive_signal(net: Any) -> None:
    """Receive SIGTERM in the callback of a weak reference, where Python discards the exception of
    the handler.
    """
    target = nn.Identity()
    net.reference = weakref.ref(target, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del target
    del net.reference


def close_stdout(net: Any) -> None:
    sys.stdout.close()


def remove_stdout(net: Any) -> None:
    sys.stdout = None  # type: ignore[assignment]


def add_layer_of_random_size(net: Any) -> None:
    """Add a layer whose size differs between instances, so that saved weights do not fit."""
    net.other = nn.Linear(1024, next(SIZES))


def is_batch_of_training(images: Tensor) -> bool:
    """Return whether there are more images than in the checks before training."""
    return len(images) > 2


def fail_in_training(net: Any, images: Tensor, error: BaseException) -> Tensor:
    if is_batch_of_training(images):
        raise error
    return net.logits(images)


def remove_in_training(net: Any, images: Tensor, path: str) -> Tensor:
    """Remove a folder below the outputs folder in the second step."""
    net.steps = getattr(net, "steps", 0)
    if net.training and is_batch_of_training(images):
        net.steps += 1
    if net.steps == 2:
        net.steps += 1  # so that it is removed once
        folder = os.path.join(os.environ["LENET_EXP_OUTPUTS"], path)
        # MLflow's process may create and remove a database journal there at the same time.
        while os.path.exists(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return net.logits(images)


def count(net: Any, counts: bool) -> Any:
    """Return one more than the number of counted calls, which is a buffer if the network has a
    buffer `steps`.
    """
    net.steps = getattr(net, "steps", 0)
    if counts:
        net.steps = net.steps + 1
    return 1 + net.steps


def late_parameter(net: Any, images: Tensor) -> Tensor:
    if not hasattr(net, "scale"):
        net.scale = nn.Parameter(torch.ones(10))
    return net.logits(images) * net.scale


def late_noise(net: Any, images: Tensor) -> Tensor:
    """Use torch's global random state from the second step on."""
    if count(net, True) != 2:
        images = images + torch.rand(1)
    return net.logits(images)


def noise_in_eval(net: Any, images: Tensor) -> Tensor:
    if not net.training:
        images = images + torch.rand(1)
    return net.logits(images)


def fresh_numpy_noise(net: Any, images: Tensor) -> Tensor:
    """Use a generator that takes its seed from the operating system, in training."""
    factor = np.random.default_rng().random() if net.training else 1.0
    return net.logits(images) * factor


def fewer_logits_in_eval(net: Any, images: Tensor) -> Tensor:
    logits = net.logits(images)
    return logits if net.training else logits[:, :5]


def change_images_in_eval(net: Any, images: Tensor) -> Tensor:
    if not net.training:
        images.clamp_(-0.5, 0.5)
    return net.logits(images)


def change_images_in_training(net: Any, images: Tensor) -> Tensor:
    doubled = images.mul_(2) if net.training else images * 2
    return net.logits(doubled)


def refuse_small_batches(net: Any, images: Tensor) -> Tensor:
    if 2 < len(images) < 32:
        raise ValueError("batch too small")
    return net.logits(images)


PREPARE: dict[str, Callable[[Any], object]] = {
    "OneClassMore": lambda net: net.add_module("fc", nn.Linear(1024, net.fc.out_features + 1)),
    "Double": lambda net: net.double(),
    "DoubleInside": lambda net: net.double(),
    "Brain": lambda net: net.bfloat16(),
    "Frozen": lambda net: net.requires_grad_(False),
    "PartlyFrozen": lambda net: net.fc.bias.requires_grad_(False),
    "Meta": lambda net: net.to("meta"),
    "Lazy": lambda net: net.add_module("fc", nn.LazyLinear(10)),
    "Tied": tie,
    "PlainList": hide_layer,
    "CountingBuffer": lambda net: net.register_buffer("steps", torch.zeros(())),
    "ConstantBuffer": lambda net: net.register_buffer(
        "scale", torch.linspace(0, 1, 10), persistent=False
    ),
    "RandomBuffer": lambda net: net.register_buffer("scale", torch.randn(10), persistent=False),
    "BatchNorm": lambda net: net.add_module("norm", nn.BatchNorm2d(1)),
    "Dropout": lambda net: net.add_module("norm", nn.Dropout()),
    "OurDropout": lambda net: net.add_module("norm", SeededDropout(0.5)),
    "Idle": lambda net: net.add_module("idle", nn.Linear(2, 2)),
    "Raises": lambda net: fail(RuntimeError("broken\nin two lines")),
    "SpeechlessInInit": lambda net: fail(Speechless()),
    "ExitInInit": lambda net: fail(SystemExit(0)),
    "Huge": lambda net: net.register_parameter("huge", nn.Parameter(torch.empty(10**15))),
    "BrokenGradient": lambda net: net.fc.weight.register_hook(
        lambda gradient: fail(RuntimeError("no gradient"))
    ),
    "HookedOutput": lambda net: net.fc.register_forward_hook(
        lambda module, inputs, output: output * 2
    ),
    "HookedGradient": lambda net: net.fc.weight.register_hook(lambda gradient: gradient / 2),
    "SpectralNorm": lambda net: parametrizations.spectral_norm(net.fc),
    "Scripted": lambda net: net.add_module("fc", torch.jit.script(net.fc)),
    "Compiled": lambda net: net.add_module("fc", torch.compile(net.fc, backend="eager")),
    "Lock": lock,
    "Signal": receive_signal,
    "ClosesStdout": close_stdout,
    "RemovesStdout": remove_stdout,
    "RandomSize": add_layer_of_random_size,
    "Thread": lambda net: threading.Thread(target=threading.Event().wait).start(),  # never ends
}

FORWARD: dict[str, Callable[..., Any]] = {
    "Nan": lambda net, x: net.logits(x) * float("nan"),
    "Tuple": lambda net, x: (net.logits(x),),
    "Complex": lambda net, x: net.logits(x).to(torch.complex64),
    "DoubleInside": lambda net, x: net.logits(x.double()),
    "Brain": lambda net, x: net.logits(x.bfloat16()).float(),
    "Tied": lambda net, x: net.logits(net.second(net.first(x.flatten(1)).relu())),
    "LateParameter": late_parameter,
    "PlainList": lambda net, x: net.layers[0](x.flatten(1)),
    "CountingBuffer": lambda net, x: net.logits(x) / count(net, net.training),
    "ConstantBuffer": lambda net, x: net.logits(x) * net.scale,
    "RandomBuffer": lambda net, x: net.logits(x) * net.scale,
    "Counter": lambda net, x: net.logits(x) / count(net, net.training),
    "EvalCounter": lambda net, x: net.logits(x) / count(net, not net.training),
    "HarmlessCounter": lambda net, x: net.logits(x) + 0 * count(net, True),
    "BatchNorm": lambda net, x: net.logits(net.norm(x)),
    "BatchStatistics": lambda net, x: net.logits(x - x.mean(0)),  # of the other images
    "Dropout": lambda net, x: net.logits(net.norm(x)),
    "OurDropout": lambda net, x: net.logits(net.norm(x)),
    "FunctionalDropout": lambda net, x: net.logits(F.dropout(x, training=net.training)),
    "EvalNoise": noise_in_eval,
    "LateNoise": late_noise,
    "NumpyNoise": lambda net, x: net.logits(x) * float(np.random.rand()),
    "FreshNumpyNoise": fresh_numpy_noise,
    "PythonNoise": lambda net, x: net.logits(x) * random.random(),
    "EvalShape": fewer_logits_in_eval,
    "EvalError": lambda net, x: net.logits(x) if net.training else fail(ValueError("no eval")),
    "EvalInPlace": change_images_in_eval,
    "TrainInPlace": change_images_in_training,
    "KeywordForward": lambda net, x, **options: net.logits(x),
    "NoArguments": lambda net: torch.zeros(2, 10),
    "Recursive": lambda net, x: net(x),
    "Detached": lambda net, x: net.logits(x).detach(),
    "Squeezed": lambda net, x: net.logits(x).squeeze(0),  # a single image has no batch dimension
    "EvenBatches": lambda net, x: net.logits(x.view(2, -1, 1024).flatten(0, 1)),
    "View": lambda net, x: net.logits(
        x.repeat(1, 2, 1, 1).contiguous(memory_format=torch.channels_last).view(2, -1)
    ),
    "NotSmall": refuse_small_batches,
    "BaseInForward": lambda net, x: fail(Base("deep")),
    "BaseInTraining": lambda net, x: fail_in_training(net, x, Base("deep")),
    "RandomSize": lambda net, x: net.logits(x) + net.other(x.flatten(1))[:, :10],
    "RemovesOutputs": lambda net, x: remove_in_training(net, x, ""),
    "RemovesSweeps": lambda net, x: remove_in_training(net, x, "sweeps"),
    "SpeechlessInTraining": lambda net, x: fail_in_training(net, x, Speechless()),
    "TalkativeInTraining": lambda net, x: fail_in_training(
        net, x, ValueError("no " * 2000 + "end")
    ),
    "ExitInTraining": lambda net, x: fail_in_training(net, x, SystemExit(0)),
}

METHODS: dict[str, dict[str, Callable[..., Any]]] = {
    "OwnCall": {"__call__": lambda net, x: net.forward(x)},
    "PartialState": {
        "state_dict": lambda net, *args, **kwargs: {"fc.weight": net.fc.weight.detach()}
    },
    "ZeroState": {
        "state_dict": lambda net, *args, **kwargs: {
            name: 0 * weights.detach() for name, weights in net.named_parameters()
        }
    },
    "ExtraState": {
        "get_extra_state": lambda net: {"a": 1},
        "set_extra_state": lambda net, state: None,
    },
    "Getattr": {"__getattr__": lambda net, name: nn.Module.__getattr__(net, name)},
}

for name in PREPARE | FORWARD | METHODS:
    attributes = {
        "__module__": __name__,
        "prepare": PREPARE.get(name, Net.prepare),
        "forward": FORWARD.get(name, Net.forward),
        **METHODS.get(name, {}),
    }
    globals()[name] = type(name, (Net,), attributes)
