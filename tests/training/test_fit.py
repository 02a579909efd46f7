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
        of_epoch = [step for step in steps if step.epoch == result.epoch]
        losses = torch.cat([step.losses for step in of_epoch]).double()
        hits = torch.cat([step.hits for step in of_epoch]).double()
        assert result.train_loss == pytest.approx(float(losses.mean()), rel=1e-4)
        assert result.train_accuracy == pytest.approx(float(hits.mean()), abs=1e-9)

        assert iterations(result) == [step.iteration for step in of_epoch]
        step_losses = [loss for _, loss, _ in result.step_losses]
        expected = [float(step.losses.mean()) for step in of_epoch]
        assert step_losses == pytest.approx(expected, rel=1e-4)


def iterations(result: EpochResult | Divergence) -> list[int]:
    return [iteration for iteration, _, _ in result.step_losses]


def losses_of(result: EpochResult | Divergence) -> list[tuple[int, float]]:
    """Return the stored losses of iterations, without their times."""
    return [(iteration, loss) for iteration, loss, _ in result.step_losses]


def test_validation_uses_network_at_end_of_epoch():
    state, (result,) = train(SHORT, *NOISY)
    _, data = start(configure())
    images = data.images[data.val_index]
    labels = data.labels[data.val_index]

    state.model.eval()
    with torch.no_grad():
        logits = state.model(images)

    assert result.val_loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    assert result.val_accuracy == float((logits.argmax(1) == labels).double().mean())
    assert torch.equal(state.best.predictions, logits.argmax(1))
    matrix = confusion_matrix(labels, state.best.predictions)
    assert sum(matrix[i][i] for i in range(10)) / 250 == result.val_accuracy


def test_confusion_matrix_has_true_classes_in_rows():
    matrix = confusion_matrix(torch.tensor([0, 0, 9, 3]), torch.tensor([0, 7, 9, 2]))
    expected = torch.zeros(10, 10, dtype=torch.int64)
    for true_class, predicted in ((0, 0), (0, 7), (9, 9), (3, 2)):
        expected[true_class, predicted] = 1
    assert matrix == expected.tolist()


def sums_of(*overrides: str) -> torch.Tensor:
    """Return sums of the training images in the order of training, with shape (epochs, images)."""
    state, data = start(configure(SHORT, *overrides))
    batches = []

    def store_batch(model, inputs):
        if model.training:
            batches.append(inputs[0])

    state.model.register_forward_pre_hook(store_batch)
    for _ in fit(state, data):
        pass

    sums = torch.cat(batches).sum((1, 2, 3)).reshape(-1, 320)
    expected = data.images[data.train_index].sum((1, 2, 3)).sort().values
    torch.testing.assert_close(sums.sort().values, expected.expand_as(sums))
    return sums


def test_each_image_trains_once_per_epoch_in_order_given_by_seed():
    plain = sums_of("num_epoch=3")
    assert not torch.equal(plain[0], plain[1])
    assert not torch.equal(plain[1], plain[2])
    assert torch.equal(sums_of(*NOISY, "optimizer=adam")[0], plain[0])
    assert torch.equal(sums_of("batch_size=7")[0], plain[0])
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

    state_before = random_state()
    first, first_results = train("num_epoch=2", SHORT, *overrides)
    # this check runs the activation
    start(configure("activation=rrelu", "activation.monotone=true"))
    assert random_state() == state_before

    # an unrelated training in between
    train("seed=5", SHORT, "activation=tanh", "regularization.dropout_rate=0.2")
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    # one epoch more, and losses more often
    second, second_results = train("num_epoch=3", "num_iter_echo=1", SHORT, *overrides)

    for one, other in zip(first_results, second_results[:2], strict=True):
        assert one.val_loss == other.val_loss
        assert one.train_loss == other.train_loss
        assert one.weights_digest == other.weights_digest
    assert len({result.weights_digest for result in second_results}) == 3
    assert first_results[first.best.epoch - 1].weights_digest == digest(first)
    assert second_results[second.best.epoch - 1].weights_digest == digest(second)


