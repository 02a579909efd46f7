"""Every flag of a run: its type, meaning, unit and range, and whether it can change the result.

conf/*.yaml holds the values. Fields here have no defaults, so that each value is defined in one place. This file
imports neither torch nor mlflow, because `--help` reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, cast, get_type_hints

from omegaconf import MISSING

Option = dict[str, Any]  # the content of an option file: a class and its keywords
DEVICE = "auto (cuda, then mps, then cpu), cpu, cuda, cuda:<number>, mps"
ALWAYS = object()  # a neutral value that equals no value, so the field always counts in the fingerprint


class EngineName(StrEnum):
    """Names of the engines."""

    auto = "auto"
    native = "native"
    torch = "torch"


class Reader(StrEnum):
    """File formats of datasets."""

    idx = "idx"
    pictures = "pictures"
    digits = "digits"


class PictureContent(StrEnum):
    """Content of the user's own pictures."""

    digits = "digits"
    writing = "writing"
    things = "things"


class ScheduleShape(StrEnum):
    """Shapes of the learning rate's schedule."""

    constant = "constant"
    one_cycle = "one_cycle"
    linear = "linear"
    cosine = "cosine"
    step = "step"


class ScoredConfigurations(StrEnum):
    """Configurations of a sweep that `lenet-predict` scores."""

    fixed = "fixed"
    all = "all"


class LoggedModels(StrEnum):
    """Runs whose best model is logged to MLflow."""

    all = "all"
    best = "best"
    none = "none"


class SamplerName(StrEnum):
    """Samplers of a search."""

    tpe = "tpe"
    gp = "gp"
    qmc = "qmc"
    random = "random"
    grid = "grid"


class PrunerName(StrEnum):
    """Pruners of a search."""

    asha = "asha"
    hyperband = "hyperband"
    median = "median"
    none = "none"


class Objective(StrEnum):
    """Objectives of a search."""

    accuracy = "accuracy"
    loss = "loss"
    epochs = "epochs"
    seconds = "seconds"
    front = "front"


def knob(
    meaning: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    neutral: Any = ALWAYS,
    result: bool = True,
    only_with: str | None = None,
) -> Any:
    """Declare a configuration field.

    Args:
        meaning: its effect and unit, for `--help`.
        ge, gt, le, lt: its range.
        neutral: the value that leaves a run as if the field did not exist. A field at its neutral value is left out of
            the fingerprint, so a new field does not change old fingerprints.
        result: whether it can change the trained weights; if not, it never counts in the fingerprint.
        only_with: a flag that this one depends on. `other`: this flag has an effect if `other` differs from its neutral
            value; `other=value`: if `other` has this value.
    """
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata = {"meaning": meaning, "limits": limits, "neutral": neutral, "result": result, "only_with": only_with}
    return field(default=MISSING, metadata=metadata)


# The fingerprint contains the data digests, so it needs none of these fields.
@dataclass
class Dataset:
    """The dataset, its files, and how it is split."""

    name: str = knob("data set", result=False)
    reader: Reader = knob("how it is read: idx (MNIST's format), pictures (a folder a class), digits", result=False)
    folder: str = knob("its folder in data_root, or an absolute one", result=False)
    also_in: list[str] = knob("other folders that may have its files", result=False)
    files: dict[str, list[str]] = knob("idx: file names of images and labels of train and test", result=False)
    sha256: dict[str, str | None] = knob("digests of the uncompressed files (null: unknown)", result=False)
    torchvision_class: str | None = knob("class of torchvision.datasets that can download it", result=False)
    mirrors: list[str] | None = knob("where to download it from (null: torchvision's mirrors)", result=False)
    class_names: list[str] = knob("names of the classes, 10 at most", result=False)
    picture_box: int = knob("longest side, in 28x28 pixels, of what one's own pictures show", ge=4, le=28, result=False)
    shows: PictureContent = knob(
        "what is in pictures of one's own: digits (one or several), writing (one character), things (with shades)",
        neutral=PictureContent.writing,
        result=False,
    )
    val_size: int = knob("validation images, taken from the training set by split_seed", ge=1, result=False)
    train_size: int | None = knob("training images (null: all that validation leaves)", ge=1, result=False)


