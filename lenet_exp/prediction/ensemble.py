"""Ensembles: the mean of the class probabilities of models that were trained with different seeds.

Source: Lakshminarayanan, Pritzel, and Blundell 2017, section 2.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lenet_exp.prediction.score import TestOutputs


def mean_log_probabilities(logits: Iterable[Tensor]) -> Tensor:
    """Return the logarithm of the mean probabilities of models, shape (n, classes).

    Like logits, the result gives probabilities through softmax. These are the mean probabilities.

    Args:
        logits: logits of each model, shape (n, classes).
    """
    # (models, n, classes)
    log_p = torch.stack([F.log_softmax(model_logits, dim=1) for model_logits in logits])
    return torch.logsumexp(log_p, dim=0) - math.log(len(log_p))


def ensemble_outputs(members: Sequence[TestOutputs]) -> TestOutputs:
    """Return the outputs of an ensemble for a test set.

    Args:
        members: outputs of its members for the same test set.
    """
    logits = mean_log_probabilities(member.logits.double() for member in members)
    return replace(members[0], logits=logits)
