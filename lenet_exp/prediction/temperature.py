"""Temperature scaling: logits are divided by a number that is fitted on validation images (Guo et al. 2017, 4.2)."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from lenet_exp.data.images import pixels_digest
from lenet_exp.data.readers import read_images
from lenet_exp.data.split import split_indices, split_of
from lenet_exp.errors import ConfigError, DataError
from lenet_exp.prediction.score import Temperature, logits_of
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.training.evaluate import EVAL_BATCH

LARGEST = 100.0  # fitted temperatures are between 1 / LARGEST and LARGEST

log = logging.getLogger("lenet_exp")


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """Return the temperature that minimizes the negative log-likelihood, or None if there is no such temperature.

    The negative log-likelihood is convex in 1 / temperature, so it has at most one minimum. It has none if all
    predictions are correct or if scaling to equal probabilities would be better than any finite temperature.

    Args:
        logits: tensor of shape (n, classes).
        labels: true classes, tensor of shape (n,), int64.
    """
    exact, limit = logits.double(), math.log(LARGEST)
    of_truth = exact.gather(1, labels[:, None])
    if bool((of_truth >= exact).all()) or float((of_truth - exact).mean()) <= 0:
        return None
    found = minimize_scalar(
        lambda x: float(F.cross_entropy(exact / math.exp(x), labels)),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(found.x) if abs(found.x) < 0.999 * limit else None


def validation_temperature(
    model: TrainedModel, data_root: str, batch_size: int, device: torch.device
) -> Temperature | None:
    """Fit a temperature on the validation images of a model's run; None, with a warning, if no temperature fits.

    Raises:
        UserError: the model has no record, so that its validation images are unknown.
        DataError: the validation images are not available or differ from those in the record.
    """
    logits, labels = validation_logits(model, data_root, batch_size, device)
    value = fit_temperature(logits, labels)
    if value is not None:
        return Temperature(value, len(labels))
    log.warning("%s: not scaled, because no temperature fits its %d validation images", model.name, len(labels))
    return None


def validation_logits(
    model: TrainedModel, data_root: str, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return a model's logits for the validation images of its run, shape (n, classes), and their labels, shape (n,).

    Raises:
        UserError: the model has no record, so that its validation images are unknown.
        DataError: the validation images are not available or differ from those in the record.
    """
    if model.record is None:
        raise ConfigError(f"calibrate=true: {model.name} has no training record, so its validation images are unknown")
    config = model.record.config
    raw = read_images(config.dataset, data_root, "train")
    if len(raw.labels) <= config.dataset.val_size:
        raise DataError(f"dataset={config.dataset.name}: {raw.source} has only {len(raw.labels)} training images")
    _, chosen = split_indices(raw.labels, split_of(config))
    images, labels = raw.images[chosen], raw.labels[chosen]
    recorded = model.record.data_digests.get("validation")
    if recorded is not None and recorded != pixels_digest(images, labels, raw.white):
        raise DataError(f"{model.name}: the validation images in {raw.source} are not those of its run")
    return logits_of(model, images, raw.white, batch_size, device=device), labels


class ScaledNetwork(nn.Module):
    """A network that divides the logits of another network by a temperature."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return the scaled logits, shape (n, classes), for images (n, channels, size, size)."""
        return self.network(images) / self.temperature  # type: ignore[no-any-return]


def scale_network(model: TrainedModel, data_root: str) -> tuple[TrainedModel, Temperature]:
    """Return a model whose network divides its logits by the temperature fitted on the validation images.

    Raises:
        ConfigError, DataError: see `validation_temperature`.
        ConfigError: no temperature fits.
    """
    found = validation_temperature(model, data_root, EVAL_BATCH, torch.device("cpu"))
    if found is None:
        raise ConfigError(
            f"calibrate=true: no temperature can be fitted for {model.name}; export it without calibrate="
        )
    return replace(model, network=ScaledNetwork(model.network, found.value).eval()), found