@dataclass
class Regularization:
    """Penalties and dropout."""

    weight_decay: float = knob("L2 penalty (AdamW: decoupled decay) of all parameters", ge=0, neutral=0.0)
    dropout_rate: float = knob("share of fc1's and fc2's outputs dropped in training", ge=0, lt=1, neutral=0.0)


@dataclass
class Schedule:
    """The learning rate over the steps of a training; see training/schedule.py."""

    shape: ScheduleShape = knob(
        "after the warm-up: constant, one_cycle, linear, cosine, step", neutral=ScheduleShape.constant
    )
    warmup: float = knob("share of the steps in which the lr rises", ge=0, lt=1, neutral=0.0)
    start: float = knob("lr at the first step, as a share of optimizer.lr", ge=0, le=1, only_with="schedule.warmup")
    final: float = knob("lr after the last step, as a share of optimizer.lr", ge=0, le=1, only_with="schedule.shape")
    drops: int = knob("step: number of equal falls on the way to final", ge=1, only_with="schedule.shape=step")


@dataclass
class Augmentation:
    """Random changes of batches of training images; see training/augmentation.py. Pixels are those of 32x32 images."""

    shift: int = knob("farthest move along each axis, in pixels", ge=0, lt=32, neutral=0)
    rotate: float = knob("largest rotation to either side, in degrees", ge=0, le=180, neutral=0.0)
    scale: float = knob("largest change of size, as a share", ge=0, lt=1, neutral=0.0)
    shear: float = knob("largest horizontal shear, in pixels a pixel", ge=0, le=2, neutral=0.0)
    elastic: float = knob("mean length of random local moves, in pixels", ge=0, le=16, neutral=0.0)
    elastic_sigma: float = knob("width of the neighborhood that moves together, in pixels", ge=1, le=32,
                                only_with="augmentation.elastic")  # fmt: skip
    flip: float = knob("share of images mirrored left to right", ge=0, le=1, neutral=0.0)
    erase: float = knob("share of images of which a rectangle is erased", ge=0, le=1, neutral=0.0)
    erase_size: int = knob("its longest side, in pixels", ge=1, le=32, only_with="augmentation.erase")


@dataclass
class Training:
    """Loss, gradient clipping, weight averaging and early stopping."""

    label_smoothing: float = knob("share of each label spread over all classes", ge=0, lt=1, neutral=0.0)
    clip_norm: float | None = knob("largest norm of a step's gradient (null: any)", gt=0, neutral=None)
    ema_decay: float | None = knob(
        "per-step decay of the moving average of the weights (null: off)",
        ge=0,
        lt=1,
        neutral=None,
    )
    patience: int | None = knob(
        "stop after this many epochs without a better validation accuracy (null: off)", ge=1, neutral=None
    )
    min_delta: float = knob("by how much it has to be better, as a fraction", ge=0, lt=1, only_with="training.patience")


@dataclass
class Store:
    """The MLflow store."""

    uri: str | None = knob("MLflow store (null: mlflow.db in the outputs folder)", result=False)
    experiment: str = knob("MLflow experiment", result=False)


@dataclass
class Tracking(Store):
    """Options of logging to MLflow."""

    models: LoggedModels = knob("whose best model goes to MLflow: all runs, the sweep's best run, none", result=False)
    plots: bool = knob("log pictures: curves, confusion matrix, mistakes, comparisons", result=False)
    tags: Option = knob("more tags of the run: tracking.tags.note=first", result=False)


@dataclass
class Sweep:
    """Options of a sweep."""

    workers: int | None = knob("runs side by side (null: cores / num_threads)", ge=1, le=4096, result=False)
    retries: int = knob("tries more for a run whose process died", ge=0, le=1000, result=False)
    fail_fast: bool = knob("start no more runs after the first that failed or diverged", result=False)
    max_failures: int | None = knob("start no more runs after so many failed or diverged in a row", ge=1, result=False)
    max_jobs: int = knob("the most jobs that are made; more are refused", ge=1, neutral=100_000, result=False)
    zip: list[Any] = knob(
        "swept flags that go together, value by value: [optimizer,optimizer.lr]; several: [[a,b],[c,d]]",
        neutral=[],
        result=False,
    )
    skip: list[Any] = knob(
        "combinations of swept flags that are left out: [{optimizer:adam,optimizer.lr:0.1}]", neutral=[], result=False
    )
    confirms: str | None = knob(
        "the sweep whose leader, the first configuration here, is tested on these seeds (lenet-compare confirm=)",
        neutral=None,
        result=False,
    )
    points: float | None = knob(
        "the difference that the test was made to find, in percentage points", gt=0, lt=100, neutral=None, result=False
    )
    against: bool = knob(
        "the second configuration is a baseline that the sweep has not tried (lenet-compare against=)",
        neutral=False,
        result=False,
    )
    time_limit: float | None = knob("seconds a run may take before it counts as failed", gt=0, result=False)
    force: bool = knob("train again what is finished already", result=False)
    resume: str | None = knob("go on with an earlier sweep: last, its MLflow run id, or its folder", result=False)
    dry_run: bool = knob("say what would be trained, how long and how much disk it takes, and train nothing",
                         result=False)  # fmt: skip
    detach: bool = knob(
        "hand the sweep to the cluster and return (hydra/launcher=cluster_slurm)", neutral=False, result=False
    )


