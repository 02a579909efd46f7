"""A few steps of each optimizer, with each of its keywords, compared with torch's own in double
precision.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from lenet_exp.training.native.rule import OptimizerRule
from lenet_exp.training.state import new_training_state, update_average
from tests.training.small import configure

KEYWORDS = {
    "sgd": ["momentum=0", "momentum=0.9", "nesterov=true", "dampening=0.3", "maximize=true"],
    "adam": [
        "betas=[0.9,0.999]",
        "betas=[0.5,0.7]",
        "eps=0.01",
        "amsgrad=true",
        "maximize=true",
        "decoupled_weight_decay=true",
    ],
    "adamw": ["betas=[0.9,0.999]", "betas=[0.5,0.7]", "eps=0.01", "amsgrad=true", "maximize=true"],
    "rmsprop": [
        "momentum=0",
        "momentum=0.9",
        "alpha=0.5",
        "eps=0.01",
        "centered=true",
        "maximize=true",
    ],
}
CASES = [(optimizer, keyword) for optimizer, keywords in KEYWORDS.items() for keyword in keywords]
STEPS = 6


def gradients(model, step: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    return {n: torch.randn(p.shape, generator=rng) * 0.1 for n, p in model.named_parameters()}


def steps(kernels, state, first: int, last: int) -> torch.optim.Optimizer:
    """Run the steps with the kernels and with torch in double precision, and compare after each
    step.
    """
    exact = deepcopy(state.model).double()
    (group,) = state.optimizer.param_groups
    values = {
        k: v
        for k, v in group.items()
        if k not in {"params", "fused", "foreach", "capturable", "differentiable"}
    }
    if isinstance(state.optimizer, torch.optim.AdamW):
        del values["decoupled_weight_decay"]
    optimizer = type(state.optimizer)(exact.parameters(), **values)
    average = None if state.average is None else deepcopy(state.average).double()
    weights, rule = (
        kernels.layout.move_parameters(state.model),
        OptimizerRule(state.optimizer, state.model, kernels.layout),
    )
    averaged = None if state.average is None else kernels.layout.move_parameters(state.average)
    training = state.config.training
    rule.update.clip_norm = training.clip_norm or 0.0
    rule.update.average = None if averaged is None else averaged.data_ptr()
    for step in range(first, last):
        lr, gradient = 0.01 * (step + 1), kernels.layout.new_array()
        optimizer.param_groups[0]["lr"] = lr
        for name, g in gradients(exact, step).items():
            kernels.layout.slots[name].of(gradient).copy_(g)
            exact.get_parameter(name).grad = g.double()
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(exact.parameters(), training.clip_norm)
        optimizer.step()
        update = rule.next_step(lr)
        if average is not None:
            update_average(average, exact, training.ema_decay, step + 1)
            update.average_decay = min(training.ema_decay, (2 + step) / (11 + step))
        kernels.update(update, weights, gradient)
        close(state.model, exact)
        if average is not None:
            close(state.average, average)
    for mine, theirs in zip(state.model.parameters(), exact.parameters(), strict=True):
        kept = optimizer.state[theirs]
        assert set(state.optimizer.state[mine]) == {k for k, v in kept.items() if v is not None}
        for key, value in state.optimizer.state[mine].items():
            largest = max(float(kept[key].abs().max()), 1e-12)
            assert float((value.double() - kept[key]).abs().max()) <= 1e-5 * largest, key
    return optimizer


def close(model, exact) -> None:
    for (name, mine), theirs in zip(model.named_parameters(), exact.parameters(), strict=True):
        error = float((mine.double() - theirs).detach().abs().max())
        assert error <= 1e-5 * float(theirs.detach().abs().max()), name


@pytest.mark.parametrize(("optimizer", "keyword"), CASES)
def test_optimizer_steps_match_torch(kernels, optimizer, keyword):
    decay = 0 if keyword.startswith("momentum") else 0.05
    line = [
        f"optimizer={optimizer}",
        f"optimizer.{keyword}",
        f"regularization.weight_decay={decay}",
    ]
    if keyword == "nesterov=true":
        line.append("optimizer.momentum=0.8")
    steps(
        kernels,
        new_training_state(configure("activation=prelu", *line), torch.device("cpu")),
        0,
        STEPS,
    )


@pytest.mark.parametrize(
    ("optimizer", "clip_norm"),
    [("sgd", 0.5), ("sgd", 1e9), ("adam", 0.5), ("adamw", 0.5), ("rmsprop", 0.5)],
)
def test_clipping_and_weight_average_match_torch(kernels, optimizer, clip_norm):
    line = (f"optimizer={optimizer}", f"training.clip_norm={clip_norm}", "training.ema_decay=0.3")
    steps(kernels, new_training_state(configure(*line), torch.device("cpu")), 0, STEPS)


@pytest.mark.parametrize(
    ("optimizer", "decay"),
    [("sgd", 0), ("adam", 0), ("adam", 0.01), ("adamw", 0.01), ("rmsprop", 0)],
)
def test_zero_gradients_give_no_subnormal_numbers(kernels, optimizer, decay):
    """Subnormal numbers, which dead ReLUs cause after a few epochs, make optimizer steps 10 to 28
    times slower.
    """
    line = (f"optimizer={optimizer}", f"regularization.weight_decay={decay}")
    state, layout = new_training_state(configure(*line), torch.device("cpu")), kernels.layout
    weights, gradient = layout.move_parameters(state.model), layout.new_array()
    rule = OptimizerRule(state.optimizer, state.model, layout)
    for step in range(1500):
        if step < 2:
            for name, g in gradients(state.model, step).items():
                layout.slots[name].of(gradient).copy_(g * (step == 0))
        kernels.update(rule.next_step(0.001), weights, gradient)
    states = [value for entry in state.optimizer.state.values() for value in entry.values()]
    assert len(states) >= 10
    for tensor in (*state.model.parameters(), *states):
        size = tensor.detach().abs()
        assert not ((size > 0) & (size < 2**-126)).any()