def test_settings_in_fingerprint_change_weights():
    digests = set()
    for override in ("seed=0", "seed=1", "split_seed=1", "batch_size=31", "regularization=none"):
        state, _ = train(SHORT, override)
        digests.add(digest(state))
    assert len(digests) == 5


def test_losses_are_stored_and_echoed_every_num_iter_echo_iterations():
    state, data = start(configure(SHORT, "num_iter_echo=7", "num_epoch=2"))
    echoed = []
    first, second = fit(state, data, lambda iteration, loss: echoed.append((iteration, loss)))
    assert iterations(first) == [7]
    assert iterations(second) == [14]
    assert losses_of(first) + losses_of(second) == echoed


def test_epoch_results_have_times_and_lr_and_earliest_best_is_kept():
    state, results = train("num_epoch=8", "optimizer.lr=0.02", "num_iter_echo=3", SHORT)

    times = []
    for epoch, result in enumerate(results, 1):
        assert result.epoch == epoch
        assert result.lr == 0.02
        assert result.epoch_seconds > 0
        # excludes the time of validation
        assert result.images_per_second * result.epoch_seconds >= 320
        times += [time_ms for _, _, time_ms in result.step_losses]
        times.append(result.time_ms)
    assert len(results) == 8
    assert times == sorted(times)

    accuracies = [result.val_accuracy for result in results]
    assert state.best.val_accuracy == max(accuracies)
    assert state.best.epoch == accuracies.index(max(accuracies)) + 1
    highest = -1.0
    for result in results:
        assert result.improved == (result.val_accuracy > highest)
        highest = max(highest, result.val_accuracy)


def test_first_of_equally_good_epochs_is_kept():
    # changes bits, but no prediction
    state, results = train("num_epoch=3", "optimizer.lr=1e-7", SHORT)
    assert len({result.val_accuracy for result in results}) == 1
    assert [result.improved for result in results] == [True, False, False]
    assert state.best.epoch == 1
    assert digest(state) == results[0].weights_digest
    assert digest(state) != weights_digest(state.model.state_dict())


@pytest.mark.parametrize("n", [1, EVAL_BATCH, EVAL_BATCH + 1, 2 * EVAL_BATCH + 7])
def test_evaluation_in_batches_matches_evaluation_at_once(n):
    state, data = start(configure())
    index = torch.arange(n) % len(data.images)

    evaluation = evaluate(state.model, data.images, data.labels, index)

    with torch.no_grad():
        logits = state.model(data.images[index])
    expected_loss = float(F.cross_entropy(logits, data.labels[index]))
    assert evaluation.loss == pytest.approx(expected_loss, rel=1e-5)
    assert torch.equal(evaluation.predictions, logits.argmax(1))


FAST = ["optimizer.lr=1e6"]  # diverges in the first epoch
# gradient ascent
LATE = ["activation=relu", "optimizer.maximize=true", "optimizer.lr=0.006", "num_epoch=4"]


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
        assert losses_of(end) == echoed
        assert iterations(end) == list(range(1, end.step))


def test_divergence_keeps_earlier_epochs_and_counts_all_iterations():
    state, (*earlier, end) = train(*LATE)
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == first_divergence(configure(*LATE))
    assert end.epoch > 1
    assert end.step > 40 * (end.epoch - 1)
    epochs = [result.epoch for result in earlier if isinstance(result, EpochResult)]
    assert epochs == list(range(1, end.epoch))
    assert state.best.val_accuracy == max(result.val_accuracy for result in earlier)


def test_divergence_in_last_step_is_detected_in_validation():
    state, (end,) = train("optimizer.lr=1e30", "dataset.train_size=32")
    assert isinstance(end, Divergence)
    assert (end.epoch, end.step) == (1, 1)
    assert not math.isfinite(end.loss)
    assert state.best is None
