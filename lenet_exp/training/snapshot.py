"""Conversion of a run's training state (a lane) to tensors and JSON, and back, without pickle.

A run that resumes from this state has results bit-identical to those of an uninterrupted run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from lenet_exp.training.augmentation import augments
from lenet_exp.training.state import Position, TrainingState

Plain = int | float | bool | str | None


def snapshot(lane: TrainingState) -> tuple[dict[str, Tensor], str]:
    """Return a lane's network, average, optimizer, generators, and position as tensors and JSON.

    The best weights are not included, because they are saved in a separate file.

    Raises:
        TypeError: a value in the optimizer's state is not a tensor, a number, a string, or None.
    """
    at = lane.position
    tensors = {f"model.{name}": t.detach() for name, t in lane.model.state_dict().items()}
    tensors |= {
        "order": lane.order.get_state(),
        "noise": lane.noise.get_state(),
        "losses": at.losses,
    }
    if augments(lane.config.augmentation):
        tensors["distortions"] = lane.distortions.get_state()
    if lane.average is not None:
        tensors |= {f"average.{name}": t.detach() for name, t in lane.average.state_dict().items()}
    if at.order is not None:
        tensors["epoch_order"] = at.order
    if lane.best is not None:
        few = not len(lane.best.predictions) or int(lane.best.predictions.max()) < 256
        tensors["best_predictions"] = lane.best.predictions.to(torch.uint8 if few else torch.int16)
    kept = optimizer_state(lane.optimizer)
    values = {
        "epoch": at.epoch,
        "steps": at.steps,
        "correct": at.correct,
        "step_losses": at.step_losses,
        "seconds": at.seconds,
        "progress": lane.progress,
        "last_right": lane.last_right,
        "optimizer": {"state": kept.state, "groups": kept.groups},
    }
    return tensors | kept.tensors, json.dumps(values)


def restore(lane: TrainingState, tensors: dict[str, Tensor], values: str) -> None:
    """Restore a lane from a snapshot, except for its best weights.

    Raises:
        KeyError, ValueError, RuntimeError, TypeError: the snapshot is from a different network,
            optimizer, or release. The lane remains unchanged.
    """
    before, then = snapshot(lane)
    before = {name: t.clone() for name, t in before.items()}
    try:
        _put(lane, tensors, values)
    except Exception:
        _put(lane, before, then)
        raise


def _put(lane: TrainingState, tensors: dict[str, Tensor], text: str) -> None:
    values = json.loads(text)
    lane.model.load_state_dict(_named("model.", tensors))
    if lane.average is not None:
        lane.average.load_state_dict(_named("average.", tensors))
    if augments(lane.config.augmentation):
        lane.distortions.set_state(tensors["distortions"])
    lane.last_right = values.get("last_right")
    lane.progress = tuple(values["progress"]) if values["progress"] else None
    restore_optimizer(lane.optimizer, OptimizerState(tensors, **values["optimizer"]))
    lane.order.set_state(tensors["order"])
    lane.noise.set_state(tensors["noise"])
    lane.position = Position(
        epoch=values["epoch"],
        steps=values["steps"],
        losses=tensors["losses"],
        correct=values["correct"],
        step_losses=tuple((int(i), float(loss), int(ms)) for i, loss, ms in values["step_losses"]),
        seconds=values["seconds"],
        order=tensors.get("epoch_order"),
    )


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
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
    found, state = OptimizerState({}, {}, []), optimizer.state_dict()
    for index, entry in state["state"].items():
        plain = found.state.setdefault(str(index), {})
        for name, value in entry.items():
            if isinstance(value, Tensor):
                found.tensors[f"optimizer.{index}.{name}"] = value.detach()
            elif isinstance(value, Plain):
                plain[name] = value
            else:
                raise TypeError(
                    f"state `{name}` must be a tensor, number, or string, not {type(value).__name__}"
                )
    for group in state["param_groups"]:
        found.groups.append({k: v for k, v in group.items() if isinstance(v, Plain)})
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, kept: OptimizerState) -> None:
    """Restore the state of an optimizer from `optimizer_state`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Plain | Tensor]] = {
        int(index): {**values} for index, values in kept.state.items()
    }
    for name, value in kept.tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = name.split(".", 2)
        like = parameters[int(index)]
        if value.shape == like.shape and key != "step":
            # Fused optimizers read a parameter and its buffers in memory order, so their layouts
            # must match.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state[int(index)][key] = value.clone()
    groups = optimizer.state_dict()["param_groups"]
    merged = [present | kept for present, kept in zip(groups, kept.groups, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
