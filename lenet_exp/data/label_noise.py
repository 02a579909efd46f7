"""Label noise: a fraction of the training labels is replaced at random (Zhang et al. 2017, section
2.2).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lenet_exp.config.schema import Config
from lenet_exp.data.images import TrainingData
from lenet_exp.errors import ConfigError
from lenet_exp.seeds import generator


def with_label_noise(data: TrainingData, config: Config) -> TrainingData:
    """Return training data in which a fraction `training.label_noise` of the training labels is
    wrong.

    The number of wrong labels is exact, up to rounding. Which labels are replaced, and by which of
    the other classes, depends only on the run's seed. The labels of validation images do not
    change.

    Raises:
        ConfigError: the dataset has only one class, or no label would be replaced.
    """
    noise = config.training.label_noise
    wrong = round(noise * len(data.train_index))
    if noise == 0:
        return data
    if wrong == 0:
        raise ConfigError(
            f"training.label_noise={noise:g}: too small to replace one of {len(data.train_index)} labels"
        )
    rng, classes = generator(config.seed, "label_noise"), len(data.class_names)
    if classes < 2:
        raise ConfigError(f"training.label_noise={noise:g}: must be 0 for a dataset with one class")
    chosen = data.train_index.cpu()[torch.randperm(len(data.train_index), generator=rng)[:wrong]]
    labels = data.labels.clone()
    shift = torch.randint(1, classes, (wrong,), generator=rng).to(labels.device)
    chosen = chosen.to(labels.device)
    labels[chosen] = (labels[chosen] + shift) % classes
    return replace(data, labels=labels)
