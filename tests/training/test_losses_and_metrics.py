"""Losses and metrics, compared with their definitions and with scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.nn import functional as F

from lenet_exp.training.evaluate import Evaluation
from lenet_exp.training.fit import fit
from lenet_exp.training.losses import CrossEntropy, Focal
from lenet_exp.training.metrics import balanced_accuracy, macro_f1, measure
from tests.training.small import configure, start, train

RANDOM = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(200, 10, generator=RANDOM)
# some classes are rare, others do not occur
LABELS = torch.randint(7, (200,), generator=RANDOM) ** 2 % 7
SHORT = ("dataset.train_size=320", "num_epoch=3")


def test_class_weights_scale_the_loss_of_each_image():
    plain = F.cross_entropy(LOGITS, LABELS, reduction="none")
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0, 1.0, 1.0]
    torch.testing.assert_close(
        CrossEntropy(weights)(LOGITS, LABELS), plain * torch.tensor(weights)[LABELS]
    )
    counts = LABELS.bincount(minlength=10)
    balanced = CrossEntropy("balanced", class_counts=counts)
    shares = torch.stack(
        [balanced.weights[LABELS][label == LABELS].sum() for label in LABELS.unique()]
    )
    torch.testing.assert_close(shares, torch.full_like(shares, len(LABELS) / len(shares)))


def test_focal_loss_is_cross_entropy_for_gamma_0_and_ignores_easy_images():
    plain = F.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(Focal(0.0)(LOGITS, LABELS), plain)
    p = LOGITS.softmax(1)[torch.arange(200), LABELS]
    torch.testing.assert_close(Focal(2.0)(LOGITS, LABELS), (1 - p) ** 2 * plain)
    sure = (40 * F.one_hot(LABELS, 10).float()).requires_grad_()
    Focal(0.5)(sure, LABELS).sum().backward()
    assert sure.grad.isfinite().all()


def test_metrics_equal_those_of_scikit_learn():
    predictions = LOGITS.argmax(1)
    assert balanced_accuracy(LABELS, LOGITS) == pytest.approx(
        balanced_accuracy_score(LABELS, predictions)
    )
    assert macro_f1(LABELS, LOGITS) == pytest.approx(f1_score(LABELS, predictions, average="macro"))


def test_validation_loss_is_the_runs_own_loss():
    state, data = start(configure("loss=focal", *SHORT))
    *_, last = fit(state, data)
    with torch.no_grad():
        logits = state.model.eval()(data.images[data.val_index])
    assert last.val_loss == pytest.approx(
        float(Focal()(logits, data.labels[data.val_index]).mean()), rel=1e-5
    )


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize(
    ("metric", "sign"), [("loss", -1), ("balanced_accuracy", 1), ("macro_f1", 1)]
)
def test_metric_chooses_the_epoch_and_weights_stay_the_same(engine, metric, sign):
    flags = (*SHORT, f"engine={engine}", "optimizer.lr=0.05", "num_epoch=6")
    state, epochs = train(*flags, f"metric={metric}")
    by_accuracy, plain = train(*flags)
    assert [e.weights_digest for e in epochs] == [e.weights_digest for e in plain]
    assert state.best.epoch == max(epochs, key=lambda e: (sign * e.val_metric, -e.epoch)).epoch
    assert state.best.val_accuracy == plain[state.best.epoch - 1].val_accuracy
    assert (by_accuracy.best.val_metric, {e.val_metric for e in plain}) == (None, {None})
    if metric == "loss":
        assert [e.val_metric for e in epochs] == [e.val_loss for e in plain]


def test_patience_waits_for_the_metric():
    flags = (*SHORT, "num_epoch=12", "optimizer.lr=0.08", "training.patience=2")
    state, epochs = train(*flags, "metric=loss")
    assert state.stopped_early
    assert len(epochs) == state.best.epoch + 2 == 2 + min(epochs, key=lambda e: e.val_loss).epoch


def test_metric_that_is_not_finite_fails_the_run():
    evaluation = Evaluation(float("inf"), LOGITS.argmax(1), LOGITS)
    with pytest.raises(ValueError, match="loss: returned inf"):
        measure(configure("metric=loss").metric, LABELS, evaluation)
