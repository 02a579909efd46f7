"""The learning rate of each step, compared with torch's schedulers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from lenet_exp.config.fingerprint import fingerprint
from lenet_exp.config.schema import Schedule, ScheduleShape
from lenet_exp.training.fit import fit
from lenet_exp.training.optimizer import scheduled_rates
from lenet_exp.training.schedule import first_after_warmup, lr_factor
from tests.training.small import configure, start

STEPS = 40


def ours(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [lr_factor(schedule, step, steps) for step in range(steps)]


def after_warmup(optimizer: torch.optim.Optimizer, final: float) -> LRScheduler:
    """Return a linear schedule that starts to fall after eight rising steps."""
    parts = [LinearLR(optimizer, 0.04, 1.0, 8), LinearLR(optimizer, 1.0, final, STEPS - 8)]
    return SequentialLR(optimizer, parts, [8])


def one_cycle(optimizer: torch.optim.Optimizer, warmup: float) -> LRScheduler:
    return OneCycleLR(optimizer, 1.0, STEPS, pct_start=warmup, cycle_momentum=False)


TORCHS: list[tuple[Schedule, Callable[[torch.optim.Optimizer], LRScheduler]]] = [
    (Schedule(ScheduleShape.linear, 0.0, 0.04, 0.1, 1), lambda o: LinearLR(o, 1.0, 0.1, STEPS)),
    (Schedule(ScheduleShape.linear, 0.2, 0.04, 0.0, 1), lambda o: after_warmup(o, 0.0)),
    (Schedule(ScheduleShape.linear, 0.2, 0.04, 1.0, 1), lambda o: after_warmup(o, 1.0)),
    (Schedule(ScheduleShape.cosine, 0.0, 0.04, 0.1, 1), lambda o: CosineAnnealingLR(o, STEPS, 0.1)),
    (
        Schedule(ScheduleShape.step, 0.0, 0.04, 0.001, 3),
        lambda o: MultiStepLR(o, [10, 20, 30], 0.001 ** (1 / 3)),
    ),
    (Schedule(ScheduleShape.one_cycle, 0.3, 1 / 25, 1 / 25 / 1e4, 1), lambda o: one_cycle(o, 0.3)),
    (Schedule(ScheduleShape.one_cycle, 0.5, 1 / 25, 1 / 25 / 1e4, 1), lambda o: one_cycle(o, 0.5)),
]


@pytest.mark.parametrize(("schedule", "scheduler_of"), TORCHS)
def test_schedule_matches_torch(schedule, scheduler_of):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, expected = scheduler_of(optimizer), [optimizer.param_groups[0]["lr"]]
    for _ in range(STEPS - 1):
        optimizer.step()
        scheduler.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert ours(schedule) == pytest.approx(expected)


def test_cosine_schedule_after_warm_up_covers_remaining_steps():
    warm = ours(Schedule(ScheduleShape.cosine, 0.25, 0.5, 0.0, 1))
    assert warm[:10] == pytest.approx([0.5 + 0.05 * step for step in range(10)])
    assert warm[10:] == pytest.approx(ours(Schedule(ScheduleShape.cosine, 0.0, 0.5, 0.0, 1), 30))


@pytest.mark.parametrize("shape", ScheduleShape)
@given(warmup=st.floats(0, 0.9), num_epoch=st.integers(1, 30))
@example(warmup=0.1, num_epoch=30)
@settings(max_examples=15)
def test_learning_rate_does_not_rise_after_warm_up(shape, warmup, num_epoch):
    schedule = Schedule(shape, warmup, start=0.1, final=0.1, drops=1)
    first = first_after_warmup(schedule, num_epoch)
    factors = ours(schedule, STEPS * num_epoch)
    rising = [step for step in range(1, len(factors)) if factors[step] > factors[step - 1] + 1e-9]
    assert max(rising, default=-1) <= (first - 1) * STEPS
    if shape is not ScheduleShape.constant:
        assert (first - 2) / num_epoch < warmup <= (first - 1) / num_epoch + 1e-9


def test_training_uses_schedule_in_each_step():
    state, data = start(
        configure("num_epoch=2", "batch_size=250", "schedule=linear", "schedule.warmup=0.2")
    )
    used = []
    state.optimizer.register_step_post_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    results = list(fit(state, data))
    assert used == pytest.approx([0.01 * f for f in ours(state.config.schedule, 10)])
    assert [r.lr for r in results] == [used[4], used[9]]


PARTS = "tests.training.clumsy.parts"
GROUPED = (f"optimizer._target_={PARTS}.Grouped", "regularization=none")


def test_schedule_scales_rate_of_each_parameter_group():
    state, data = start(
        configure("batch_size=250", "schedule=linear", *GROUPED, "+optimizer.mult=3")
    )
    used = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        used.append([group["lr"] for group in optimizer.param_groups])

    state.optimizer.register_step_post_hook(note)
    list(fit(state, data))
    factors = ours(state.config.schedule, 5)
    assert used == [
        [pytest.approx(0.01 * factor), pytest.approx(0.03 * factor)] for factor in factors
    ]


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        ((*GROUPED, "+optimizer.mult=3", "schedule=linear"), True),
        ((*GROUPED, "+optimizer.mult=3", f"+schedule.own={{_target_:{PARTS}.triangle}}"), True),
        ((*GROUPED, "+optimizer.mult=3"), False),
        ((*GROUPED, "+optimizer.mult=1", "schedule=linear"), False),
        (("optimizer=adam", "schedule=linear"), False),
    ],
)
def test_fingerprint_covers_scheduled_rates_of_groups_if_they_differ(overrides, differs):
    """Release 0.3 gave all groups the scheduled rate of the first one, so its results must not be
    reused.
    """
    config = configure(*overrides)
    digests = {"train": "a" * 64, "validation": "b" * 64}
    of_release_0_3 = fingerprint(config, digests)
    assert (fingerprint(config, digests, scheduled_rates(config)) != of_release_0_3) == differs
