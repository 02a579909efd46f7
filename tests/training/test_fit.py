"""The training loop against a training done by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lenet_exp.training.confusion import confusion_matrix
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.evaluate import EVAL_BATCH, evaluate
from lenet_exp.training.fit import fit
from lenet_exp.training.weights import weights_digest
from tests.training.small import ACTIVATIONS, N_TRAIN, OPTIMIZERS, by_hand, configure, digest, start, train

NOISY = ["activation=rrelu", "regularization.dropout_rate=0.3"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["num_epoch=2"],
        ["num_epoch=2", "optimizer=adam", "optimizer.lr=0.001"],
        ["num_epoch=2", "activation=tanh", "batch_size=100"],
        ["num_epoch=2", *NOISY],
        ["num_epoch=3", "batch_size=5000"],
        ["dataset.train_size=1", "batch_size=1"],
        ["dataset.train_size=64"],
    ],
)
def test_losses_and_accuracies_are_those_of_a_training_by_hand(overrides):
    _, results = train("num_iter_echo=1", *overrides)
    steps = list(by_hand(configure(*overrides)))
    for result in results:
        epoch = [s for s in steps if s.epoch == result.epoch]
        losses, hits = torch.cat([s.losses for s in epoch]).double(), torch.cat([s.hits for s in epoch])
        assert result.train_loss == pytest.approx(float(losses.mean()), rel=1e-4)
        assert result.train_accuracy == pytest.approx(float(hits.double().mean()), abs=1e-9)
        assert [i for i, _, _ in result.step_losses] == [s.iteration for s in epoch]
        by_hand_losses = [float(s.losses.mean()) for s in epoch]
        assert [loss for _, loss, _ in result.step_losses] == pytest.approx(by_hand_losses, rel=1e-4)


def test_the_last_short_batch_counts_by_its_size():
    _, (result,) = train("num_iter_echo=1", "batch_size=400")
    losses = [loss for _, loss, _ in result.step_losses]
    assert len(losses) == 4
    assert result.train_loss == pytest.approx(sum(losses[:3]) * 400 / 1250 + losses[3] * 50 / 1250, rel=1e-6)


def test_validation_is_that_of_the_network_at_the_end_of_the_epoch():
    lane, (result,) = train(*NOISY)
    _, data = start(configure())
    lane.model.eval()
    images, labels = data.images[data.val_index], data.labels[data.val_index]
    with torch.no_grad():
        logits = lane.model(images)
    assert result.val_loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
    assert result.val_accuracy == float((logits.argmax(1) == labels).double().mean())
    assert torch.equal(lane.best.predictions, logits.argmax(1))


def test_every_image_trains_once_an_epoch_in_another_order_each_time():
    lane, data = start(configure("num_epoch=3"))
    seen = []
    lane.model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs[0]) if model.training else None)
    for _ in fit([lane], data):
        pass
    sums = torch.cat(seen).sum((1, 2, 3)).reshape(3, N_TRAIN)
    expected = data.images[data.train_index].sum((1, 2, 3)).sort().values
    for epoch in sums:
        torch.testing.assert_close(epoch.sort().values, expected)
    assert not torch.equal(sums[0], sums[1])
    assert not torch.equal(sums[1], sums[2])


def batches_of(*overrides: str) -> torch.Tensor:
    lane, data = start(configure(*overrides))
    seen = []
    lane.model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs[0]) if model.training else None)
    for _ in fit([lane], data):
        pass
    return torch.cat(seen)


def test_dropout_activation_and_optimizer_leave_the_order_of_images_as_it_is():
    plain = batches_of()
    for overrides in (["regularization.dropout_rate=0.5"], ["activation=rrelu"], ["optimizer=adam"], ["batch_size=7"]):
        assert torch.equal(batches_of(*overrides), plain)
    assert not torch.equal(batches_of("seed=1"), plain)


@pytest.mark.parametrize("overrides", [[], NOISY, ["optimizer=rmsprop", "optimizer.lr=0.001"]])
def test_the_same_configuration_gives_the_same_bits_again(overrides):
    first, results = train("num_epoch=2", *overrides)
    train("seed=5", "activation=tanh", "regularization.dropout_rate=0.2")  # something else in between
    again, same_results = train("num_epoch=2", *overrides)
    assert digest(first) == digest(again)
    assert [r.val_loss for r in results] == [r.val_loss for r in same_results]
    assert [r.weights_digest for r in results] == [r.weights_digest for r in same_results]
    assert len({r.weights_digest for r in results}) == 2
    assert results[first.best.epoch - 1].weights_digest == weights_digest(first.best.weights)
    assert [[loss for _, loss, _ in r.step_losses] for r in results] == [
        [loss for _, loss, _ in r.step_losses] for r in same_results
    ]


@pytest.mark.parametrize("overrides", [["seed=1"], ["split_seed=1"], ["batch_size=31"], ["regularization=none"]])
def test_what_counts_in_the_fingerprint_changes_the_bits(overrides):
    assert digest(train(*overrides)[0]) != digest(train()[0])


@pytest.mark.parametrize("every", [1, 7, 10_000])
def test_how_often_losses_are_echoed_does_not_change_the_bits(every):
    assert digest(train(f"num_iter_echo={every}")[0]) == digest(train("num_iter_echo=20")[0])


def test_global_random_state_is_neither_used_nor_touched():
    def snapshot():
        numpy_state = np.random.get_state()
        return torch.random.get_rng_state().tolist(), str(numpy_state), numpy_state[1].tolist(), random.getstate()

    torch.manual_seed(1)
    before = snapshot()
    first, _ = train(*NOISY)
    assert snapshot() == before
    torch.manual_seed(2)
    np.random.seed(2)
    random.seed(2)
    second, _ = train(*NOISY)
    assert digest(first) == digest(second)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_touches_global_random_state_even_where_monotone_is_claimed(activation):
    before = torch.random.get_rng_state()
    start(configure(f"activation={activation}", "activation.monotone=true"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_losses_are_kept_and_echoed_every_num_iter_echo_iterations():
    lane, data = start(configure("num_iter_echo=7", "num_epoch=2"))  # 40 iterations an epoch
    echoed = []
    results = [r for (r,) in fit([lane], data, lambda iteration, loss: echoed.append((iteration, loss)))]
    assert [[i for i, _, _ in r.step_losses] for r in results] == [[7, 14, 21, 28, 35], [42, 49, 56, 63, 70, 77]]
    assert [(i, loss) for r in results for i, loss, _ in r.step_losses] == echoed


def test_times_are_those_of_the_clock_and_never_go_back():
    _, results = train("num_iter_echo=3", "num_epoch=3")
    stamps = [t for r in results for t in [*(t for _, _, t in r.step_losses), r.time_ms]]
    assert stamps == sorted(stamps)
    assert all(r.epoch_seconds > 0 for r in results)
    assert all(r.images_per_second * r.epoch_seconds >= N_TRAIN for r in results)  # without validation's time


def test_epochs_count_from_one_and_results_carry_the_learning_rate():
    _, results = train("num_epoch=3", "optimizer.lr=0.02", "dataset.train_size=64")
    assert [(r.epoch, r.lr) for r in results] == [(1, 0.02), (2, 0.02), (3, 0.02)]


def test_the_best_epoch_is_the_earliest_with_the_best_validation_accuracy():
    lane, results = train("num_epoch=8", "optimizer.lr=0.02")
    accuracies = [r.val_accuracy for r in results]
    assert lane.best.val_accuracy == max(accuracies)
    assert lane.best.epoch == accuracies.index(max(accuracies)) + 1
    assert [r.improved for r in results] == [a > max([-1, *accuracies[:i]]) for i, a in enumerate(accuracies)]


def test_of_equal_epochs_the_first_is_kept_with_its_weights():
    slow = "optimizer.lr=1e-7"  # changes bits, but no prediction
    lane, results = train("num_epoch=4", slow)
    assert len({r.val_accuracy for r in results}) == 1
    assert [r.improved for r in results] == [True, False, False, False]
    assert lane.best.epoch == 1
    assert digest(lane) == digest(train(slow)[0])
    assert digest(lane) != weights_digest(lane.model.state_dict())


def test_an_epoch_more_changes_nothing_in_those_before():
    _, two = train("num_epoch=2", *NOISY)
    _, three = train("num_epoch=3", *NOISY)
    assert [r.train_loss for r in two] == [r.train_loss for r in three[:2]]


def test_a_batch_larger_than_the_training_set_is_the_whole_set():
    _, results = train("batch_size=100000", "num_epoch=2", "num_iter_echo=1")
    assert [[i for i, _, _ in r.step_losses] for r in results] == [[1], [2]]
    for result in results:
        assert result.train_loss == pytest.approx(result.step_losses[0][1])


def test_digits_are_learnt():
    _, results = train("num_epoch=10")
    assert max(r.val_accuracy for r in results) > 0.94


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_and_is_the_one_asked_for(optimizer):
    lane, results = train(f"optimizer={optimizer}", f"optimizer.lr={0.01 if optimizer == 'sgd' else 0.001}")
    assert type(lane.optimizer).__name__.lower() == optimizer
    assert all(isinstance(r, EpochResult) for r in results)
    assert results[-1].val_accuracy > 0.5
    assert lane.optimizer.param_groups[0]["weight_decay"] == 5e-4


@pytest.mark.parametrize("n", [1, EVAL_BATCH - 1, EVAL_BATCH, EVAL_BATCH + 1, 2 * EVAL_BATCH + 7])
def test_evaluation_in_parts_is_evaluation_of_the_whole(n):
    lane, data = start(configure())
    index = torch.arange(n) % len(data.images)
    loss, predictions = evaluate(lane.model, data.images, data.labels, index)
    with torch.no_grad():
        logits = lane.model(data.images[index])
    assert loss == pytest.approx(float(F.cross_entropy(logits, data.labels[index])), rel=1e-5)
    assert torch.equal(predictions, logits.argmax(1))


def test_a_confusion_matrix_counts_true_classes_in_rows():
    matrix = confusion_matrix(torch.tensor([0, 0, 9, 3]), torch.tensor([0, 7, 9, 2]))
    expected = [[0] * 10 for _ in range(10)]
    expected[0][0] = expected[0][7] = expected[9][9] = expected[3][2] = 1
    assert matrix == expected


def test_accuracy_is_the_diagonal_of_the_confusion_matrix():
    lane, (result,) = train()
    _, data = start(configure())
    matrix = confusion_matrix(data.labels[data.val_index], lane.best.predictions)
    assert sum(matrix[i][i] for i in range(10)) / 250 == result.val_accuracy
    assert math.fsum(map(sum, matrix)) == 250