@dataclass
class Search:
    """Options of `hydra/sweeper=search`; see searches/search.py. A single run ignores them."""

    sampler: SamplerName = knob(
        "what suggests the next trial: tpe, gp, qmc, random, grid", neutral=SamplerName.tpe, result=False
    )
    sampler_options: Option = knob(
        "its options, as Optuna names them: search.sampler_options.n_startup_trials=5", neutral={}, result=False
    )
    pruner: PrunerName = knob(
        "what ends a run that falls behind, at an epoch: asha, hyperband, median, none",
        neutral=PrunerName.asha,
        result=False,
    )
    pruner_options: Option = knob(
        "its options, as Optuna names them: search.pruner_options.reduction_factor=3", neutral={}, result=False
    )
    objective: Objective = knob(
        "accuracy (best validation accuracy), loss (least validation loss), epochs or seconds (of training, to "
        "search.target), front (accuracy and seconds: all that nothing else beats in both)",
        neutral=Objective.accuracy,
        result=False,
    )
    seed: int = knob("of what the sampler draws", ge=0, lt=2**63, neutral=0, result=False)
    storage: str | None = knob(
        "database of the study, as SQLAlchemy names it (null: study.db in the sweep's folder)",
        neutral=None,
        result=False,
    )
    target: float | None = knob(
        "validation accuracy (a fraction) that search.objective=epochs or seconds waits for", gt=0, le=1, neutral=None,
        result=False
    )  # fmt: skip


@dataclass
class Config:
    """The configuration of a run.

    `activation` and `optimizer` hold a class (`_target_`) and its keywords; see targets.py.
    """

    dataset: Dataset = field(default_factory=Dataset)
    activation: Option = knob("nonlinearity: name, _target_ (a torch.nn.Module), monotone, keywords")
    optimizer: Option = knob("optimizer: name, _target_ (a torch.optim.Optimizer), lr, keywords")
    regularization: Regularization = field(default_factory=Regularization)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: Training = field(default_factory=Training)
    num_epoch: int = knob("passes over the training set", ge=1)
    batch_size: int = knob("images a step", ge=1, lt=2**63)
    num_iter_echo: int = knob("iterations between two logged step losses", ge=1, result=False)
    seed: int = knob("of weights, order, dropout, augmentation", ge=0, lt=2**63)
    split_seed: int = knob("of the split into training and validation images",
                           ge=0, lt=2**63, result=False)  # fmt: skip
    device: str = knob(DEVICE, result=False)
    engine: EngineName = knob(
        "native (compiled for this CPU), torch, or auto (native where it can)",
        neutral=EngineName.auto,
        result=False,
    )
    num_threads: int | None = knob(
        "CPU threads (null: 1 under -m, else all cores; a resumed run keeps its number)",
        ge=1,
        le=1024,
        result=False,
    )
    data_root: str = knob(
        "folder of the datasets, in the layout of torchvision ($LENET_EXP_DATA, else data)", result=False
    )
    model_path: str | None = knob("folder for the best model so far as safetensors (null: none)", result=False)
    n_trials: int | None = knob(
        "search: trials in total, including those of earlier starts (null: no limit)", ge=1, neutral=None, result=False
    )
    max_epochs: int | None = knob(
        "search: starts no trial after this many epochs in total (null: no limit)", ge=1, neutral=None, result=False
    )
    max_seconds: float | None = knob(
        "search: starts no trial after this many seconds in total (null: no limit)", gt=0, neutral=None, result=False
    )
    seeds: int = knob(
        "search: seeds of each configuration that may be the best", ge=1, le=1000, neutral=1,
        result=False
    )  # fmt: skip
    confirm: float | None = knob(
        "search: lead in points to confirm on new seeds at the end (null: no)",
        gt=0, lt=100, neutral=None, result=False
    )  # fmt: skip
    search: Search = field(default_factory=Search)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)


