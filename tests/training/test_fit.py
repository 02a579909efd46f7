"""The training loop and divergence, compared with an explicit loop."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.evaluate import EVAL_BATCH, evaluate
from lenet_exp.training.fit import Divergence, fit
from lenet_exp.training.score import confusion_matrix
from lenet_exp.training.trained.weights import weights_digest
from tests.training.small import by_hand, configure, digest, first_divergence, start, train

NOISY = ["activation=rrelu", "regularization.dropout_rate=0.3"]
SHORT = "dataset.train_size=320"  # 10 iterations an epoch


@pytest.mark.parametrize(
    "overrides",
    [
        ["num_epoch=2", "optimizer=adam", "optimizer.lr=0.001"],
        ["num_epoch=2", "batch_size=100", *NOISY],  # the last batch is short
        ["num_epoch=2", "batch_size=5000"],
        ["dataset.train_size=1", "batch_size=1"],
    ],
)
def test_losses_and_accuracies_match_explicit_training(overrides):
    _, results = train("num_iter_echo=1", SHORT, *overrides)
    steps = list(by_hand(configure(SHORT, *overrides)))
    for result in results:
        epoch = [s for s in steps if s.epoch == result.epoch]
        losses, hits = (
            torch.cat([s.losses for s in epoch]).double(),
            torch.cat([s.hits for s in epoch]),
        )
        assert result.train_loss == pytest.approx(float(losses.mean()), rel=1e-4)
        assert result.train_accuracy == pytest.approx(float(hits.double().mean()), abs=1e-9)
        assert [i for i, _, _ in result.step_losses] == [s.iteration for s in epoch]
        by_hand_losses = [float(s.losses.mean()) for s in epoch]
        assert [loss for _, loss, _ in result.step_losses] == pytest.approx(
            by_hand_losses, rel=1e-4
        )


def test_validation_uses_network_at_end_of_epoch():
    state, (result,) = train(SHORT, *NOISY)
    _, data = start(configure())
    state.model.eval()
    images, labels = data.images[data.val_index], data.labels[data.val_index]
    with torch.no_grad():
        logits = state.model(images)
    assert result.val_loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    assert result.val_accuracy == float((logits.argmax(1) == labels).double().mean())
    assert torch.equal(state.best.predictions, logits.argmax(1))
    matrix = confusion_matrix(labels, state.best.predictions)
    assert sum(matrix[i][i] for i in range(10)) / 250 == result.val_accuracy


def test_confusion_matrix_has_true_classes_in_rows():
    matrix = confusion_matrix(torch.tensor([0, 0, 9, 3]), torch.tensor([0, 7, 9, 2]))
    expected = [[0] * 10 for _ in range(10)]
    expected[0][0] = expected[0][7] = expected[9][9] = expected[3][2] = 1
    assert matrix == expected


def sums_of(*overrides: str) -> torch.Tensor:
    """Return sums of the training images in the order of training, with shape (epochs, images)."""
    state, data = start(configure(SHORT, *overrides))
    seen = []
    state.model.register_forward_pre_hook(
        lambda model, inputs: seen.append(inputs[0]) if model.training else None
    )
    for _ in fit(state, data):
        pass
    sums = torch.cat(seen).sum((1, 2, 3)).reshape(-1, 320)
    expected = data.images[data.train_index].sum((1, 2, 3)).sort().values
    torch.testing.assert_close(sums.sort().values, expected.expand_as(sums))
    return sums


def test_each_image_trains_once_per_epoch_in_order_given_by_seed():
    plain = sums_of("num_epoch=3")
    assert not torch.equal(plain[0], plain[1])
    assert not torch.equal(plain[1], plain[2])
    for overrides in ([*NOISY, "optimizer=adam"], ["batch_size=7"]):
        assert torch.equal(sums_of(*overrides)[0], plain[0])
    assert not torch.equal(sums_of("seed=1")[0], plain[0])


@pytest.mark.parametrize("overrides", [NOISY, ["optimizer=rmsprop", "optimizer.lr=0.001"]])
def test_training_is_repeatable_after_other_trainings(overrides):
    """Training neither uses nor changes the random state of the process."""

    def random_state():
        numpy_state = np.random.get_state()
        return (
            torch.random.get_rng_state().tolist(),
            str(numpy_state),
            numpy_state[1].tolist(),
            random.getstate(),
        )

    before = random_state()
    first, results = train("num_epoch=2", SHORT, *overrides)
    # this check runs the activation
    start(configure("activation=rrelu", "activation.monotone=true"))
    assert random_state() == before
    # an unrelated training in between
    train("seed=5", SHORT, "activation=tanh", "regularization.dropout_rate=0.2")
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    # one epoch more, and losses more often
    again, same = train("num_epoch=3", "num_iter_echo=1", SHORT, *overrides)
    assert [(r.val_loss, r.train_loss, r.weights_digest) for r in results] == [
        (r.val_loss, r.train_loss, r.weights_digest) for r in same[:2]
    ]
    assert len({r.weights_digest for r in same}) == 3
    for state, found in ((first, results), (again, same)):
        assert found[state.best.epoch - 1].weights_digest == digest(state)


def test_settings_in_fingerprint_change_weights():
    others = ["seed=0", "seed=1", "split_seed=1", "batch_size=31", "regularization=none"]
    assert len({digest(train(SHORT, other)[0]) for other in others}) == 5


def test_losses_are_stored_and_echoed_every_num_iter_echo_iterations():
    state, data = start(configure(SHORT, "num_iter_echo=7", "num_epoch=2"))
    echoed = []
    results = list(fit(state, data, lambda iteration, loss: echoed.append((iteration, loss))))
    assert [[i for i, _, _ in r.step_losses] for r in results] == [[7], [14]]
    assert [(i, loss) for r in results for i, loss, _ in r.step_losses] == echoed


def test_epoch_results_have_times_and_lr_and_earliest_best_is_kept():
    state, results = train("num_epoch=8", "optimizer.lr=0.02", "num_iter_echo=3", SHORT)
    assert [(r.epoch, r.lr) for r in results] == [(epoch, 0.02) for epoch in range(1, 9)]
    stamps = [t for r in results for t in [*(t for _, _, t in r.step_losses), r.time_ms]]
    assert stamps == sorted(stamps)
    assert all(r.epoch_seconds > 0 for r in results)
    # excludes the time of validation
    assert all(r.images_per_second * r.epoch_seconds >= 320 for r in results)
    accuracies = [r.val_accuracy for r in results]
    assert state.best.val_accuracy == max(accuracies)
    assert state.best.epoch == accuracies.index(max(accuracies)) + 1
    assert [r.improved for r in results] == [
        a > max([-1, *accuracies[:i]]) for i, a in enumerate(accuracies)
    ]


def test_first_of_equally_good_epochs_is_kept():
    # changes bits, but no prediction
    state, results = train("num_epoch=3", "optimizer.lr=1e-7", SHORT)
    assert len({r.val_accuracy for r in results}) == 1
    assert [r.improved for r in results] == [True, False, False]
    assert state.best.epoch == 1
    assert digest(state) == results[0].weights_digest != weights_digest(state.model.state_dict())


@pytest.mark.parametrize("n", [1, EVAL_BATCH, EVAL_BATCH + 1, 2 * EVAL_BATCH + 7])
def test_evaluation_in_batches_matches_evaluation_at_once(n):
    state, data = start(configure())
    index = torch.arange(n) % len(data.images)
    evaluation = evaluate(state.model, data.images, data.labels, index)
    with torch.no_grad():
        logits = state.model(data.images[index])
    assert evaluation.loss == pytest.approx(
        float(F.cross_entropy(logits, data.labels[index])), rel=1e-5
    )
    assert torch.equal(evaluation.predictions, logits.argmax(1))


FAST = ["optimizer.lr=1e6"]  # diverges in the first epoch
LATE = [
    "activation=relu",
    "optimizer.maximize=true",
    "optimizer.lr=0.006",
    "num_epoch=4",
]  # gradient ascent


@pytest.mark.parametrize(
    ("every", "overrides"),
    [(1, FAST), (3, FAST), (1000, FAST), (20, ["optimizer.lr=20", "activation=relu"])],
)
def test_divergence_is_detected_at_first_nonfinite_loss(every, overrides):
    state, data = start(configure(*overrides, f"num_iter_echo={every}"))
    echoed = []
    (end,) = fit(state, data, lambda iteration, loss: echoed.append((iteration, loss)))
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == first_divergence(configure(*overrides))
    assert not math.isfinite(end.loss)
    assert all(math.isfinite(loss) for _, loss in echoed)
    if every == 1:
        assert [(i, loss) for i, loss, _ in end.step_losses] == echoed
        assert [i for i, _ in echoed] == list(range(1, end.step))


def test_divergence_keeps_earlier_epochs_and_counts_all_iterations():
    state, results = train(*LATE)
    *before, end = results
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == first_divergence(configure(*LATE))
    assert end.epoch > 1
    assert end.step > 40 * (end.epoch - 1)
    assert [r.epoch for r in before if isinstance(r, EpochResult)] == list(range(1, end.epoch))
    assert state.best.val_accuracy == max(r.val_accuracy for r in before)


def test_divergence_in_last_step_is_detected_in_validation():
    state, ((end),) = train("optimizer.lr=1e30", "dataset.train_size=32")
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == (1, 1)
    assert not math.isfinite(end.loss)
    assert state.best is None
