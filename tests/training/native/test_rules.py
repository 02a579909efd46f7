"""A few steps of each optimizer, with each of its keywords, compared with torch's own in double
precision.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from lenet_exp.training.native.rule import OptimizerRule
from lenet_exp.training.state import TrainingState, new_training_state, update_average
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
OF_IMPLEMENTATION = {"params", "fused", "foreach", "capturable", "differentiable"}
STEPS = 6


def gradients(model, step: int) -> dict[str, torch.Tensor]:
    """Return random gradients of the parameters for a step."""
    rng = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(weights.shape, generator=rng) * 0.1
        for name, weights in model.named_parameters()
    }


def in_double_precision(optimizer, parameters) -> torch.optim.Optimizer:
    """Return an optimizer of torch with the same options for other parameters."""
    (group,) = optimizer.param_groups
    options = {key: value for key, value in group.items() if key not in OF_IMPLEMENTATION}
    if isinstance(optimizer, torch.optim.AdamW):
        del options["decoupled_weight_decay"]
    return type(optimizer)(parameters, **options)


def check_steps(kernels, state) -> None:
    """Run a few steps with the kernels and with torch in double precision, and compare after each
    step.
    """
    layout = kernels.layout
    training = state.config.training
    exact = deepcopy(state.model).double()
    optimizer = in_double_precision(state.optimizer, exact.parameters())
    weights = layout.move_parameters(state.model)
    rule = OptimizerRule(state.optimizer, state.model, layout)
    rule.update.clip_norm = training.clip_norm or 0.0
    average = None
    if state.average is not None:
        average = deepcopy(state.average).double()
        averaged_weights = layout.move_parameters(state.average)
        rule.update.average = averaged_weights.data_ptr()

    for step in range(STEPS):
        lr = 0.01 * (step + 1)
        kernel_gradient = layout.new_array()
        for name, gradient in gradients(exact, step).items():
            layout.slots[name].of(kernel_gradient).copy_(gradient)
            exact.get_parameter(name).grad = gradient.double()

        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(exact.parameters(), training.clip_norm)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        update = rule.next_step(lr)
        if average is not None:
            update_average(average, exact, training.ema_decay, step + 1)
            update.average_decay = min(training.ema_decay, (2 + step) / (11 + step))
        kernels.update(update, weights, kernel_gradient)

        check_close(state.model, exact)
        if average is not None:
            check_close(state.average, average)
    check_states_of_optimizers(state.optimizer, state.model, optimizer, exact)


def check_states_of_optimizers(optimizer, model, exact_optimizer, exact_model) -> None:
    for weights, exact in zip(model.parameters(), exact_model.parameters(), strict=True):
        values = optimizer.state[weights]
        expected = exact_optimizer.state[exact]
        assert set(values) == {key for key, value in expected.items() if value is not None}
        for key, value in values.items():
            largest = max(float(expected[key].abs().max()), 1e-12)
            error = float((value.double() - expected[key]).abs().max())
            assert error <= 1e-5 * largest, key


def check_close(model, exact_model) -> None:
    exact_parameters = exact_model.parameters()
    for (name, weights), exact in zip(model.named_parameters(), exact_parameters, strict=True):
        error = float((weights.double() - exact).detach().abs().max())
        assert error <= 1e-5 * float(exact.detach().abs().max()), name


def initial_state(*overrides: str) -> TrainingState:
    return new_training_state(configure(*overrides), torch.device("cpu"))


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
    check_steps(kernels, initial_state("activation=prelu", *line))


@pytest.mark.parametrize(
    ("optimizer", "clip_norm"),
    [("sgd", 0.5), ("sgd", 1e9), ("adam", 0.5), ("adamw", 0.5), ("rmsprop", 0.5)],
)
def test_clipping_and_weight_average_match_torch(kernels, optimizer, clip_norm):
    line = (f"optimizer={optimizer}", f"training.clip_norm={clip_norm}", "training.ema_decay=0.3")
    check_steps(kernels, initial_state(*line))


@pytest.mark.parametrize(
    ("optimizer", "decay"),
    [("sgd", 0), ("adam", 0), ("adam", 0.01), ("adamw", 0.01), ("rmsprop", 0)],
)
def test_zero_gradients_give_no_subnormal_numbers(kernels, optimizer, decay):
    """Subnormal numbers, which dead ReLUs cause after a few epochs, make optimizer steps 10 to 28
    times slower.
    """
    state = initial_state(f"optimizer={optimizer}", f"regularization.weight_decay={decay}")
    layout = kernels.layout
    weights = layout.move_parameters(state.model)
    kernel_gradient = layout.new_array()
    rule = OptimizerRule(state.optimizer, state.model, layout)

    for name, gradient in gradients(state.model, 0).items():
        layout.slots[name].of(kernel_gradient).copy_(gradient)
    kernels.update(rule.next_step(0.001), weights, kernel_gradient)
    kernel_gradient.zero_()
    for _ in range(1499):
        kernels.update(rule.next_step(0.001), weights, kernel_gradient)

    tensors = []
    for values in state.optimizer.state.values():
        tensors += values.values()
    assert len(tensors) >= 10
    for tensor in (*state.model.parameters(), *tensors):
        size = tensor.detach().abs()
        assert not ((size > 0) & (size < 2**-126)).any()
