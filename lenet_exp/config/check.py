"""Checks for the ranges of flags and for rules that involve several flags."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from omegaconf import MISSING

from lenet_exp.addresses import DATABASES, hide_password, is_database
from lenet_exp.config.class_groups import TARGET
from lenet_exp.config.flags import WORDS, all_flags, range_text, value_of, within
from lenet_exp.config.image_shape import COLOR, GRAY, MOST_CLASSES
from lenet_exp.config.metric import BUILT_IN, DIRECTIONS, MAXIMIZE, Metric
from lenet_exp.config.params import shown
from lenet_exp.config.schema import (
    ACCURACY,
    OPTIMIZER_LIMITS,
    Config,
    Dataset,
    PredictConfig,
    Reader,
    ScheduleShape,
)
from lenet_exp.config.search import check_no_search
from lenet_exp.config.tags import check_tags
from lenet_exp.errors import ConfigError, did_you_mean
from lenet_exp.machine import cpu_count

STORES = ("sqlite:///", "http://", "https://")
DATABRICKS = "databricks"  # MLflow accepts this scheme also without `://`
PLUGINS = "mlflow.tracking_store"  # entry points of packages that add schemes to MLflow
MOST_THREADS_A_CORE = 4
DEVICES = ("auto", "cpu", "cuda", "mps")
# In bytes; file systems allow 255 for a file name, and MLflow allows 250 for a tag name.
LONGEST_NAME = 200
WARMUP_ONLY = "for a warm-up only, use schedule=linear schedule.final=1"


def check_flags(config: Config) -> None:
    """Check all flags that can be checked without data or torch.

    `training.check.check_config` checks the others.

    Raises:
        ConfigError: a value is invalid; the message contains the flag, its value, and the allowed
            values.
    """
    check_ranges(config)
    check_no_search(config)
    _check_tags(config.tracking.tags)
    _check_schedule(config)
    _check_optimizer(config)
    _check_metric(config)
    check_tags(config.tracking.tags)
    _check_devices(config.sweep.devices)


def check_ranges(config: Config | PredictConfig) -> None:
    """Check the device, the dataset, the store's address, all names, and the ranges of all numbers.

    Raises:
        ConfigError: a value is invalid.
    """
    for flag, _, field in all_flags(type(config)):
        _check_range(flag, value_of(config, flag), field.metadata["limits"])

    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", config.device):
        raise ConfigError(
            f"device={config.device}: expected one of: auto, cpu, cuda, cuda:<number>, mps"
            f"{did_you_mean(config.device, DEVICES)}"
        )

    # With far more threads than cores, torch eventually hangs or crashes.
    threads = config.num_threads
    most_threads = MOST_THREADS_A_CORE * cpu_count()
    if threads is not None and threads > most_threads:
        raise ConfigError(
            f"num_threads={threads}: must be at most {most_threads}, "
            f"{MOST_THREADS_A_CORE} for each core"
        )

    check_address(config.tracking.uri)
    check_name("dataset.name", config.dataset.name)
    _check_experiment(config.tracking.experiment)
    _check_dataset(config.dataset)


def _check_experiment(name: str) -> None:
    is_printable = bool(name.strip()) and name.isprintable()
    if not is_printable or len(name.encode()) > LONGEST_NAME:
        raise ConfigError(
            f"tracking.experiment={name}: must be a printable name of 1 to {LONGEST_NAME} bytes"
        )


def _check_devices(devices: list[int]) -> None:
    are_distinct = len(set(devices)) == len(devices)
    if min(devices, default=0) < 0 or not are_distinct:
        raise ConfigError(f"sweep.devices={shown(devices)}: must be distinct numbers of at least 0")


def check_value(flag: str, value: object) -> None:
    """Check that a number is in the range of a flag.

    Raises:
        ConfigError: the number is out of range.
    """
    limits = {name: field.metadata["limits"] for name, _, field in all_flags()}
    for key, limits_of_argument in OPTIMIZER_LIMITS.items():
        limits.setdefault(f"optimizer.{key}", limits_of_argument)
    _check_range(flag, value, limits.get(flag, {}))


def check_name(flag: str, name: str) -> None:
    """Check a name that becomes part of file paths and of a registered model's name in MLflow.

    Raises:
        ConfigError: the name is invalid.
    """
    is_valid = re.fullmatch(r"\w([\w +-]*[\w+-])?", name) is not None
    if not is_valid or len(name.encode()) > LONGEST_NAME:
        raise ConfigError(
            f"{flag}={name}: must consist of letters, digits, _, -, +, and inner spaces "
            f"(at most {LONGEST_NAME} bytes)"
        )


def _check_tags(tags: Iterable[str]) -> None:
    """Check the names of tags, because MLflow rejects runs with invalid tag names."""
    for name in tags:
        if not _is_tag_name(name):
            raise ConfigError(
                f"tracking.tags.{name}: the name must consist of letters, digits, and "
                f"inner _ - . : / (at most {LONGEST_NAME} bytes)"
            )


def _is_tag_name(name: str) -> bool:
    """Return whether MLflow accepts a name, which must also be a plain relative path."""
    if not re.fullmatch(r"[\w.\- :/]+", name):
        return False
    if name == "." or name.startswith(("/", "..")) or posixpath.normpath(name) != name:
        return False
    return len(name.encode()) <= LONGEST_NAME


def check_image_shape(dataset: Dataset) -> None:
    """Check the flags that determine the input and output of the network.

    Raises:
        ConfigError: a value is invalid.
    """
    if dataset.class_names not in (None, MISSING):
        _check_class_names(dataset.class_names)
    if dataset.channels not in (GRAY, COLOR):
        raise ConfigError(
            f"dataset.channels={dataset.channels}: expected one of: 1 (gray), 3 (color)"
        )
    for flag in ("image_size", "picture_box"):
        check_value(f"dataset.{flag}", getattr(dataset, flag))


def _check_class_names(names: list[str]) -> None:
    are_distinct = len(set(names)) == len(names)
    if are_distinct and 1 <= len(names) <= MOST_CLASSES:
        return

    example = ""
    for n, name in enumerate(names):
        if name in names[:n]:
            example = f", such as {name} twice"
            break
    raise ConfigError(
        f"dataset.class_names: has {len(names):,} names{example}; "
        f"must be 1 to {MOST_CLASSES:,} distinct names"
    )


def _check_dataset(dataset: Dataset) -> None:
    check_image_shape(dataset)

    has_gray_files = dataset.reader in (Reader.idx, Reader.digits)
    if dataset.channels == COLOR and has_gray_files:
        raise ConfigError(
            f"dataset.channels=3: must be 1 for {dataset.name}, "
            "because its files contain gray images"
        )
    if dataset.channels == GRAY and dataset.reader is Reader.cifar:
        raise ConfigError(
            f"dataset.channels=1: must be 3 for {dataset.name}, "
            "because its files contain color images"
        )

    if dataset.archive is not None:
        is_https = dataset.archive.startswith("https://")
        if not is_https or not dataset.archive_md5:
            raise ConfigError(
                f"dataset.archive={dataset.archive}: must start with https:// "
                "and requires archive_md5"
            )
    if dataset.file is not None and dataset.reader is not Reader.arrays:
        raise ConfigError(
            f"dataset.file={dataset.file}: must be null for {dataset.name}; set dataset=arrays"
        )
    _check_files(dataset)


def _check_files(dataset: Dataset) -> None:
    """Check that both parts of the dataset have the files that its reader needs."""
    if dataset.reader not in (Reader.cifar, Reader.idx):
        return

    file_counts = [len(dataset.files.get(part, [])) for part in ("train", "test")]
    if dataset.reader is Reader.cifar and 0 in file_counts:
        raise ConfigError(
            f"dataset.files={dataset.files}: must be {{train: [FILE, ...], test: [FILE, ...]}}"
        )
    if dataset.reader is Reader.idx and file_counts != [2, 2]:
        raise ConfigError(
            f"dataset.files={dataset.files}: "
            "must be {train: [IMAGES, LABELS], test: [IMAGES, LABELS]}"
        )


def _check_range(flag: str, value: object, limits: dict[str, float | None]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if within(value, limits):
        return

    relevant: dict[str, float | None] = {}
    if within(value, {}):  # a finite number
        for sign, limit in limits.items():
            is_upper_limit_of_int64 = limit == 2**63
            if not is_upper_limit_of_int64 or value >= 2**63:
                relevant[sign] = limit
    expected = range_text(relevant, WORDS) or "a finite number"
    raise ConfigError(f"{flag}={value}: must be {expected}")


def check_address(uri: str | None) -> None:
    """Check the address of an MLflow store.

    Addresses of Databricks and of MLflow's plugins are not checked any further.

    Raises:
        ConfigError: the address is invalid.
    """
    if uri is None or uri == DATABRICKS:
        return
    if not uri.startswith(STORES) and _is_of_plugin(uri):
        return

    shown_uri = f"tracking.uri={hide_password(uri)}"
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        port = parts.port
        if parts.netloc and "@" in parts.path:
            raise ValueError
    except ValueError:  # an invalid port, brackets without an address, or a slash in a user name
        # A password with a slash looks like a port.
        shown_uri = re.sub(r"//.*@", "//***@", shown_uri)
        raise ConfigError(
            f"{shown_uri}: invalid host or port; the port must be from 1 to 65535, "
            "and / in a user name or password must be written as %2F"
        ) from None

    scheme = parts.scheme
    if is_database(uri) or scheme == DATABRICKS:
        return
    if not uri.startswith(STORES):
        raise ConfigError(f"{shown_uri}: {_expected_start(scheme)}")
    if scheme == "sqlite":
        return
    if not host or port == 0 or re.search(r"\s", uri):
        raise ConfigError(
            f"{shown_uri}: must be {scheme}://HOST or {scheme}://HOST:PORT, "
            "with a port from 1 to 65535"
        )


def _expected_start(scheme: str) -> str:
    """Return how the address of a store must start, given the scheme of an invalid address."""
    starts = [*STORES, *(f"{name}://" for name in DATABASES)]
    expected = f"must start with {', '.join(starts[:-1])}, or {starts[-1]}"
    if scheme in ("", "file"):
        return (
            f"{expected}; to convert a folder of MLflow's file store, run: mlflow migrate-filestore"
        )
    return expected + did_you_mean(f"{scheme.partition('+')[0]}://", starts)


def _is_of_plugin(uri: str) -> bool:
    """Return whether a plugin of MLflow handles an address."""
    from importlib.metadata import entry_points

    scheme = uri.partition(":")[0]
    return scheme in entry_points(group=PLUGINS).names


def _check_schedule(config: Config) -> None:
    schedule = config.schedule
    shape = schedule.shape
    if schedule.own and shape is not ScheduleShape.constant:
        raise ConfigError(f"schedule.shape={shape}: must be constant with schedule.own")
    if shape is ScheduleShape.constant and schedule.warmup:
        raise ConfigError(
            f"schedule.warmup={schedule.warmup}: must be 0 with schedule=constant; {WARMUP_ONLY}"
        )
    if shape is ScheduleShape.step and not schedule.final:
        raise ConfigError(
            f"schedule.final={schedule.final}: must be greater than 0 with schedule=step"
        )


def _check_metric(config: Config) -> None:
    """Check the metric's description, and its unit if a flag is in percentage points."""
    option = config.metric
    metric = Metric.of(option)

    direction = option.get("direction", MAXIMIZE)
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"metric.direction={direction}: expected one of: {', '.join(DIRECTIONS)}"
            f"{did_you_mean(str(direction), DIRECTIONS)}"
        )
    if not isinstance(option.get("percent", False), bool):
        raise ConfigError(f"metric.percent={option['percent']}: must be true or false")

    check_name("metric.name", metric.name)
    target = option.get(TARGET)
    if metric.name in BUILT_IN and target != f"lenet_exp.training.metrics.{metric.name}":
        raise ConfigError(f"metric.name={metric.name}: this name is reserved; set another name")
    if target == ACCURACY[TARGET] and not metric.is_accuracy:
        raise ConfigError("metric=accuracy: its name, direction, and percent cannot be changed")

    for flag in ("confirm", "sweep.points"):
        value = value_of(config, flag)
        if value not in (None, MISSING):
            metric.require_points(f"{flag}={value}")


def _check_optimizer(config: Config) -> None:
    """Check the arguments that many optimizers share.

    config/targets.py, which loads torch, checks the others.
    """
    for key in config.optimizer.keys() & OPTIMIZER_LIMITS.keys():
        flag = f"optimizer.{key}"
        value = config.optimizer[key]
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if isinstance(number, str | bool):
                raise ConfigError(f"{flag}={value}: must be a number")
            _check_range(flag, number, OPTIMIZER_LIMITS[key])
