"""Label smoothing and noise, clipping, averaging and early stopping, each compared with its
definition.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.schema import Config, Objective
from lenet_exp.data.images import TrainingData
from lenet_exp.data.label_noise import with_label_noise
from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator
from lenet_exp.training.fit import fit
from lenet_exp.training.state import TrainingState
from lenet_exp.training.trained.weights import weights_digest
from tests.training.small import configure, digest, start, train

SHORT = "dataset.train_size=320"


def test_label_smoothing_affects_training_but_not_validation():
    state, data = start(configure("training.label_smoothing=0.2", "num_iter_echo=1", SHORT))
    untrained, _ = start(state.config)
    order = torch.randperm(len(data.train_index), generator=generator(0, "order"))
    first_batch = data.train_index[order][:32]
    logits = untrained.model(data.images[first_batch]).detach()
    target = F.one_hot(data.labels[first_batch], 10) * 0.8 + 0.02
    first_loss = float(-(target * logits.log_softmax(1)).sum(1).mean())

    result = next(fit(state, data))

    assert result.step_losses[0][1] == pytest.approx(first_loss, rel=1e-5)
    assert result.val_loss == pytest.approx(validation_loss(state, data), rel=1e-5)


def validation_loss(state: TrainingState, data: TrainingData) -> float:
    """Return the cross entropy of the validation images with their own labels."""
    with torch.no_grad():
        logits = state.model.eval()(data.images[data.val_index])
        return float(F.cross_entropy(logits, data.labels[data.val_index]))


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_label_noise_affects_training_but_not_validation(engine):
    flags = [
        "training.label_noise=0.25",
        "seed=3",
        SHORT,
        f"engine={engine}",
        "num_iter_echo=1",
        "batch_size=320",
    ]
    state, data = start(configure(*flags))

    noisy = with_label_noise(data, state.config)

    changed = (noisy.labels != data.labels).nonzero().flatten()
    assert len(changed) == 80
    assert set(changed.tolist()) <= set(data.train_index.tolist())
    assert set(noisy.labels[changed].tolist()) == set(range(10))
    same_seed = with_label_noise(data, state.config)
    other_seed = with_label_noise(data, replace(state.config, seed=4))
    assert torch.equal(noisy.labels, same_seed.labels)
    assert not torch.equal(noisy.labels, other_seed.labels)

    untrained, _ = start(state.config)
    index = data.train_index
    with torch.no_grad():
        logits = untrained.model(data.images[index])
        loss_with_noise = float(F.cross_entropy(logits, noisy.labels[index]))

    result = next(fit(state, data))

    assert result.step_losses[0][1] == pytest.approx(loss_with_noise, rel=1e-5)
    assert result.val_loss == pytest.approx(validation_loss(state, data), rel=1e-5)


def test_label_noise_near_1_swaps_two_classes():
    _, data = start(configure(SHORT))
    two = replace(data, class_names=("a", "b"), labels=data.labels % 2)

    noisy = with_label_noise(two, configure("training.label_noise=0.999"))

    index = data.train_index
    swapped = noisy.labels[index] == 1 - two.labels[index]
    assert int(swapped.sum()) == round(0.999 * 320)
    with pytest.raises(ConfigError, match="label_noise"):
        with_label_noise(data, configure("training.label_noise=0.001"))
    one = replace(data, class_names=("a",))
    with pytest.raises(ConfigError, match="label_noise"):
        with_label_noise(one, configure("training.label_noise=0.5"))


def test_gradient_norm_never_exceeds_clip_norm():
    without_limit = gradient_norms()
    clipped = gradient_norms("training.clip_norm=0.5")

    assert max(without_limit) > 1
    assert max(clipped) <= 0.5 + 1e-5
    assert clipped[0] == pytest.approx(min(without_limit[0], 0.5), rel=1e-4)


def gradient_norms(*overrides: str) -> list[float]:
    """Return the norm of the gradient at each step of a training."""
    state, data = start(configure(SHORT, *overrides))
    norms: list[float] = []

    def store_norm(optimizer, *_):
        gradients = [
            parameter.grad for group in optimizer.param_groups for parameter in group["params"]
        ]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))

    state.optimizer.register_step_pre_hook(store_norm)
    for _ in fit(state, data):
        pass
    return norms


def test_clip_norm_above_all_norms_changes_no_bit():
    clipped, _ = train("training.clip_norm=1e9", SHORT)
    plain, _ = train(SHORT)
    assert digest(clipped) == digest(plain)


def test_weight_average_is_validated_and_saved_without_changing_steps():
    line = ("num_epoch=2", "activation=prelu", SHORT)
    state, results = train(*line, "training.ema_decay=0.95")
    plain, plain_results = train(*line)

    assert [result.train_loss for result in results] == [
        result.train_loss for result in plain_results
    ]
    for name, weights in state.model.state_dict().items():
        assert torch.equal(weights, plain.model.state_dict()[name])
    assert [result.val_loss for result in results] != [result.val_loss for result in plain_results]
    assert state.average is not None
    if state.best.epoch == 2:
        for name, weights in state.average.state_dict().items():
            assert torch.equal(weights, state.best.weights[name])

    expected = weight_average(state.config, 0.95)
    for name, weights in state.average.named_parameters():
        averaged = weights.detach().double()
        torch.testing.assert_close(averaged, expected[name], atol=1e-5, rtol=1e-4)


def weight_average(config: Config, ema_decay: float) -> dict[str, Tensor]:
    """Train, and return the average of the weights according to its definition."""
    state, data = start(config)
    parameters = dict(state.model.named_parameters())
    average = {name: weights.detach().double() for name, weights in parameters.items()}
    steps = 0

    def update(*_):
        nonlocal steps
        steps += 1
        decay = min(ema_decay, (1 + steps) / (10 + steps))
        for name, weights in parameters.items():
            average[name] = decay * average[name] + (1 - decay) * weights.detach().double()

    state.optimizer.register_step_post_hook(update)
    for _ in fit(state, data):
        pass
    return average


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_counts_from_last_improvement(patience):
    # Without clipping, this run diverges on some CPUs.
    line = ("num_epoch=12", "optimizer.lr=0.05", "dataset.train_size=200", "training.clip_norm=1")
    _, all_results = train(*line)
    accuracies = [result.val_accuracy for result in all_results]
    last_epoch = epoch_of_stop(accuracies, patience)

    state, results = train(*line, f"training.patience={patience}")

    assert [result.val_accuracy for result in results] == accuracies[:last_epoch]
    assert state.stopped_early == (last_epoch < 12)


def epoch_of_stop(accuracies: list[float], patience: int) -> int:
    """Return the first epoch that is `patience` epochs after the best one, or the last epoch."""
    highest = 0.0
    best_epoch = 0
    for epoch, accuracy in enumerate(accuracies, 1):
        if accuracy > highest:
            highest = accuracy
            best_epoch = epoch
        if epoch - best_epoch == patience:
            return epoch
    return len(accuracies)


def test_last_epoch_can_be_selected():
    state, results = train("num_epoch=4", "training.select=last", SHORT)
    _, results_of_best = train("num_epoch=4", SHORT)

    assert [result.weights_digest for result in results] == [
        result.weights_digest for result in results_of_best
    ]
    last = results[-1]
    assert state.best.epoch == 4
    assert state.best.val_accuracy == last.val_accuracy
    assert weights_digest(state.best.weights) == last.weights_digest
    assert not any(result.improved for result in results)
    seconds = sum(result.epoch_seconds for result in results)
    assert SearchObjective(Objective.front).values(results) == [last.val_accuracy, seconds]


def test_improvement_below_min_delta_does_not_extend_patience():
    state, results = train("num_epoch=9", "training.patience=2", "training.min_delta=0.9", SHORT)
    assert [result.epoch for result in results] == [1, 2, 3]
    assert state.best.epoch == max(results, key=lambda result: result.val_accuracy).epoch
