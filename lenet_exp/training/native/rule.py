"""Steps of torch optimizers, executed by the kernels. The state remains in torch, as views of the
kernels' arrays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lenet_exp.training.native.arithmetic import whole_power
from lenet_exp.training.native.layout import Layout
from lenet_exp.training.native.library import Update

SGD, ADAM, RMSPROP = range(3)  # same as in kernels/options.h


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
        self._counts = (
            torch.zeros(len(self._parameters))
            if not isinstance(optimizer, torch.optim.SGD)
            else None
        )
        self._steps = 0  # number of completed steps
        self._began = False
        self._take_over()
        self.update = _update(optimizer)
        for field, name in fields.items():
            setattr(self.update, field, self._arrays[name].data_ptr())

    def next_step(self, lr: float) -> Update:
        """Return the kernels' arguments for the next step."""
        if not self._began:
            self._place_state()
        update, group = self.update, self._optimizer.param_groups[0]
        first = self._steps == 0
        self._steps += 1
        update.lr = lr
        if self._counts is not None:
            self._counts += 1
        if update.rule == SGD:
            update.fresh = 1.0 if first else 1 - group["dampening"]
        if update.rule == ADAM:
            update.correction1 = 1 - whole_power(update.beta1, self._steps)
            update.correction2 = 1 - whole_power(update.beta2, self._steps)
        return update

    def _take_over(self) -> None:
        state = self._optimizer.state
        if not any(state[p] for p in self._parameters.values() if p in state):
            return
        for name, parameter in self._parameters.items():
            for key, array in self._arrays.items():
                self._slots[name].of(array).copy_(state[parameter][key])
            self._steps = int(state[parameter]["step"]) if self._counts is not None else 1
        if self._counts is not None:
            self._counts += self._steps
        self._place_state()

    def _place_state(self) -> None:
        for i, (name, parameter) in enumerate(self._parameters.items()):
            mine: dict[str, Tensor] = {} if self._counts is None else {"step": self._counts[i]}
            mine |= {key: self._slots[name].of(array) for key, array in self._arrays.items()}
            if mine:
                self._optimizer.state[parameter] = mine
        self._began = True


def _state_fields(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Return the names of the state tensors that an optimizer needs with its options, keyed by
    field of `Update`.
    """
    if isinstance(optimizer, torch.optim.SGD):
        found = {"state1": "momentum_buffer"}
    elif isinstance(optimizer, torch.optim.Adam):  # AdamW is a subclass
        found = {"state1": "exp_avg", "state2": "exp_avg_sq", "state3": "max_exp_avg_sq"}
    else:
        found = {"state1": "square_avg", "state2": "momentum_buffer", "state3": "grad_avg"}
    option = {"momentum_buffer": "momentum", "max_exp_avg_sq": "amsgrad", "grad_avg": "centered"}
    (group,) = optimizer.param_groups
    return {
        field: name for field, name in found.items() if name not in option or group[option[name]]
    }


def _update(optimizer: torch.optim.Optimizer) -> Update:
    (group,) = optimizer.param_groups
    rules = {torch.optim.SGD: SGD, torch.optim.RMSprop: RMSPROP}
    update = Update(
        rule=rules.get(type(optimizer), ADAM), decoupled=group.get("decoupled_weight_decay", False)
    )
    update.beta1, update.beta2 = group.get("betas", (0.0, 0.0))
    for name in (
        "weight_decay",
        "maximize",
        "momentum",
        "nesterov",
        "eps",
        "amsgrad",
        "alpha",
        "centered",
    ):
        setattr(update, name, group.get(name, 0))
    return update
