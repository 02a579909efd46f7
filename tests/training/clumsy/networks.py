"""User-defined networks, each with one peculiarity. Most subclasses change one method of `Net`."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lenet_exp.training.activations import Dropout as SeededDropout


class Net(nn.Module):
    """A linear network without mistakes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))


class OneClassMore(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes + 1)


class OneNumberPerImage(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, 0]


class Nan(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


class Tuple(Net):
    def forward(self, images: Tensor) -> Any:
        return (super().forward(images),)


class Dict(Net):
    def forward(self, images: Tensor) -> Any:
        return {"logits": super().forward(images)}


class Nothing(Net):
    def forward(self, images: Tensor) -> Any:
        super().forward(images)


class List(Net):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).tolist()


class Complex(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).to(torch.complex64)


class Integer(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).long()


class Double(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.double()


class DoubleInside(Double):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double())


class Half(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.half()


class HalfInside(Half):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.half()).float()


class Brain(Net):
    """Network with weights in bfloat16."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.bfloat16()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.bfloat16()).float()


class BrainBuffer(Net):
    """Network with a buffer in bfloat16."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("scale", torch.ones(1, dtype=torch.bfloat16))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.scale


class NoParameters(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10]


class Frozen(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.requires_grad_(False)


class PartlyFrozen(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc.bias.requires_grad_(False)


class Meta(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, num_classes, device="meta")

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))


class MetaAll(Meta):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.to("meta"))


class Lazy(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))


class Tied(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1024, 1024), nn.Linear(1024, 1024)
        self.second.weight = self.first.weight
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images.flatten(1)).relu())[:, : self.num_classes]


class LateParameter(Net):
    def forward(self, images: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(10))
        return super().forward(images) * self.scale


class PlainList(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(1024, num_classes)]

    def forward(self, images: Tensor) -> Tensor:
        return self.layers[0](images.flatten(1))


class PartlyPlainList(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(1024, 20)]
        self.fc = nn.Linear(20, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.layers[0](images.flatten(1)))


class CountingBuffer(Net):
    """Network whose logits depend on a buffer that counts steps."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return super().forward(images) / (1 + self.steps)


class LostBuffer(CountingBuffer):
    """Network whose logits depend on a counting buffer that is not saved."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("steps", torch.zeros(()), persistent=False)


class ConstantBuffer(Net):
    """Network with a buffer that is not saved, but always has the same values."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("scale", torch.linspace(0, 1, num_classes), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.scale


class RandomBuffer(Net):
    """Network with random features that are not saved."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("mask", torch.randn(num_classes), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.mask


class Counter(Net):
    """Network whose logits depend on a number that is not saved."""

    steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(images) / (1 + self.steps)


class EvalCounter(Net):
    steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += not self.training
        return super().forward(images) / (1 + self.steps)


class HarmlessCounter(Net):
    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(images)


class BatchNorm(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.norm(images))


class BatchStatistics(Net):
    """Network whose logits depend on the other images of the batch."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0))


class Dropout(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.drop = nn.Dropout()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.drop(images))


class OurDropout(Dropout):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.drop = SeededDropout(0.5)  # type: ignore[assignment]


class FunctionalDropout(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, training=self.training))


class EvalNoise(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if self.training else images + torch.rand(1))


class LateNoise(Net):
    """Network that uses torch's global random state from its second step on."""

    def forward(self, images: Tensor) -> Tensor:
        first = not hasattr(self, "called")
        self.called = True
        return super().forward(images if first else images + torch.rand(1))


