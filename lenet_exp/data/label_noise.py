"""Label noise: some training labels are replaced at random (Zhang et al. 2017, section 2.2)."""

from __future__ import annotations

from dataclasses import replace

import torch

from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData
from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator


def with_label_noise(data: TrainingData, config: Config) -> TrainingData:
    """Return training data in which a fraction of the training labels is wrong.

    The fraction is `training.label_noise`.
    The number of wrong labels is exact, up to rounding. Which labels are replaced, and by which of
    the other classes, depends only on the run's seed. The labels of validation images do not
    change.

    Raises:
        ConfigError: the dataset has only one class, or no label would be replaced.
    """
    noise = config.training.label_noise
    if noise == 0:
        return data

    n = len(data.train_index)
    wrong = round(noise * n)
    if wrong == 0:
        raise ConfigError(f"training.label_noise={noise:g}: too small to replace one of {n} labels")
    classes = len(data.class_names)
    if classes < 2:
        raise ConfigError(f"training.label_noise={noise:g}: must be 0 for a dataset with one class")

    rng = generator(config.seed, "label_noise")
    positions = torch.randperm(n, generator=rng)[:wrong]
    shift = torch.randint(1, classes, (wrong,), generator=rng)  # (wrong,), to one of the others
    chosen = data.train_index.cpu()[positions]

    labels = data.labels.clone()
    chosen = chosen.to(labels.device)
    shift = shift.to(labels.device)
    labels[chosen] = (labels[chosen] + shift) % classes
    return replace(data, labels=labels)
