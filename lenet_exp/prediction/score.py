"""Evaluates a network on the test set, and returns the accuracy, the results for each class, and a confusion matrix.

No other module reads test data.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from sklearn.metrics import precision_recall_fscore_support

from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Dataset, Reader
from lenet_exp.data.images import pixels_digest
from lenet_exp.data.normalization import normalize
from lenet_exp.data.readers import read_images
from lenet_exp.errors import ConfigError
from lenet_exp.tracking.models.load import TrainedModel
from lenet_exp.training.confusion import confusion_matrix
from lenet_exp.training.evaluate import predict_classes
from lenet_exp.training.score import ClassScore, Score


def dataset_for(model: TrainedModel, dataset: Dataset) -> Dataset:
    """Return a dataset with the flags that determine how its images are read set as for a model's training images.

    Raises:
        ConfigError: the images or the classes of the dataset do not fit the model.
    """
    its, shape = model.record.config.dataset if model.record is not None else None, model.shape
    if its is not None:
        dataset = replace(dataset, class_names=dataset.class_names or its.class_names)
        if its.name == dataset.name or dataset.reader is Reader.pictures:
            dataset = replace(dataset, channels=its.channels, image_size=its.image_size)
    found = ImageShape.of(replace(dataset, exact_classes=True))
    if (found.channels, found.size) != (shape.channels, shape.size):
        trained_on = f" (dataset {its.name})" if its is not None else ""
        raise ConfigError(f"dataset={dataset.name}: has {found}, but {model.name} was trained on {shape}{trained_on}")
    if found.num_classes > shape.num_classes:
        raise ConfigError(
            f"dataset={dataset.name}: has {found.num_classes} classes, but {model.name} has {shape.num_classes} outputs"
        )
    return dataset


def score_test_set(
    model: TrainedModel, dataset: Dataset, data_root: str, batch_size: int, device: torch.device
) -> Score:
    """Evaluate a model on the full test set.

    Args:
        dataset: dataset that fits the model; see `dataset_for`.
        batch_size: number of images per step; the last step can have fewer images.

    Raises:
        DataError: the test set is not available.
    """
    raw, shape = read_images(dataset, data_root, "test"), model.shape
    images = normalize(raw.images, raw.white, shape.size, model.normalization).to(device)
    predictions = predict_classes(model.network.to(device), images, batch_size)
    precision, recall, f1, support = precision_recall_fscore_support(
        raw.labels.numpy(), predictions.numpy(), labels=list(range(shape.num_classes)), zero_division=0.0
    )
    classes = [
        ClassScore(name, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, name in enumerate(dataset.class_names or [])
    ]
    correct = int((predictions == raw.labels).sum())
    matrix = confusion_matrix(raw.labels, predictions, shape.num_classes)
    digest = pixels_digest(raw.images, raw.labels, raw.white)
    return Score(
        correct=correct,
        total=len(raw.labels),
        classes=classes,
        confusion_matrix=matrix,
        source=raw.source,
        data_digest=digest,
        files=raw.files,
    )
