"""Augmentation takes only a small fraction of the time for a training step.

With one thread and PyTorch, shift and flip take less than 5% of a step, and affine changes less
than 25%. With the native engine, whose steps take a fifth of the time, affine and elastic changes
together take less than 35%.

The benchmark alternates between training steps with and without each option, with batch size 256
and the default network. It uses the scikit-learn digits, because the cost of a step does not depend
on the images.

    python -m benchmarks.options
    python -m benchmarks.options --engine native
"""

from __future__ import annotations

import time

import torch

from benchmarks.measure import interleave, keep, parser, positive, show_ratio, show_seconds
from lenet_exp.config.compose import compose
from lenet_exp.config.schema import EngineName
from lenet_exp.data.images import load_training_data
from lenet_exp.training.engine import engine_of
from lenet_exp.training.state import new_training_state

WITHOUT = "without"
NO_GOALS = (None, None)
# overrides, and goals for the ratio with PyTorch and with the native engine
OPTIONS: dict[str, tuple[str, tuple[float | None, float | None]]] = {
    "shift and flip": ("augmentation=[shift,flip]", (1.05, None)),
    "affine": ("augmentation=affine", (1.25, None)),
    "elastic": ("augmentation=elastic", NO_GOALS),
    "affine and elastic": ("augmentation=[affine,elastic]", (None, 1.35)),
    "erase": ("augmentation=erase", NO_GOALS),
    "cosine": ("schedule=cosine", NO_GOALS),
    "label smoothing": ("training.label_smoothing=0.1", NO_GOALS),
    "clipping": ("training.clip_norm=1", NO_GOALS),
    "average": ("training.ema_decay=0.999", NO_GOALS),
}


class Steps:
    """Training steps with certain options. Each call trains a few steps and returns the time per
    step.

    Args:
        overrides: overrides that select the options.
        number: number of steps in each call.
    """

    def __init__(self, overrides: list[str], number: int) -> None:
        config = compose(["dataset=digits", "batch_size=256", "device=cpu", *overrides])
        self.data = load_training_data(config, torch.device("cpu"))
        state = new_training_state(config, torch.device("cpu"))
        self.step = engine_of(config).stepper(state, self.data, 10**6)
        self.number = number
        self.done = 0

    def __call__(self) -> float:
        order = torch.randperm(len(self.data.train_index))
        batches = self.data.train_index[order].split(256)[:-1]  # the last one is smaller
        start = time.perf_counter()
        for _ in range(self.number):
            batch = batches[self.done % len(batches)]
            float(self.step(batch, self.done)[0])  # waits until the step has ended
            self.done += 1
        return (time.perf_counter() - start) / self.number * 1000


def main() -> None:
    """Run the benchmark and print the ratios."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--threads", type=positive, default=1, help="default 1")
    options.add_argument(
        "--steps", type=positive, default=20, help="that are timed at a time (default 20)"
    )
    options.add_argument("--engine", choices=list(EngineName)[1:], default=EngineName.torch.value)
    arguments = options.parse_args()

    torch.set_num_threads(arguments.threads)
    base = [f"engine={arguments.engine}", f"num_threads={arguments.threads}"]
    ways = {WITHOUT: Steps(base, arguments.steps)}
    for name, (override, _) in OPTIONS.items():
        ways[name] = Steps([*base, override], arguments.steps)
    milliseconds = interleave(ways, arguments.repeats)
    show_seconds(milliseconds, "milliseconds a step")

    for name, (_, goals) in OPTIONS.items():
        goal_torch, goal_native = goals
        most = goal_native if arguments.engine == EngineName.native else goal_torch
        goal = "none" if most is None else f"<= {most}"
        show_ratio(f"{name} / {WITHOUT}", milliseconds[name], milliseconds[WITHOUT], goal)
    keep(arguments, "options", milliseconds)


if __name__ == "__main__":
    main()
