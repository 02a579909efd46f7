"""An epoch of `model=convnet` takes little more time than in a bare loop of PyTorch.

For each shape of the network, the benchmark compares three ways to train and validate an epoch of
MNIST:

  bare            a loop without other features: the same layers in plain PyTorch, tensors in
                  memory, fused SGD
  channels_last   the same with channels-last maps
  fit             lenet_exp.training.fit.fit, the training loop of lenet-train

The goal is that `fit` takes at most 1.05 times the time of the faster bare loop.

    python -m benchmarks.convnet

Data folder: $LENET_EXP_DATA (default: `data`).
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Seconds, interleave, keep, parser, positive, show_ratio, show_seconds
from benchmarks.training import bare_epoch, fit_epoch
from lenet_exp.config.compose import compose
from lenet_exp.data.images import load_training_data

BATCH = 64
LINE = [
    "dataset=mnist",
    "num_epoch=1",
    "engine=torch",
    "device=cpu",
    f"batch_size={BATCH}",
    "activation=relu",
]
SHAPES = {
    "4,8,8 (1,030 parameters)": ["model.channels=[4,8,8]"],
    "8,16,16 (3,778 parameters)": [],
    "32,64,64 (56,554 parameters)": ["model.channels=[32,64,64]"],
    "depthwise 16,32,32": ["model.channels=[16,32,32]", "model.depthwise=true"],
    "residual 16,16,32": ["model.channels=[16,16,32]", "model.residual=true"],
}


class Plain(nn.Module):
    """A convnet in plain PyTorch."""

    def __init__(self, channels: list[int], *, depthwise: bool, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        inputs = 1
        for n, outputs in enumerate(channels):
            self.convolutions.append(_convolution(inputs, outputs, depthwise=depthwise and n > 0))
            self.norms.append(nn.BatchNorm2d(outputs))
            shortcut: nn.Module = nn.Identity()
            if inputs != outputs:
                projection = nn.Conv2d(inputs, outputs, 1, bias=False)
                shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
            self.shortcuts.append(shortcut)
            inputs = outputs
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        last = len(self.convolutions) - 1
        blocks = zip(self.convolutions, self.norms, self.shortcuts, strict=True)
        for n, (convolution, norm, shortcut) in enumerate(blocks):
            maps = convolution(x)
            if n < last:
                maps = F.max_pool2d(maps, 2)
            y = norm(maps)
            if self.residual and n > 0:
                if n < last:
                    x = F.max_pool2d(x, 2)
                y = y + shortcut(x)
            x = F.relu(y)
        return cast(Tensor, self.fc(x.mean((2, 3))))


def _convolution(inputs: int, outputs: int, *, depthwise: bool) -> nn.Sequential:
    if not depthwise:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
    )


def main() -> None:
    """Run the benchmark, and print the times and ratios."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--threads", type=positive, default=1, help="default: 1, as in a sweep")
    options.add_argument(
        "--images", type=positive, default=20_000, help="number of training images"
    )
    arguments = options.parse_args()

    torch.set_num_threads(arguments.threads)
    all_seconds: Seconds = {}
    for name, flags in SHAPES.items():
        config = compose([*LINE, "model=convnet", f"dataset.train_size={arguments.images}", *flags])
        data = load_training_data(config, torch.device("cpu"))
        model = config.model
        plain = partial(
            Plain,
            list(model["channels"]),
            depthwise=bool(model["depthwise"]),
            residual=bool(model["residual"]),
        )
        ways = {
            "bare": partial(bare_epoch, plain, data, BATCH, torch.contiguous_format),
            "channels_last": partial(bare_epoch, plain, data, BATCH),
            "fit": partial(fit_epoch, config, data),
        }
        seconds = interleave(ways, arguments.repeats)
        show_seconds(seconds, f"seconds an epoch, {name}")

        medians = {}
        for way in ("bare", "channels_last"):
            medians[way] = sorted(seconds[way])[arguments.repeats // 2]
        faster = min(medians, key=medians.__getitem__)
        show_ratio(f"fit / {faster}", seconds["fit"], seconds[faster], "<= 1.05")
        for way, values in seconds.items():
            all_seconds[f"{name}: {way}"] = values
    keep(arguments, "convnet", all_seconds)


if __name__ == "__main__":
    main()
