"""LeNet-5's loss and gradients in torch's double precision, with the kernels' random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.training.activations import RReLU
from lenet_exp.training.lenet5 import LeNet5
from lenet_exp.training.native.library import Options

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def threefry(key: tuple[int, int], first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds, as its paper writes it down."""
    keys = [np.uint32(k & 0xFFFFFFFF) for k in key]
    keys.append(keys[0] ^ keys[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x, y = first.astype(np.uint32) + keys[0], second.astype(np.uint32) + keys[1]
        for r in range(20):
            x = x + y
            turn = np.uint32(ROTATIONS[r % 8])
            y = ((y << turn) | (y >> (np.uint32(32) - turn))) ^ x
            if r % 4 == 3:
                n = r // 4 + 1
                x, y = x + keys[n % 3], y + keys[(n + 1) % 3] + np.uint32(n)
    return x, y


def first_blocks(model: LeNet5) -> dict[str, int]:
    """The first block of each layer's random numbers; see kernels/options.h."""
    maps1, maps2 = -(-model.conv1.out_channels // 6) * 6, -(-model.conv2.out_channels // 16)
    side2 = (33 - model.conv1.kernel_size[0]) // 2
    side4 = (side2 + 1 - model.conv2.kernel_size[0]) // 2
    dense1, dense2 = ((-(-layer.out_features // 16) + 1) // 2 for layer in (model.fc1, model.fc2))
    sizes = (2 * maps1 * side2, 2 * maps2 * side4**2, dense1, dense2, dense1)
    return dict(zip(("act1", "act2", "act3", "act4", "drop1", "drop2"), accumulate((0, *sizes)), strict=True))


def uniform(options: Options, images: int, first: int, vectors: int) -> Tensor:
    """(images, vectors, 16) numbers in [0, 1): those that a layer has for each image, from its first block on."""
    blocks = (vectors + 1) // 2
    image = np.repeat(np.arange(images), blocks * 16)
    counter = np.tile(np.arange(blocks * 16) + first * 16, images)
    pair = [x.reshape(images, blocks, 1, 16) for x in threefry((options.key1, options.key2), image, counter)]
    numbers = (np.concatenate(pair, axis=2) >> np.uint32(8)) * 2.0**-24
    return torch.from_numpy(numbers.reshape(images, blocks * 2, 16)[:, :vectors].copy())


@dataclass
class Reference:
    """A network in double precision, in training."""

    model: LeNet5
    options: Options

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss and the logits."""
        model, n = self.model, len(images)
        x = self._pooled(model.conv1(images.double()), model.act1, "act1", n)
        x = self._pooled(model.conv2(x), model.act2, "act2", n)
        x = self._dropped(self._dense(model.fc1(x.flatten(1)), model.act3, "act3", n), "drop1", n)
        x = self._dropped(self._dense(model.fc2(x), model.act4, "act4", n), "drop2", n)
        logits = model.fc3(x)
        return F.cross_entropy(logits, labels, label_smoothing=self.options.label_smoothing), logits

    def _pooled(self, z: Tensor, act: torch.nn.Module, layer: str, n: int) -> Tensor:
        if self.model.pool_first:
            return act(F.max_pool2d(z, 2))
        if not isinstance(act, RReLU):
            return F.max_pool2d(act(z), 2)
        maps, side = z.shape[1], z.shape[2] // 2
        z = z[:, :, : 2 * side, : 2 * side]
        first = first_blocks(self.model)[layer]
        # Lanes: a row of s2 for act1 ([map][row]), the maps for act2 ([place]); four numbers for each, one a phase.
        if layer == "act1":
            padded = -(-maps // 6) * 6
            u = uniform(self.options, n, first, padded * side * 4).reshape(n, padded, side, 2, 2, 16)[
                :, :maps, ..., :side
            ]
            u = u.permute(0, 1, 2, 3, 5, 4)
        else:
            blocks = -(-maps // 16)
            u = uniform(self.options, n, first, side * side * blocks * 4).reshape(n, side, side, blocks, 2, 2, 16)
            u = u.permute(0, 3, 6, 1, 4, 2, 5).reshape(n, blocks * 16, side, 2, side, 2)[:, :maps]
        return F.max_pool2d(self._sloped(z, act, u.reshape(z.shape)), 2)

    def _dense(self, z: Tensor, act: torch.nn.Module, layer: str, n: int) -> Tensor:
        if not isinstance(act, RReLU):
            return act(z)
        vectors = -(-z.shape[1] // 16)
        return self._sloped(
            z, act, uniform(self.options, n, first_blocks(self.model)[layer], vectors).flatten(1)[:, : z.shape[1]]
        )

    @staticmethod
    def _sloped(z: Tensor, act: RReLU, u: Tensor) -> Tensor:
        return torch.where(z >= 0, z, z * (act.lower + (act.upper - act.lower) * u))

    def _dropped(self, h: Tensor, layer: str, n: int) -> Tensor:
        rate = self.options.dropout_rate
        if rate == 0:
            return h
        u = uniform(self.options, n, first_blocks(self.model)[layer], -(-h.shape[1] // 16)).flatten(1)[:, : h.shape[1]]
        return h * (u < 1 - rate) / (1 - rate)
