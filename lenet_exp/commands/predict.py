"""lenet-predict: load a trained model, and evaluate it on the test set or use it to classify
pictures.
"""

from __future__ import annotations

import math
import sys
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lenet_exp.commands.app import run_app
from lenet_exp.config.check import check_ranges
from lenet_exp.config.compose import typed_as
from lenet_exp.config.schema import PredictConfig
from lenet_exp.waiting import print_waiting


def predict(cfg: DictConfig) -> float:
    """Evaluate a model on the test set or classify pictures, as specified by a configuration from
    Hydra.

    Return the test accuracy as a fraction, or NaN for pictures.
    """
    config = typed_as(PredictConfig, cfg)
    check_ranges(config)  # invalid values are reported before torch is loaded
    print_waiting("loading PyTorch")
    from lenet_exp.prediction import leader
    from lenet_exp.reports.terminal.log_output import log_to_console

    log_to_console()
    results = leader.predict(config, list(HydraConfig.get().overrides.task))
    return cast(float, results[0].get("accuracy", math.nan))


def with_lists(overrides: list[str]) -> list[str]:
    """Convert overrides such as `images=scan.png` and `images=*.png` to lists.

    Without this conversion, users would have to quote such values not only for the shell but also
    for Hydra.
    """
    converted: list[str] = []
    for override in overrides:
        if override.startswith("images=") and not override.startswith("images=["):
            override = _as_list(override)
        converted.append(override)
    return converted


def _as_list(override: str) -> str:
    """Return an override such as `images=scan.png` as `images=["scan.png"]`."""
    unquoted_name = override.partition("=")[2].strip("'\"")
    name = unquoted_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'images=["{name}"]'


def main() -> None:
    """Run the `lenet-predict` command."""
    run_app("lenet-predict", "predict", predict, with_lists(sys.argv[1:]))