@dataclass
class PredictConfig:
    """The configuration of a prediction: a model, and a test set or pictures."""

    dataset: Dataset = field(default_factory=Dataset)
    trained_model: str | None = knob(
        "registered name or name@alias, runs:/<MLflow run id>, a .safetensors file of model_path, or the ancestor's "
        ".pkl (null: the data set's champion)"
    )
    sweep: str | None = knob(
        "instead: the runs of a sweep's leader, one a seed: last, an id or its first digits, a folder (null: none)"
    )
    configurations: ScoredConfigurations = knob(
        "of a sweep: fixed (leader; both sides of a confirmation), or all (to report only)"
    )
    trust: str | None = knob("class or module of your own that the model may name as its activation (null: none)")
    images: list[str] = knob("pictures to classify instead of the test set: a file, a folder, *.png, or a list of them")
    several: bool = knob("a picture may show several digits, read in order (false: all that is in it is one)")
    batch_size: int = knob("images a step; need not divide the set", ge=1)
    output: str | None = knob("file for the numbers, .json or .csv (null: none)")
    device: str = knob(DEVICE)
    num_threads: int | None = knob("CPU threads (null: all cores)", ge=1)
    data_root: str = knob("folder of the datasets, in the layout of torchvision ($LENET_EXP_DATA, else data)")
    tracking: Store = field(default_factory=Store)


# Ranges of keywords that many of torch's optimizers share; torch checks more.
OPTIMIZER_LIMITS: dict[str, dict[str, float | None]] = {
    "lr": {"gt": 0},
    "momentum": {"ge": 0, "lt": 1},
    "dampening": {"ge": 0, "le": 1},
    "alpha": {"ge": 0, "lt": 1},
    "eps": {"gt": 0},
    "betas": {"ge": 0, "lt": 1},
}


SCHEMAS: dict[str, type] = {"train": Config, "predict": PredictConfig}


def knobs(schema: type = Config) -> tuple[tuple[str, Any, Field[Any]], ...]:
    """Return all leaf fields as (dotted flag, type, dataclass field)."""
    return _knobs(cast(Hashable, schema))


@cache  # a sweep calls this several times per job
def _knobs(schema: Hashable) -> tuple[tuple[str, Any, Field[Any]], ...]:
    types, found = get_type_hints(schema), []
    for f in fields(cast(type, schema)):
        if is_dataclass(types[f.name]):
            found += [(f"{f.name}.{flag}", *more) for flag, *more in knobs(types[f.name])]
        else:
            found.append((f.name, types[f.name], f))
    return tuple(found)


def value_of(config: Any, flag: str) -> Any:
    """Return the value of a dotted flag in a configuration or in its plain form (dicts)."""
    for part in flag.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def has_effect(config: Any, f: Field[Any]) -> bool:
    """Return whether a field of `Config` has an effect, given the flag in its `only_with`."""
    if f.metadata["only_with"] is None:
        return True
    flag, _, wanted = f.metadata["only_with"].partition("=")
    value = value_of(config, flag)
    other = next(field for name, _, field in knobs() if name == flag)
    return bool(value == wanted if wanted else value != other.metadata["neutral"])


def range_text(limits: dict[str, float | None]) -> str:
    """Format a range: `{"ge": 0, "lt": 1}` as `>= 0 and < 1`; empty without limits."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = {k: v for k, v in limits.items() if v is not None}
    return " and ".join(f"{signs[k]} {'2**63' if v == 2**63 else f'{v:g}'}" for k, v in bounds.items())


def within(value: float, limits: dict[str, float | None]) -> bool:
    """Return whether `value` is in the range; false for infinity, NaN and whole numbers too large for a float."""
    ge, gt, le, lt = (limits.get(k) for k in ("ge", "gt", "le", "lt"))
    return (
        abs(value) <= sys.float_info.max
        and (ge is None or value >= ge)
        and (gt is None or value > gt)
        and (le is None or value <= le)
        and (lt is None or value < lt)
    )
