"""Learning rate schedules, as pure functions of the step: an interrupted run resumes without
scheduler state.

The learning rates equal those of torch's LinearLR (warm-up and `linear`), CosineAnnealingLR,
MultiStepLR, and OneCycleLR, if these advance once per batch. Tests verify this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.schema import Option, Schedule, ScheduleShape
from lenet_exp.config.targets import instance


def lr_factor(
    schedule: Schedule,
    step: int,
    steps: int,
    cosine: Callable[[float], float] = math.cos,
    power: Callable[[float, float], float] = math.pow,
) -> float:
    """Return the learning rate as a fraction of `optimizer.lr`, in [0, 1].

    The shapes `linear`, `cosine` (Loshchilov and Hutter 2017, section 3, one period), and `step`
    rise linearly from `start` during the first `warmup * steps` steps. They would reach `final` one
    step after the last step. The shape `one_cycle` (Smith and Topin 2018, with cosines and constant
    momentum) reaches `final` at the last step.

    Args:
        step: number of the step, counted from 0.
        steps: total number of steps in the run.
        cosine, power: functions that compute cosines and powers. For bit-identical results on every
            machine, pass the functions in native/arithmetic.py.
    """
    if schedule.shape is ScheduleShape.constant:
        return 1.0
    if schedule.shape is ScheduleShape.one_cycle:
        top = max(schedule.warmup * steps - 1, 0)
        if step <= top:
            return _between(schedule.start, 1.0, step / top if top else 1.0, cosine)
        return _between(1.0, schedule.final, (step - top) / (steps - 1 - top), cosine)
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return schedule.start + (1 - schedule.start) * step / warmup
    done = (step - warmup) / (steps - warmup)
    if schedule.shape is ScheduleShape.linear:
        return 1 + (schedule.final - 1) * done
    if schedule.shape is ScheduleShape.cosine:
        return _between(1.0, schedule.final, done, cosine)
    return power(schedule.final, math.floor(done * (schedule.drops + 1)) / schedule.drops)


def own_factor(option: Option) -> Callable[[int, int], float]:
    """Return the user's own schedule, a function of the step and the number of steps.

    The function raises ValueError if a value cannot be used.
    """
    factor = instance("schedule.own", option)

    def checked(step: int, steps: int) -> float:
        value = float(factor(step, steps))
        problem = factor_problem(value, step, steps)
        if problem:
            raise ValueError(f"schedule.own={option_name(option)}: {problem}")
        return value

    return checked


def factor_problem(value: float, step: int, steps: int) -> str:
    """Return why a value of the user's own schedule cannot be used, or an empty string if it
    can.
    """
    if 0 <= value < math.inf:
        return ""
    return f"is {value:g} at step {step} of {steps}; must be finite and at least 0"


def depends_on_length(schedule: Schedule) -> bool:
    """Return whether the learning rate of a step depends on the total number of steps."""
    return schedule.shape is not ScheduleShape.constant or bool(schedule.own)


def first_after_warmup(schedule: Schedule, num_epoch: int) -> int:
    """Return the first epoch (counted from 1) without warm-up steps."""
    if not depends_on_length(schedule):
        return 1
    return 1 + math.ceil(
        round(schedule.warmup * num_epoch, 9)
    )  # 0.07 * 100 is slightly more than 7


def _between(start: float, end: float, done: float, cosine: Callable[[float], float]) -> float:
    return end + (start - end) * (1 + cosine(math.pi * done)) / 2
