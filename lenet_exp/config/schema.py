"""Definitions of all flags: type, meaning, unit, range, and whether they can change a run's result.

The default values are in conf/*.yaml. The fields here have no defaults, so each default is defined
in a single place. This module imports neither torch nor mlflow, because `--help` uses this module
and must be fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, cast

from omegaconf import MISSING, OmegaConf

from lenet_exp.package_files import CONF_DIR

Option = dict[str, Any]  # the content of an option file: a class and its keyword arguments
DEVICE = "auto (the first available of cuda, mps, and cpu), cpu, cuda, cuda:<number>, or mps"


def _option(file: str) -> Option:
    """Return the content of a file in conf/."""
    return cast(Option, OmegaConf.to_container(OmegaConf.load(CONF_DIR / file)))


# Records of older releases lack these options.
LENET5 = _option("model/lenet5.yaml")
CROSS_ENTROPY = _option("loss/cross_entropy.yaml")
ACCURACY = _option("metric/accuracy.yaml")
NEUTRAL = (LENET5, CROSS_ENTROPY, ACCURACY)
# A neutral value that equals no other value, so the fingerprint always includes the field.
ALWAYS = object()

# Seeds. Runs that differ only in these flags are replicates of one configuration.
SEED_FLAGS = frozenset({"seed", "split_seed"})
# Flags that say how a run is executed. They are not part of a configuration either.
EXECUTION_FLAGS = frozenset({"device", "engine", "num_threads"})


class EngineName(StrEnum):
    """Engines that can execute the training steps; `auto` selects an engine automatically."""

    auto = "auto"
    native = "native"
    torch = "torch"


class EpochChoice(StrEnum):
    """The epoch that counts: the one with the best value of the metric, or the last one."""

    best = "best"
    last = "last"


class Reader(StrEnum):
    """File formats of datasets."""

    idx = "idx"
    pictures = "pictures"
    cifar = "cifar"
    arrays = "arrays"
    digits = "digits"


class ScheduleShape(StrEnum):
    """Shapes of the learning rate schedule after the warm-up."""

    constant = "constant"
    one_cycle = "one_cycle"
    linear = "linear"
    cosine = "cosine"
    step = "step"


class ScoredConfigurations(StrEnum):
    """Configurations of a sweep that `lenet-predict` evaluates."""

    fixed = "fixed"
    all = "all"


class LoggedModels(StrEnum):
    """Runs whose best model is logged to MLflow."""

    all = "all"
    best = "best"
    none = "none"


class SamplerName(StrEnum):
    """Samplers that suggest the trials of a search."""

    tpe = "tpe"
    gp = "gp"
    qmc = "qmc"
    random = "random"
    grid = "grid"


class PrunerName(StrEnum):
    """Pruners that stop runs of a search early."""

    asha = "asha"
    hyperband = "hyperband"
    median = "median"
    none = "none"


class Objective(StrEnum):
    """Objectives that a search can optimize."""

    accuracy = "accuracy"
    loss = "loss"
    epochs = "epochs"
    seconds = "seconds"
    front = "front"


class Cost(StrEnum):
    """Second objectives of a Pareto front."""

    seconds = "seconds"
    parameters = "parameters"


def result_flag(
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
    """Declare a flag as a field of a configuration dataclass.

    Args:
        meaning: description of the flag, with its unit, for `--help`.
        ge, gt, le, lt: bounds of the flag's range (>=, >, <=, and <); None for no bound.
        neutral: value at which a run is the same as without the flag. The fingerprint omits flags
            at their neutral value, so adding a flag does not change existing fingerprints.
        result: whether the flag can change the trained weights; if not, the fingerprint never
            includes it.
        only_with: condition under which the flag has an effect. `other` means that the flag `other`
            must differ from its neutral value; `other=value` means that `other` must have this
            value.
    """
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata = {
        "meaning": meaning,
        "limits": limits,
        "neutral": neutral,
        "result": result,
        "only_with": only_with,
    }
    return field(default=MISSING, metadata=metadata)


# Declares a flag that cannot change the trained weights.
other_flag = partial(result_flag, result=False)


# The fingerprint includes the data digests and the shape of the images, so it does not need to
# include these fields.
@dataclass(frozen=True)
class Dataset:
    """Flags for the dataset: its files, their format, and the split."""

    name: str = other_flag("name of the dataset")
    reader: Reader = other_flag(
        "file format: idx (as in MNIST), pictures (in folders), arrays (.npz), cifar, or digits"
    )
    folder: str = other_flag("folder with the dataset's files, absolute or relative to data_root")
    file: str | None = other_flag(
        "arrays: .npz file with the images and labels (null: none)", neutral=None
    )
    also_in: list[str] = other_flag("other folders to search for the dataset's files")
    files: dict[str, list[str]] = other_flag("idx, cifar: names of the files for train and test")
    sha256: dict[str, str | None] = other_flag(
        "SHA-256 digest of each uncompressed file (null: unknown)"
    )
    torchvision_class: str | None = other_flag(
        "torchvision.datasets class that downloads the dataset (null: none)"
    )
    mirrors: list[str] | None = other_flag("URLs to download from (null: torchvision's mirrors)")
    archive: str | None = other_flag(
        "HTTPS address of an archive with the dataset's files (null: none)", neutral=None
    )
    archive_md5: str | None = other_flag("MD5 digest of the archive", neutral=None)
    transposed: bool = other_flag(
        "idx: rows and columns of the images are exchanged", neutral=False
    )
    first_label: int = other_flag("idx, arrays: label of the first class", ge=0, neutral=0)
    class_names: list[str] | None = other_flag(
        "names of the classes (null: names of the folders, or labels)"
    )
    channels: int = other_flag("1 (gray) or 3 (color)", neutral=1)
    image_size: int | None = other_flag(
        "height and width in pixels (null: 32, and all pictures must have the same size)",
        ge=4,
        le=512,
        neutral=None,
    )
    exact_classes: bool = other_flag(
        "one output per class (false: at least 10 outputs)", neutral=False
    )
    picture_box: int = other_flag(
        "pictures: longer side of the object in a 28x28 image, in pixels", ge=4, le=28
    )
    val_size: int = other_flag(
        "number of validation images, split off the training set with split_seed", ge=1
    )
    stratified: bool = other_flag(
        "split off the same fraction of each class for validation", neutral=False
    )
    train_size: int | None = other_flag(
        "number of training images (null: all remaining images)", ge=1
    )


@dataclass(frozen=True)
class Regularization:
    """Flags for weight decay and dropout."""

    weight_decay: float = result_flag(
        "factor of the L2 penalty on all parameters (AdamW: decoupled decay)", ge=0, neutral=0.0
    )
    dropout_rate: float = result_flag(
        "fraction of hidden units dropped during training", ge=0, lt=1, neutral=0.0
    )


@dataclass(frozen=True)
class Schedule:
    """Flags for the learning rate schedule; see training/schedule.py."""

    shape: ScheduleShape = result_flag(
        "shape after the warm-up: constant, one_cycle, linear, cosine, or step",
        neutral=ScheduleShape.constant,
    )
    warmup: float = result_flag(
        "fraction of training steps during which the learning rate rises", ge=0, lt=1, neutral=0.0
    )
    start: float = result_flag(
        "learning rate at the first step, as a fraction of optimizer.lr",
        ge=0,
        le=1,
        only_with="schedule.warmup",
    )
    final: float = result_flag(
        "learning rate after the last step, as a fraction of optimizer.lr",
        ge=0,
        le=1,
        only_with="schedule.shape",
    )
    drops: int = result_flag(
        "step schedule: number of drops by the same factor, down to schedule.final",
        ge=1,
        only_with="schedule.shape=step",
    )
    own: Option = result_flag(
        "your own: _target_ and keyword arguments; called with (step, steps)", neutral={}
    )


@dataclass(frozen=True)
class Augmentation:
    """Flags for random changes to training images; see training/augmentation.py.

    Sizes refer to the network's input.
    """

    shift: int = result_flag("maximum shift along each axis, in pixels", ge=0, lt=32, neutral=0)
    rotate: float = result_flag(
        "maximum rotation in either direction, in degrees", ge=0, le=180, neutral=0.0
    )
    scale: float = result_flag("maximum change in size, as a fraction", ge=0, lt=1, neutral=0.0)
    shear: float = result_flag(
        "maximum horizontal shear, in pixels per pixel of height", ge=0, le=2, neutral=0.0
    )
    elastic: float = result_flag(
        "mean displacement from elastic distortion, in pixels", ge=0, le=16, neutral=0.0
    )
    elastic_sigma: float = result_flag(
        "standard deviation of the elastic smoothing, in pixels",
        ge=1,
        le=32,
        only_with="augmentation.elastic",
    )
    flip: float = result_flag("fraction of images flipped horizontally", ge=0, le=1, neutral=0.0)
    erase: float = result_flag(
        "fraction of images with an erased rectangle", ge=0, le=1, neutral=0.0
    )
    erase_size: int = result_flag(
        "maximum side length of the erased rectangle, in pixels",
        ge=1,
        le=32,
        only_with="augmentation.erase",
    )
    own: Option = result_flag(
        "your own: _target_ and keyword arguments; called with (images, generator)", neutral={}
    )


@dataclass(frozen=True)
class Training:
    """Flags for the loss, gradient clipping, weight averaging, and early stopping."""

    label_smoothing: float = result_flag(
        "fraction of each label that is spread evenly over all classes", ge=0, lt=1, neutral=0.0
    )
    label_noise: float = result_flag(
        "fraction of training labels changed to a random other class", ge=0, lt=1, neutral=0.0
    )
    clip_norm: float | None = result_flag(
        "maximum gradient norm per step (null: no limit)", gt=0, neutral=None
    )
    ema_decay: float | None = result_flag(
        "decay factor per step for the moving average of weights (null: off)",
        ge=0,
        lt=1,
        neutral=None,
    )
    patience: int | None = result_flag(
        "stop after this many epochs without improvement in the metric (null: never)",
        ge=1,
        neutral=None,
    )
    min_delta: float = result_flag(
        "minimum improvement that counts for patience (0.001: 0.1 points)",
        ge=0,
        lt=1,
        only_with="training.patience",
    )
    select: EpochChoice = result_flag(
        "epoch whose weights are the run's model: best (by the metric) or last", neutral="best"
    )


@dataclass(frozen=True)
class StoreAddress:
    """Flags that select the MLflow store and experiment."""

    uri: str | None = other_flag(
        "URI of a server or database (null: mlflow.db in the outputs folder)"
    )
    experiment: str = other_flag("name of the MLflow experiment")


@dataclass(frozen=True)
class Tracking(StoreAddress):
    """Flags for logging to MLflow."""

    models: LoggedModels = other_flag(
        "runs whose best model is logged: best (of each configuration), all, or none"
    )
    plots: bool = other_flag(
        "log plots: learning curves, confusion matrix, misclassified images, and comparisons"
    )
    tags: Option = other_flag("custom tags for the run; for example, tracking.tags.note=first")


@dataclass(frozen=True)
class Sweep:
    """Flags for a sweep."""

    workers: int | None = other_flag(
        "number of concurrent runs (null: CPU cores divided by num_threads)", ge=1, le=4096
    )
    devices: list[int] = other_flag(
        "CUDA devices that the workers use in turn ([]: all); not tested on a GPU", neutral=[]
    )
    retries: int = other_flag("number of times to resume a run whose process died", ge=0, le=1000)
    max_failures: int | None = other_flag(
        "stop the sweep after this many failures in a row (null: no limit)", ge=1
    )
    max_jobs: int = other_flag(
        "maximum number of jobs; larger sweeps are refused", ge=1, neutral=100_000
    )
    zip: list[Any] = other_flag(
        "swept flags whose values are paired, not combined: [a,b] or [[a,b],[c,d]]", neutral=[]
    )
    skip: list[Any] = other_flag(
        "combinations of swept values to skip, such as [{optimizer:adam,optimizer.lr:0.1}]",
        neutral=[],
    )
    confirms: str | None = other_flag(
        "sweep whose leader is tested on new seeds (set by lenet-compare confirm=)", neutral=None
    )
    points: float | None = other_flag(
        "lead that a confirmation should detect, in percentage points", gt=0, lt=100, neutral=None
    )
    against: bool = other_flag(
        "whether the second configuration is a baseline (set by lenet-compare against=)",
        neutral=False,
    )
    within: float | None = other_flag(
        "add seeds until the best configuration is at most this much better than the leader, in "
        "percentage points or the unit of the metric (null: train only the listed seeds)",
        gt=0,
        neutral=None,
    )
    most_seeds: int | None = other_flag(
        "maximum number of seeds per configuration with sweep.within (null: 50)",
        ge=3,
        le=10_000,
        neutral=None,
    )
    time_limit: float | None = other_flag(
        "time limit per run, in seconds; longer runs fail (null: no limit)", gt=0
    )
    force: bool = other_flag("retrain finished runs")
    resume: str | None = other_flag("sweep to resume: last, ID, MLflow run ID, or folder")
    dry_run: bool = other_flag(
        "train nothing; print the planned runs, estimated time, and required disk space"
    )
    on_end: str | None = other_flag(
        "shell command to run at the end; reads a JSON summary from stdin (null: none)",
        neutral=None,
    )


HOOK = "sweep.on_end"  # configurations of jobs omit it; only the present command can set it


@dataclass(frozen=True)
class Search:
    """Flags for a search (`hydra/sweeper=search`); see searches/search.py."""

    sampler: SamplerName = other_flag(
        "sampler that suggests trials: tpe, gp, qmc, random, or grid", neutral=SamplerName.tpe
    )
    sampler_options: Option = other_flag(
        "options for Optuna's sampler, such as search.sampler_options.n_startup_trials=5",
        neutral={},
    )
    pruner: PrunerName = other_flag(
        "pruner that stops unpromising runs: asha, hyperband, median, or none",
        neutral=PrunerName.asha,
    )
    pruner_options: Option = other_flag(
        "options for Optuna's pruner, such as search.pruner_options.reduction_factor=3", neutral={}
    )
    objective: Objective = other_flag(
        "objective: accuracy, loss, epochs, seconds, "
        "or front (Pareto front of accuracy and search.cost)",
        neutral=Objective.accuracy,
    )
    seed: int = other_flag("seed for the sampler", ge=0, lt=2**63, neutral=0)
    cost: Cost = other_flag(
        "cost if search.objective=front: seconds (time to the best epoch) or parameters",
        neutral=Cost.seconds,
    )
    max_parameters: int | None = other_flag(
        "train only networks with at most this many parameters (null: no limit)", ge=1, neutral=None
    )
    target: float | None = other_flag(
        "validation accuracy (a fraction) to reach if search.objective=epochs or seconds",
        gt=0,
        le=1,
        neutral=None,
    )


@dataclass(frozen=True)
class Config:
    """The configuration of a run.

    `model`, `activation`, `optimizer`, `loss`, and `metric` are dicts with the dotted path of a
    class or function (`_target_`) and its keyword arguments.
    """

    dataset: Dataset = field(default_factory=Dataset)
    model: Option = result_flag(
        "network: name, _target_ (a torch.nn.Module), and arguments", neutral=LENET5
    )
    activation: Option = result_flag(
        "activation function: name, _target_ (a torch.nn.Module), whether monotone, arguments"
    )
    optimizer: Option = result_flag(
        "optimizer: name, _target_ (a torch.optim.Optimizer), lr, and arguments"
    )
    loss: Option = result_flag(
        "loss function: name, _target_ (a torch.nn.Module), and arguments", neutral=CROSS_ENTROPY
    )
    metric: Option = result_flag(
        "metric: name, _target_ (a function or class), direction, percent, and arguments",
        neutral=ACCURACY,
    )
    regularization: Regularization = field(default_factory=Regularization)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: Training = field(default_factory=Training)
    init_from: str | None = result_flag(
        "trained weights to start from: run, champion, champion:<dataset>, "
        "or .safetensors file (null: random)",
        neutral=None,
    )
    num_epoch: int = result_flag("number of passes over the training set", ge=1)
    batch_size: int = result_flag("number of images per step", ge=1, lt=2**63)
    num_iter_echo: int = other_flag("number of steps between logged values of step_loss", ge=1)
    seed: int = result_flag(
        "seed for the weights, data order, dropout, augmentation, and label noise", ge=0, lt=2**63
    )
    split_seed: int = other_flag(
        "seed for the split into training and validation images", ge=0, lt=2**63
    )
    device: str = other_flag(DEVICE)
    engine: EngineName = other_flag(
        "native (compiled for this CPU), torch, or auto (native if possible)",
        neutral=EngineName.auto,
    )
    num_threads: int | None = other_flag(
        "number of CPU threads (null: 1 with -m, otherwise all cores)", ge=1, le=1024
    )
    data_root: str = other_flag(
        "folder with the datasets in torchvision's layout (default: $LENET_EXP_DATA, else data)"
    )
    model_path: str | None = other_flag(
        "folder in which to save the best model so far as a .safetensors file (null: none)"
    )
    keep_state: bool = other_flag(
        "keep the final state, from which a run with more epochs continues", neutral=True
    )
    n_trials: int | None = other_flag(
        "search: number of trials, including earlier starts of it (null: no limit)",
        ge=1,
        neutral=None,
    )
    max_epochs: int | None = other_flag(
        "search: number of epochs after which no trial starts, in total (null: no limit)",
        ge=1,
        neutral=None,
    )
    max_seconds: float | None = other_flag(
        "seconds after which a search starts no trial and sweep.within adds no seed, in total "
        "(null: no limit)",
        gt=0,
        neutral=None,
    )
    seeds: int = other_flag(
        "search: maximum number of seeds per configuration", ge=1, le=1000, neutral=1
    )
    confirm: float | None = other_flag(
        "search: lead (percentage points) to confirm on new seeds (null: none)",
        gt=0,
        lt=100,
        neutral=None,
    )
    search: Search = field(default_factory=Search)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)


@dataclass(frozen=True)
class PredictConfig:
    """The configuration of `lenet-predict`: a model and either a test set or pictures."""

    dataset: Dataset = field(default_factory=Dataset)
    trained_model: str | None = result_flag(
        "model: registered name, name@alias, runs:/<MLflow run ID>, run folder, or file "
        "(null: champion)"
    )
    sweep: str | None = result_flag(
        "sweep whose leader is evaluated for every seed: last, ID, or folder (null: none)"
    )
    configurations: ScoredConfigurations = result_flag(
        "with sweep=: fixed (leader; all of a confirmation) or all"
    )
    ensemble: bool = result_flag(
        "with sweep=: also average the probabilities of a configuration's seeds"
    )
    trust: str | None = result_flag(
        "class, module, or sha256:<digest> to trust as the network or activation (null: none)"
    )
    images: list[str] = result_flag(
        "pictures to classify instead of the test set: files, folders, or patterns (*.png)"
    )
    batch_size: int = result_flag("number of images per batch", ge=1)
    output: str | None = result_flag("file for the results, .json or .csv (null: none)")
    device: str = result_flag(DEVICE)
    num_threads: int | None = result_flag("number of CPU threads (null: all cores)", ge=1)
    data_root: str = result_flag(
        "folder with the datasets in torchvision's layout (default: $LENET_EXP_DATA, else data)"
    )
    tracking: StoreAddress = field(default_factory=StoreAddress)


# Ranges of arguments that many of torch's optimizers share. The optimizers perform further checks.
OPTIMIZER_LIMITS: dict[str, dict[str, float | None]] = {
    "lr": {"gt": 0},
    "momentum": {"ge": 0, "lt": 1},
    "dampening": {"ge": 0, "le": 1},
    "alpha": {"ge": 0, "lt": 1},
    "eps": {"gt": 0},
    "betas": {"ge": 0, "lt": 1},
}


SCHEMAS: dict[str, type] = {"train": Config, "predict": PredictConfig}
