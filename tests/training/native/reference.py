"""A network's loss and gradients in torch's double precision, with the kernels' random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.training.activations import RReLU
from lenet_exp.training.fully_connected import FullyConnected, Linear
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.native.layout import NativeShape
from lenet_exp.training.native.library import Options

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def threefry(
    key: tuple[int, int], first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute Threefry-2x32 with 20 rounds as defined in its paper."""
    keys = [np.uint32(number & 0xFFFFFFFF) for number in key]
    keys.append(keys[0] ^ keys[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x = first.astype(np.uint32) + keys[0]
        y = second.astype(np.uint32) + keys[1]
        for i in range(20):
            x = x + y
            turn = np.uint32(ROTATIONS[i % 8])
            turned = (y << turn) | (y >> (np.uint32(32) - turn))
            y = turned ^ x
            if i % 4 == 3:
                n = i // 4 + 1
                x = x + keys[n % 3]
                y = y + keys[(n + 1) % 3] + np.uint32(n)
    return x, y


def groups(count: int, size: int) -> int:
    """Return how many groups of a size hold `count` values."""
    return -(-count // size)


def first_blocks(shape: NativeShape) -> list[int]:
    """Return the first block of random numbers of each activation and then of each dropout; see
    kernels/options.h.
    """
    sizes = []
    if shape.channels:
        maps1 = groups(shape.channels[0], 6) * 6
        blocks2 = groups(shape.channels[1], 16)
        side2 = (shape.side + 1 - shape.kernel_size) // 2
        side4 = (side2 + 1 - shape.kernel_size) // 2
        sizes = [2 * maps1 * side2, 2 * blocks2 * side4**2]
    dense = [(groups(units, 16) + 1) // 2 for units in shape.units]
    return list(accumulate((0, *sizes, *dense, *dense)))


def uniform(options: Options, images: int, first: int, vectors: int) -> Tensor:
    """Return a layer's random numbers in [0, 1) from its first block on, with shape (images,
    vectors, 16).
    """
    blocks = (vectors + 1) // 2
    image = np.repeat(np.arange(images), blocks * 16)
    counter = np.tile(np.arange(blocks * 16) + first * 16, images)
    pair = threefry((options.key1, options.key2), image, counter)
    words = np.stack([word.reshape(images, blocks, 16) for word in pair], axis=2)
    numbers = (words >> np.uint32(8)) * 2.0**-24
    return torch.from_numpy(numbers.reshape(images, blocks * 2, 16)[:, :vectors].copy())


@dataclass
class Reference:
    """A network in double precision in training mode."""

    model: LeNet5 | FullyConnected | Linear
    options: Options
    shape: NativeShape

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits."""
        model = self.model
        n = len(images)
        depth = len(self.shape.units)
        blocks = first_blocks(self.shape)
        convolutions = 0
        x = images.double()
        if isinstance(model, LeNet5):
            x = self._pooled(model.conv1(x), model.act1, blocks[0])
            x = self._pooled(model.conv2(x), model.act2, blocks[1])
            convolutions = 2
        x = x.flatten(1)

        layers = {name.rpartition(".")[2]: module for name, module in model.named_modules()}
        for i in range(depth):
            act = layers[f"act{convolutions + i + 1}"]
            x = self._dense(layers[f"fc{i + 1}"](x), act, blocks[convolutions + i], n)
            x = self._dropped(x, blocks[convolutions + depth + i], n)
        output_layer = f"fc{depth + 1}" if depth else "fc"
        logits = layers[output_layer](x)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing)
        return loss, logits

    def _pooled(self, z: Tensor, act: torch.nn.Module, first: int) -> Tensor:
        assert isinstance(self.model, LeNet5)
        pool = self.model.pool
        if self.model.pool_first:
            return act(pool(z, 2))
        if not isinstance(act, RReLU):
            return pool(act(z), 2)

        n = len(z)
        maps = z.shape[1]
        side = z.shape[2] // 2
        z = z[:, :, : 2 * side, : 2 * side]
        # Lanes: a row of s2 for act1 ([map][row]), the maps for act2 ([place]); four numbers each,
        # one per phase. Both give the shape (image, map, row, phase, column, phase).
        if act is self.model.act1:
            padded = groups(maps, 6) * 6
            u = uniform(self.options, n, first, padded * side * 4)
            u = u.reshape(n, padded, side, 2, 2, 16)[:, :maps, ..., :side]
            u = u.permute(0, 1, 2, 3, 5, 4)
        else:
            blocks = groups(maps, 16)
            u = uniform(self.options, n, first, side * side * blocks * 4)
            u = u.reshape(n, side, side, blocks, 2, 2, 16).permute(0, 3, 6, 1, 4, 2, 5)
            u = u.reshape(n, blocks * 16, side, 2, side, 2)[:, :maps]
        return pool(self._sloped(z, act, u.reshape(z.shape)), 2)

    def _dense(self, z: Tensor, act: torch.nn.Module, first: int, n: int) -> Tensor:
        if not isinstance(act, RReLU):
            return act(z)
        return self._sloped(z, act, self._for_units(z.shape[1], first, n))

    def _for_units(self, units: int, first: int, n: int) -> Tensor:
        """Return the random numbers of a fully connected layer, with shape (n, units)."""
        return uniform(self.options, n, first, groups(units, 16)).flatten(1)[:, :units]

    @staticmethod
    def _sloped(z: Tensor, act: RReLU, u: Tensor) -> Tensor:
        return torch.where(z >= 0, z, z * (act.lower + (act.upper - act.lower) * u))

    def _dropped(self, h: Tensor, first: int, n: int) -> Tensor:
        rate = self.options.dropout_rate
        if rate == 0:
            return h
        is_kept = self._for_units(h.shape[1], first, n) < 1 - rate
        return h * is_kept / (1 - rate)
