"""Label smoothing and noise, clipping, averaging and early stopping, each compared with its
definition.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lenet_exp.comparison.search.objective import SearchObjective
from lenet_exp.config.schema import Objective
from lenet_exp.data.label_noise import with_label_noise
from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator
from lenet_exp.training.fit import fit
from lenet_exp.training.trained.weights import weights_digest
from tests.training.small import configure, digest, start, train

SHORT = "dataset.train_size=320"


def test_label_smoothing_affects_training_but_not_validation():
    state, data = start(configure("training.label_smoothing=0.2", "num_iter_echo=1", SHORT))
    fresh, _ = start(state.config)
    order = data.train_index[
        torch.randperm(len(data.train_index), generator=generator(0, "order"))
    ][:32]
    logits = fresh.model(data.images[order]).detach()
    target = F.one_hot(data.labels[order], 10) * 0.8 + 0.02
    result = next(fit(state, data))
    assert result.step_losses[0][1] == pytest.approx(
        float(-(target * logits.log_softmax(1)).sum(1).mean()), rel=1e-5
    )
    images, labels = data.images[data.val_index], data.labels[data.val_index]
    with torch.no_grad():
        assert result.val_loss == pytest.approx(
            float(F.cross_entropy(state.model.eval()(images), labels)), rel=1e-5
        )


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
    assert torch.equal(noisy.labels, with_label_noise(data, state.config).labels)
    assert not torch.equal(
        noisy.labels, with_label_noise(data, replace(state.config, seed=4)).labels
    )

    fresh, _ = start(state.config)
    result = next(fit(state, data))
    index = data.train_index
    with torch.no_grad():
        expected = F.cross_entropy(fresh.model(data.images[index]), noisy.labels[index])
        clean = F.cross_entropy(
            state.model.eval()(data.images[data.val_index]), data.labels[data.val_index]
        )
    assert result.step_losses[0][1] == pytest.approx(float(expected), rel=1e-5)
    assert result.val_loss == pytest.approx(float(clean), rel=1e-5)


def test_label_noise_near_1_swaps_two_classes():
    _, data = start(configure(SHORT))
    two = replace(data, class_names=("a", "b"), labels=data.labels % 2)
    index = data.train_index
    noisy = with_label_noise(two, configure("training.label_noise=0.999"))
    assert int((noisy.labels[index] == 1 - two.labels[index]).sum()) == round(0.999 * 320)
    with pytest.raises(ConfigError, match="label_noise"):
        with_label_noise(data, configure("training.label_noise=0.001"))
    with pytest.raises(ConfigError, match="label_noise"):
        with_label_noise(replace(data, class_names=("a",)), configure("training.label_noise=0.5"))


def test_gradient_norm_never_exceeds_clip_norm():
    def norms(*overrides: str) -> list[float]:
        state, data = start(configure(SHORT, *overrides))
        found: list[float] = []

        def note(optimizer, *_):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
            found.append(float(torch.stack([g.norm() for g in grads]).norm()))

        state.optimizer.register_step_pre_hook(note)
        for _ in fit(state, data):
            pass
        return found

    free, clipped = norms(), norms("training.clip_norm=0.5")
    assert max(free) > 1
    assert max(clipped) <= 0.5 + 1e-5
    assert clipped[0] == pytest.approx(min(free[0], 0.5), rel=1e-4)


def test_clip_norm_above_all_norms_changes_no_bit():
    assert digest(train("training.clip_norm=1e9", SHORT)[0]) == digest(train(SHORT)[0])


def test_weight_average_is_validated_and_saved_without_changing_steps():
    state, results = train("num_epoch=2", "training.ema_decay=0.95", "activation=prelu", SHORT)
    plain, plain_results = train("num_epoch=2", "activation=prelu", SHORT)
    assert [r.train_loss for r in results] == [r.train_loss for r in plain_results]
    for name, weights in state.model.state_dict().items():
        assert torch.equal(weights, plain.model.state_dict()[name])
    assert [r.val_loss for r in results] != [r.val_loss for r in plain_results]
    assert state.average is not None
    if state.best.epoch == 2:
        for name, weights in state.average.state_dict().items():
            assert torch.equal(weights, state.best.weights[name])
    by_hand, data = start(state.config)
    steps, reference = 0, {n: p.detach().double() for n, p in by_hand.model.named_parameters()}

    def note(*_):
        nonlocal steps
        steps += 1
        decay = min(0.95, (1 + steps) / (10 + steps))
        for n, p in by_hand.model.named_parameters():
            reference[n] = decay * reference[n] + (1 - decay) * p.detach().double()

    by_hand.optimizer.register_step_post_hook(note)
    for _ in fit(by_hand, data):
        pass
    for name, p in state.average.named_parameters():
        torch.testing.assert_close(p.detach().double(), reference[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_counts_from_last_improvement(patience):
    # Without clipping, this run diverges on some CPUs.
    line = ("num_epoch=12", "optimizer.lr=0.05", "dataset.train_size=200", "training.clip_norm=1")
    accuracies = [r.val_accuracy for r in train(*line)[1]]
    best, waited = 0, 0
    for epoch, accuracy in enumerate(accuracies, 1):
        waited = 0 if accuracy > max(accuracies[:best], default=0) else waited + 1
        best = epoch if waited == 0 else best
        if waited == patience:
            break
    state, results = train(*line, f"training.patience={patience}")
    assert [r.val_accuracy for r in results] == accuracies[:epoch]
    assert state.stopped_early == (epoch < 12)


def test_last_epoch_can_be_selected():
    state, results = train("num_epoch=4", "training.select=last", SHORT)
    _, compared = train("num_epoch=4", SHORT)
    assert [r.weights_digest for r in results] == [r.weights_digest for r in compared]
    assert (state.best.epoch, state.best.val_accuracy) == (4, results[-1].val_accuracy)
    assert weights_digest(state.best.weights) == results[-1].weights_digest
    assert not any(r.improved for r in results)
    objective = SearchObjective(Objective.front)
    assert objective.values(results) == [
        results[-1].val_accuracy,
        sum(r.epoch_seconds for r in results),
    ]


def test_improvement_below_min_delta_does_not_extend_patience():
    state, results = train("num_epoch=9", "training.patience=2", "training.min_delta=0.9", SHORT)
    assert [r.epoch for r in results] == [1, 2, 3]
    assert state.best.epoch == max(results, key=lambda r: r.val_accuracy).epoch
