"""Conversion of a run's training state to tensors and JSON, and back, without pickle.

A run that resumes from this state has results bit-identical to those of an uninterrupted run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenet_exp.training.augmentation import augments
from lenet_exp.training.state import Position, TrainingState

Plain = int | float | bool | str | None


def snapshot(state: TrainingState) -> tuple[dict[str, Tensor], str]:
    """Return a run's network, average, optimizer, generators, and position as tensors and JSON.

    The best weights are not included, because they are saved in a separate file.

    Raises:
        TypeError: a value in the optimizer's state is not a tensor, a number, a string, or None.
    """
    position = state.position
    tensors = _detached("model.", state.model)
    tensors["order"] = state.order.get_state()
    tensors["noise"] = state.noise.get_state()
    tensors["losses"] = position.losses
    if augments(state.config.augmentation):
        tensors["distortions"] = state.distortions.get_state()
    if state.average is not None:
        tensors |= _detached("average.", state.average)
    if position.order is not None:
        tensors["epoch_order"] = position.order
    if state.best is not None:
        tensors["best_predictions"] = _compact(state.best.predictions)

    optimizer = optimizer_state(state.optimizer)
    values = {
        "epoch": position.epoch,
        "steps": position.steps,
        "correct": position.correct,
        "step_losses": position.step_losses,
        "seconds": position.seconds,
        "progress": state.progress,
        "last_right": state.last_right,
        "optimizer": {"state": optimizer.state, "groups": optimizer.groups},
    }
    return tensors | optimizer.tensors, json.dumps(values)


def _detached(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network's state dict, with a prefix before each name."""
    return {f"{prefix}{name}": t.detach() for name, t in network.state_dict().items()}


def _compact(predictions: Tensor) -> Tensor:
    """Return predicted classes, shape (n_val,), in the smallest type that holds them."""
    if len(predictions) == 0 or int(predictions.max()) < 256:
        return predictions.to(torch.uint8)
    return predictions.to(torch.int16)


def restore(state: TrainingState, tensors: dict[str, Tensor], values: str) -> None:
    """Restore a run's training state from a snapshot, except for its best weights.

    Raises:
        KeyError, ValueError, RuntimeError, TypeError: the snapshot is from a different network,
            optimizer, or release. The training state remains unchanged.
    """
    earlier_tensors, earlier_values = snapshot(state)
    earlier_tensors = {name: tensor.clone() for name, tensor in earlier_tensors.items()}
    try:
        _apply(state, tensors, values)
    except Exception:
        _apply(state, earlier_tensors, earlier_values)
        raise


def _apply(state: TrainingState, tensors: dict[str, Tensor], text: str) -> None:
    values = json.loads(text)
    state.model.load_state_dict(_without_prefix("model.", tensors))
    if state.average is not None:
        state.average.load_state_dict(_without_prefix("average.", tensors))
    if augments(state.config.augmentation):
        state.distortions.set_state(tensors["distortions"])
    state.last_right = values.get("last_right")
    state.progress = tuple(values["progress"]) if values["progress"] else None
    restore_optimizer(state.optimizer, OptimizerState(tensors, **values["optimizer"]))
    state.order.set_state(tensors["order"])
    state.noise.set_state(tensors["noise"])
    state.position = Position(
        epoch=values["epoch"],
        steps=values["steps"],
        losses=tensors["losses"],
        correct=values["correct"],
        step_losses=tuple((int(i), float(loss), int(ms)) for i, loss, ms in values["step_losses"]),
        seconds=values["seconds"],
        order=tensors.get("epoch_order"),
    )


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, keyed by the rest of the name."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class OptimizerState:
    """The state of an optimizer.

    Attributes:
        tensors: tensors of each parameter's state, keyed by `optimizer.<parameter index>.<name>`.
        state: plain values of each parameter's state, keyed by parameter index and name.
        groups: plain values of each parameter group, keyed by name.
    """

    tensors: dict[str, Tensor]
    state: dict[str, dict[str, Plain]]
    groups: list[dict[str, Plain]]


def optimizer_state(optimizer: torch.optim.Optimizer) -> OptimizerState:
    """Return the state of an optimizer.

    Raises:
        TypeError: a value in the state is not a tensor, a number, a string, or None.
    """
    saved = OptimizerState(tensors={}, state={}, groups=[])
    state_dict = optimizer.state_dict()
    for index, entry in state_dict["state"].items():
        plain_values = saved.state.setdefault(str(index), {})
        for name, value in entry.items():
            if isinstance(value, Tensor):
                saved.tensors[f"optimizer.{index}.{name}"] = value.detach()
            elif isinstance(value, Plain):
                plain_values[name] = value
            else:
                kind = type(value).__name__
                raise TypeError(f"state `{name}` must be a tensor, number, or string, not {kind}")

    for group in state_dict["param_groups"]:
        saved.groups.append({key: v for key, v in group.items() if isinstance(v, Plain)})
    return saved


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: OptimizerState) -> None:
    """Restore the state of an optimizer from `optimizer_state`."""
    state: dict[int, dict[str, Plain | Tensor]] = {}
    for index, plain_values in saved.state.items():
        state[int(index)] = {**plain_values}

    parameters: list[nn.Parameter] = []
    for group in optimizer.param_groups:
        parameters += group["params"]

    for name, value in saved.tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = name.split(".", 2)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape and key != "step":
            # Fused optimizers read a parameter and its buffers in memory order, so their layouts
            # must match.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state[int(index)][key] = value.clone()

    groups = optimizer.state_dict()["param_groups"]
    merged = [group | plain for group, plain in zip(groups, saved.groups, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
