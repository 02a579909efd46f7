"""The kernels' library: its functions and their argument structures.

The structures mirror those in kernels/options.h and kernels/augment.h.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, byref, c_double, c_int32, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenet_exp.training.native.build import BuildError, build
from lenet_exp.training.native.layout import LENET5, Layout, NativeShape


def _fields(*kinds: tuple[Any, str]) -> list[tuple[str, Any]]:
    """Return the fields of a structure from types and names, as in (c_double, "lr
    weight_decay").
    """
    fields = []
    for kind, names in kinds:
        for name in names.split():
            fields.append((name, kind))
    return fields


class Options(ctypes.Structure):
    """Options for the network and a training step; mirrors kernels/options.h."""

    _fields_ = _fields(
        (c_int64, "activation"),
        (c_double, "alpha upper"),
        (c_int64, "pool_first training"),
        (c_double, "dropout_rate label_smoothing"),
        (c_int64, "key1 key2 threads"),
    )


class Augment(ctypes.Structure):
    """Options for augmentation; mirrors kernels/augment.h."""

    _fields_ = _fields(
        (c_double, "shift rotate scale shear elastic sigma flip erase"),
        (c_int64, "erase_size"),
        (c_double, "background"),
        (c_int64, "key1 key2 threads"),
    )


class Update(ctypes.Structure):
    """Options and arrays for an optimizer step; mirrors kernels/options.h."""

    _fields_ = _fields(
        (c_int64, "rule"),
        (c_double, "lr weight_decay"),
        (c_int64, "decoupled maximize"),
        (c_double, "momentum fresh"),
        (c_int64, "nesterov"),
        (c_double, "beta1 beta2 correction1 correction2"),
        (c_int64, "amsgrad"),
        (c_double, "alpha"),
        (c_int64, "centered"),
        (c_double, "eps clip_norm average_decay"),
        (c_void_p, "state1 state2 state3 average"),
    )


class _Batch(ctypes.Structure):
    _fields_ = _fields((c_void_p, "images labels index"), (c_int64, "count"))


class _Outcome(ctypes.Structure):
    _fields_ = _fields((c_double, "loss"), (c_int64, "hits"))


class Kernels:
    """The functions of a library compiled from kernels/.

    The library must be trusted, because opening it runs its code.

    Args:
        path: path of the library.
        built: CPU type and compiler of the library, for messages.
        shape: shape of the networks for which the library was compiled.

    Attributes:
        layout: positions of a network's parameters in the kernels' array.
    """

    def __init__(self, path: Path, built: str = "", shape: NativeShape = LENET5) -> None:
        self.built = built
        self.layout = Layout(shape)
        self._library = ctypes.CDLL(str(path))
        self._declare_functions()
        assert self._library.lenet_parameters() == self.layout.parameters
        # One set of buffers per thread, because calls release the GIL.
        self._buffers = threading.local()

    def _declare_functions(self) -> None:
        pointer = c_void_p
        options = POINTER(Options)
        batch = POINTER(_Batch)
        outcome = POINTER(_Outcome)
        for name, result, arguments in (
            ("lenet_parameters", c_int64, []),
            ("lenet_memory", c_int64, [c_int64, c_int64]),
            ("lenet_gradient", None, [options, batch, pointer, pointer, pointer, outcome]),
            ("lenet_update", None, [POINTER(Update), pointer, pointer]),
            ("lenet_evaluate", None, [options, batch, pointer, pointer, pointer, outcome]),
            ("lenet_augment", None, [POINTER(Augment), batch, pointer]),
            ("lenet_function", None, [c_int64, pointer, pointer, c_int64]),
            ("lenet_random", None, [c_int32, c_int32, pointer, pointer, pointer, pointer, c_int64]),
        ):
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = arguments

    def gradient(
        self,
        options: Options,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        weights: Tensor,
        gradient: Tensor,
    ) -> tuple[float, int]:
        """Compute the gradient of the mean loss over the images at `index`.

        Args:
            options: options for the network and the step.
            images: all images (n, 1, side, side), float32.
            labels: labels of the images (n,), int64.
            index: indices of the batch's images (count,), int64; each must be less than n.
            weights: parameters of the network, shape (parameters,).
            gradient: array for the gradient, shape (parameters,); it is overwritten.

        Returns:
            The mean loss and the number of correct predictions.
        """
        batch = _batch(images, labels, index)
        outcome = self._run(self._library.lenet_gradient, options, batch, weights, result=gradient)
        return outcome.loss, outcome.hits

    def update(self, update: Update, weights: Tensor, gradient: Tensor) -> None:
        """Execute an optimizer step, which updates weights, optimizer state, and average in
        place.
        """
        self._library.lenet_update(byref(update), weights.data_ptr(), gradient.data_ptr())

    def evaluate(
        self, options: Options, images: Tensor, labels: Tensor, index: Tensor, weights: Tensor
    ) -> tuple[float, Tensor]:
        """Return the mean loss and the predicted classes for the images at `index`.

        For the arguments, see `gradient`. The predicted classes have shape (count,).
        """
        predictions = torch.empty(len(index), dtype=torch.int64)
        batch = _batch(images, labels, index)
        outcome = self._run(
            self._library.lenet_evaluate, options, batch, weights, result=predictions
        )
        return outcome.loss, predictions

    def augment(self, options: Augment, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return augmented copies (count, 1, side, side) of the images at `index`.

        The copies are valid until this thread's next call. For the arguments, see `gradient`.
        """
        augmented: Tensor | None = getattr(self._buffers, "augmented", None)
        if augmented is None or len(augmented) < len(index):
            augmented = torch.empty(len(index), *images.shape[1:])
            self._buffers.augmented = augmented

        batch = _batch(images, labels, index)
        self._library.lenet_augment(byref(options), byref(batch), augmented.data_ptr())
        return augmented[: len(index)]

    def _run(
        self, function: Any, options: Options, batch: _Batch, weights: Tensor, result: Tensor
    ) -> _Outcome:
        """Call a function of the library for a batch. The function writes to the array `result`."""
        needed_bytes = self._library.lenet_memory(batch.count, options.threads)
        memory: Tensor | None = getattr(self._buffers, "memory", None)
        if memory is None or memory.nbytes < needed_bytes:  # reuse memory: new pages take time
            memory = torch.empty(needed_bytes, dtype=torch.uint8)
            self._buffers.memory = memory

        pointers = weights.data_ptr(), result.data_ptr(), memory.data_ptr()
        outcome = _Outcome()
        function(byref(options), byref(batch), *pointers, byref(outcome))
        return outcome


def _batch(images: Tensor, labels: Tensor, index: Tensor) -> _Batch:
    """Return the arguments of a function of the library; see `Kernels.gradient`."""
    _check_tensor(images, torch.float32)
    _check_tensor(labels, torch.int64)
    _check_tensor(index, torch.int64)
    return _Batch(images.data_ptr(), labels.data_ptr(), index.data_ptr(), len(index))


def _check_tensor(tensor: Tensor, dtype: torch.dtype) -> None:
    if tensor.dtype is dtype and tensor.is_contiguous() and tensor.device.type == "cpu":
        return
    raise ValueError(f"{tensor.dtype} on {tensor.device}: must be contiguous {dtype} on the CPU")


@lru_cache(maxsize=64)
def kernels(shape: NativeShape = LENET5) -> Kernels | str:
    """Return this machine's kernels for a shape, built if needed, or a phrase that says why not."""
    try:
        library = build(None, shape)
        return Kernels(library.path, library.built, shape)
    except BuildError as e:
        return str(e)
    except OSError as e:
        return f"the compiled library cannot be opened ({e})"


def why_no_kernels() -> str:
    """Return a phrase that says why this machine has no kernels; empty if it has them."""
    kernels_or_reason = kernels()
    return kernels_or_reason if isinstance(kernels_or_reason, str) else ""


def describe_kernels() -> str:
    """Return the CPU type and compiler of this machine's kernels; empty if it has none."""
    kernels_or_reason = kernels()
    return kernels_or_reason.built if isinstance(kernels_or_reason, Kernels) else ""
