"""Everything that can be known to be wrong before anything is trained: ranges, cross-field rules, torch's own rules."""

from __future__ import annotations

import json
from dataclasses import Field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from lenet_exp.config.schema import Config, Dataset, PredictConfig, Reader, Shape, knobs, range_text, value_of, within
from lenet_exp.errors import ConfigError
from lenet_exp.tracking.store import hide_password

TORCHVISION_CLASSES = ("MNIST", "FashionMNIST", "KMNIST", "QMNIST")  # those whose files are in MNIST's format
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")  # MLflow's; its plain-file store is being retired
_WARM = "for a warm-up alone: schedule=linear schedule.final=1"


def check_config(config: Config) -> None:
    """Raises:
    ConfigError: with one line that names the flag, its value and what is allowed.
    """
    check_ranges(config)
    _check_schedule(config)
    _check_activation(config)
    _check_optimizer(config)


def check_ranges(config: Config | PredictConfig) -> None:
    """Raises:
    ConfigError: a number is out of its range, or the store's address is none.
    """
    for flag, _, f in knobs(type(config)):
        _check_range(flag, value_of(config, flag), f)
    _check_store(config.tracking.uri)
    _check_dataset(config.dataset)


def _check_dataset(dataset: Dataset) -> None:
    names = dataset.class_names
    if not 1 <= len(names) <= 10 or len(set(names)) != len(names):
        raise ConfigError(f"dataset.class_names={names}: allowed are 1 to 10 different names")
    if dataset.torchvision_class not in (None, *TORCHVISION_CLASSES):
        *others, last = TORCHVISION_CLASSES
        raise ConfigError(
            f"dataset.torchvision_class={dataset.torchvision_class}: allowed is {', '.join(others)} or {last}, or null"
        )
    for name, digest in dataset.sha256.items():
        if not isinstance(digest, str | None):  # OmegaConf lets lists into a dict of texts
            raise ConfigError(f"dataset.sha256.{name}={digest}: allowed is a text or null")
    for part, names_of_files in dataset.files.items():
        if not all(isinstance(n, str) for n in names_of_files):
            raise ConfigError(f"dataset.files.{part}={names_of_files}: allowed are file names")
    if dataset.reader is Reader.idx and not all(len(dataset.files.get(part, [])) == 2 for part in ("train", "test")):
        raise ConfigError(
            f"dataset.files={dataset.files}: allowed is {{train: [IMAGES, LABELS], test: [IMAGES, LABELS]}}"
        )


def _check_range(flag: str, value: Any, f: Field) -> None:
    limits = f.metadata["limits"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not within(value, limits):
        raise ConfigError(f"{flag}={value}: allowed is {range_text(limits) or 'a finite number'}")


def _check_store(uri: str | None) -> None:
    scheme = urlsplit(uri or "").scheme.partition("+")[0]
    if uri is not None and (scheme not in STORES or (scheme == "sqlite" and not uri.startswith("sqlite:///"))):
        raise ConfigError(
            f"tracking.uri={hide_password(uri)}: allowed is http(s)://..., sqlite:///FILE, or {', '.join(STORES[3:])}://..."
        )


def _check_schedule(config: Config) -> None:
    s = config.schedule
    if s.shape is Shape.constant and s.warmup:
        raise ConfigError(f"schedule.warmup={s.warmup}: allowed is 0 with schedule=constant; {_WARM}")
    if s.shape is Shape.step and not s.final:
        raise ConfigError(f"schedule.final={s.final}: allowed is > 0 with schedule=step, whose falls are equal ratios")


def _check_activation(config: Config) -> None:
    monotone = config.activation.get("monotone", False)
    if not isinstance(monotone, bool):
        raise ConfigError(f"activation.monotone={monotone}: allowed is true or false")
    _try_network(json.dumps([config.activation, config.regularization.dropout_rate], sort_keys=True, default=str))


# The jobs of a sweep differ in few options, so what was tried once is known: errors are not cached.
@lru_cache(maxsize=1024)
def _try_network(options: str) -> None:
    import torch

    from lenet_exp.config.targets import option_name
    from lenet_exp.training.lenet5 import LeNet5

    activation, dropout_rate = json.loads(options)
    model = LeNet5(activation, dropout_rate, noise=torch.Generator())
    state = torch.random.get_rng_state()
    try:
        model.train()(torch.linspace(-1, 1, 2 * 32 * 32).reshape(2, 1, 32, 32))
    except Exception as e:
        raise ConfigError(f"activation={option_name(activation)}: can't be applied in LeNet-5: {e}") from e
    if not torch.equal(state, torch.random.get_rng_state()):
        raise ConfigError(
            f"activation={option_name(activation)}: draws from global random state, so its runs can't be "
            "repeated; give the class a `generator` attribute to draw from (see lenet_exp/training/activations.py)"
        )


def _check_optimizer(config: Config) -> None:
    import torch

    from lenet_exp.config.targets import option_name
    from lenet_exp.training.optimizer import build_optimizer
    from lenet_exp.training.snapshot import optimizer_state

    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = build_optimizer(config, [parameter])
    if "lr" not in optimizer.param_groups[0]:
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: keeps no lr, which schedules and curves need")
    try:
        optimizer.step()
    except Exception as e:  # LBFGS wants a closure, SparseAdam sparse gradients
        raise ConfigError(f"optimizer={option_name(config.optimizer)}: can't be applied to LeNet-5: {e}") from e
    try:
        optimizer_state(optimizer)
    except TypeError as e:
        raise ConfigError(
            f"optimizer={option_name(config.optimizer)}: a stopped run could not go on, since {e}; "
            "allowed are tensors, numbers and texts"
        ) from e