class NumpyNoise(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float(np.random.rand())


class NumpyWeights(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc.bias.data.fill_(np.random.rand())


class FreshNumpyNoise(Net):
    """Network that draws from a NumPy generator without a seed."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (float(np.random.default_rng().random()) if self.training else 1.0)


class PythonNoise(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * random.random()


class EvalShape(Net):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if self.training else logits[:, :5]


class EvalChannels(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if self.training else images.repeat(1, 2, 1, 1))


class EvalError(Net):
    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            raise ValueError("no eval")
        return super().forward(images)


class EvalInPlace(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if self.training else images.clamp_(-0.5, 0.5))


class TrainInPlace(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(2) if self.training else images * 2)


class KeywordForward(Net):
    def forward(self, images: Tensor, **options: Any) -> Tensor:
        return super().forward(images)


class NoArguments(Net):
    def forward(self) -> Tensor:  # type: ignore[override]
        return torch.zeros(2, 10)


class NeedsArgument(Net):
    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(num_classes)


class Raises(Net):
    def __init__(self, num_classes: int) -> None:
        raise RuntimeError("broken\nin two lines")


class Prints(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        print("constructed")


class Huge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10**15))


class Recursive(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self(images)


class Detached(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach()


class NoGrad(Net):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


class OwnGradient(Net):
    def forward(self, images: Tensor) -> Tensor:
        return _Doubled.apply(super().forward(images))


class _Broken(_Doubled):
    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("no gradient")


class BrokenGradient(Net):
    def forward(self, images: Tensor) -> Tensor:
        return _Broken.apply(super().forward(images))


class Hooked(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc.register_forward_hook(lambda module, inputs, output: output * 2)
        self.fc.weight.register_hook(lambda gradient: gradient / 2)


class SpectralNorm(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc = parametrizations.spectral_norm(self.fc)


class WeightNorm(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc = parametrizations.weight_norm(self.fc)


class Scripted(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc = torch.jit.script(self.fc)


class Compiled(Net):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.fc = torch.compile(self.fc, backend="eager")  # type: ignore[assignment]


class Squeezed(Net):
    """Network whose output for a single image has no batch dimension."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(0)


class EvenBatches(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.view(2, -1, 1024).flatten(0, 1))


class FixedBatch(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.view(32, 1024))


class NotSmall(Net):
    """Network that fails on the last batch of an epoch."""

    def forward(self, images: Tensor) -> Tensor:
        if 2 < len(images) < 32:
            raise ValueError("batch too small")
        return super().forward(images)


class NoModule:
    def __init__(self, num_classes: int) -> None:
        pass


def function(num_classes: int) -> nn.Module:
    return Net(num_classes)


class OwnCall(Net):
    def __call__(self, images: Tensor) -> Tensor:
        return self.forward(images)


class Lock(Net):
    """Network that cannot be copied or pickled."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.lock = threading.Lock()
        self.scaled = lambda x: x

    def forward(self, images: Tensor) -> Tensor:
        with self.lock:
            return self.scaled(super().forward(images))


class EmptyState(Net):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {}


class PartialState(Net):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {name: t for name, t in super().state_dict(*args, **kwargs).items() if "bias" not in name}


class ZeroState(Net):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {name: torch.zeros_like(t) for name, t in super().state_dict(*args, **kwargs).items()}


class ExtraState(Net):
    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


class Getattr(Net):
    """Network with a `__getattr__` that raises an `AttributeError`, as it should."""

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class KeyErrorInGetattr(Net):
    def __getattr__(self, name: str) -> Any:
        if name == "generator":
            raise KeyError(name)
        return super().__getattr__(name)


class Base(BaseException):
    """An exception that `except Exception` does not catch."""


class BaseInForward(Net):
    def forward(self, images: Tensor) -> Tensor:
        raise Base("deep")


class BaseInInit(Net):
    def __init__(self, num_classes: int) -> None:
        raise Base("deep")


class ExitInForward(Net):
    def forward(self, images: Tensor) -> Tensor:
        raise SystemExit(0)


class ExitInInit(Net):
    def __init__(self, num_classes: int) -> None:
        raise SystemExit(0)


class ExitInTraining(Net):
    """Network that exits on batches of more than two images."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise SystemExit(0)
        return super().forward(images)


class BaseInTraining(Net):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise Base("deep")
        return super().forward(images)


class Thread(Net):
    """Network with a thread that never ends."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        threading.Thread(target=threading.Event().wait).start()
