"""Steps of torch optimizers, executed by the kernels.

The state remains in torch, as views of the kernels' arrays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lenet_exp.training.native.arithmetic import whole_power
from lenet_exp.training.native.layout import Layout
from lenet_exp.training.native.library import Update

# The rules, as in kernels/options.h.
SGD = 0
ADAM = 1
RMSPROP = 2

# Options of torch's optimizers that are fields of `Update` with the same name.
COPIED = (
    "weight_decay",
    "maximize",
    "momentum",
    "nesterov",
    "eps",
    "amsgrad",
    "alpha",
    "centered",
)


class OptimizerRule:
    """Computes the kernels' arguments for each step of an SGD, Adam, AdamW, or RMSprop optimizer.

    A resumed run keeps its optimizer state. In a new run, the first step creates the state.

    Args:
        optimizer: optimizer with a single parameter group.
        model: network whose parameters the optimizer updates.
        layout: positions of the network's parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module, layout: Layout) -> None:
        self._slots = layout.slots
        self._optimizer = optimizer
        self._parameters = dict(model.named_parameters())
        fields = _state_fields(optimizer)
        self._arrays = {name: layout.new_array() for name in fields.values()}
        self._steps = 0  # number of completed steps
        # Number of completed steps for each parameter, which is part of torch's state.
        self._step_counts: Tensor | None = None
        if not isinstance(optimizer, torch.optim.SGD):
            self._step_counts = torch.zeros(len(self._parameters))
        self._has_state = False
        self._copy_earlier_state()

        self.update = _update(optimizer)
        for field, name in fields.items():
            setattr(self.update, field, self._arrays[name].data_ptr())

    def next_step(self, lr: float) -> Update:
        """Return the kernels' arguments for the next step."""
        if not self._has_state:
            self._place_state()

        update = self.update
        group = self._optimizer.param_groups[0]
        is_first = self._steps == 0
        self._steps += 1
        if self._step_counts is not None:
            self._step_counts += 1

        update.lr = lr
        if update.rule == SGD:
            update.fresh = 1.0 if is_first else 1 - group["dampening"]
        if update.rule == ADAM:
            update.correction1 = 1 - whole_power(update.beta1, self._steps)
            update.correction2 = 1 - whole_power(update.beta2, self._steps)
        return update

    def _copy_earlier_state(self) -> None:
        """Copy the optimizer's state into the kernels' arrays, if the run is resumed."""
        state = self._optimizer.state
        if not any(state[p] for p in self._parameters.values() if p in state):
            return

        for name, parameter in self._parameters.items():
            for key, array in self._arrays.items():
                self._slots[name].of(array).copy_(state[parameter][key])
            if self._step_counts is None:
                self._steps = 1  # SGD stores no count; only its first step differs
            else:
                self._steps = int(state[parameter]["step"])
        if self._step_counts is not None:
            self._step_counts += self._steps
        self._place_state()

    def _place_state(self) -> None:
        """Make views of the kernels' arrays the state of the optimizer."""
        for i, (name, parameter) in enumerate(self._parameters.items()):
            views: dict[str, Tensor] = {}
            if self._step_counts is not None:
                views["step"] = self._step_counts[i]
            for key, array in self._arrays.items():
                views[key] = self._slots[name].of(array)
            if views:
                self._optimizer.state[parameter] = views
        self._has_state = True


def _state_fields(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Return the names of the state tensors that an optimizer needs, keyed by field of `Update`.

    For example, Adam without `amsgrad` needs {"state1": "exp_avg", "state2": "exp_avg_sq"}.
    """
    if isinstance(optimizer, torch.optim.SGD):
        names = {"state1": "momentum_buffer"}
    elif isinstance(optimizer, torch.optim.Adam):  # AdamW is a subclass
        names = {"state1": "exp_avg", "state2": "exp_avg_sq", "state3": "max_exp_avg_sq"}
    else:
        names = {"state1": "square_avg", "state2": "momentum_buffer", "state3": "grad_avg"}

    # Options without which a tensor is not needed.
    options = {"momentum_buffer": "momentum", "max_exp_avg_sq": "amsgrad", "grad_avg": "centered"}
    (group,) = optimizer.param_groups
    needed_names = {}
    for field, name in names.items():
        if name not in options or group[options[name]]:
            needed_names[field] = name
    return needed_names


def _update(optimizer: torch.optim.Optimizer) -> Update:
    """Return the kernels' arguments that are the same in all steps."""
    (group,) = optimizer.param_groups
    rules = {torch.optim.SGD: SGD, torch.optim.RMSprop: RMSPROP}
    update = Update(
        rule=rules.get(type(optimizer), ADAM),
        decoupled=group.get("decoupled_weight_decay", False),
    )
    update.beta1, update.beta2 = group.get("betas", (0.0, 0.0))
    for name in COPIED:
        setattr(update, name, group.get(name, 0))
    return update
