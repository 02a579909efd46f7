"""Values that Python computes for the kernels: initial weights, images, learning rates, and
unsupported options.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from lenet_exp.config.image_shape import Normalization
from lenet_exp.config.schema import CROSS_ENTROPY, Augmentation, Regularization, Schedule, Training
from lenet_exp.data.normalization import normalize
from lenet_exp.data.resize import normalize_exactly
from lenet_exp.training.native.arithmetic import cosine, power, whole_power
from lenet_exp.training.native.initial import initialize
from lenet_exp.training.native.options import why_unsupported
from lenet_exp.training.native.target import AVX2, AVX512, NEON, find_target
from lenet_exp.training.schedule import lr_factor
from lenet_exp.training.state import new_training_state
from tests.training.small import ACTIVATIONS, OPTIMIZERS, configure


def test_cosine_and_power_are_accurate():
    for i in range(2001):
        x = math.pi * i / 2000
        assert cosine(x) == pytest.approx(math.cos(x), abs=3e-16)
        assert power(0.01, i / 2000) == pytest.approx(0.01 ** (i / 2000), rel=3e-16)
        assert whole_power(0.999, i) == pytest.approx(0.999**i, rel=1e-13)
    assert power(0.0, 0.0) == 1
    assert power(0.0, 0.5) == 0


@pytest.mark.parametrize("shape", ["linear", "cosine", "step", "one_cycle"])
def test_learning_rates_match_schedule(shape):
    schedule = configure(f"schedule={shape}").schedule
    for step in range(300):
        factor = lr_factor(schedule, step, 300, cosine, power)
        assert factor == pytest.approx(lr_factor(schedule, step, 300), rel=1e-13, abs=1e-16)


@pytest.mark.parametrize("model", ["lenet5", "lenet_300_100", "linear"])
def test_initial_weights_match_torch_up_to_rounding(model):
    flags = [f"model={model}", "seed=5", "activation=prelu"]
    torchs, ours = (new_training_state(configure(*flags), torch.device("cpu")) for _ in range(2))
    initialize(ours.model, 5)
    for mine, theirs in zip(ours.model.parameters(), torchs.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-8)
    initialize(ours.model, 6)
    assert not torch.equal(next(ours.model.parameters()), next(torchs.model.parameters()))


@pytest.mark.parametrize(("height", "width", "white"), [(28, 28, 255), (8, 8, 16), (50, 20, 255)])
def test_images_match_torch_up_to_rounding(height, width, white):
    pixels = torch.randint(white + 1, (70, height, width), dtype=torch.uint8)
    torch.testing.assert_close(
        normalize_exactly(pixels, white), normalize(pixels, white), rtol=0, atol=1e-6
    )
    other = (white, 28, Normalization([0.13], [0.31]))
    torch.testing.assert_close(
        normalize_exactly(pixels, *other), normalize(pixels, *other), rtol=0, atol=1e-5
    )


BUNDLED = [
    *(f"activation={name}" for name in ACTIVATIONS),
    *(f"optimizer={name}" for name in OPTIMIZERS),
]
BUNDLED += [
    "model=lenet5",
    "model=lenet_300_100",
    "model=linear",
    "model.pooling=average",
    "dataset.image_size=28",
]


@pytest.mark.parametrize("option", BUNDLED)
def test_kernels_support_all_bundled_options(option):
    assert why_unsupported(configure(option)) is None


def test_unsupported_option_is_named():
    config = configure()
    strange = {
        "activation=gelu": {"activation": {"_target_": "torch.nn.GELU"}},
        "optimizer=mine": {"optimizer": {"_target_": "torch.optim.ASGD", "name": "mine"}},
        "device=cuda": {"device": "cuda"},
        "schedule.own": {"schedule": replace(config.schedule, own={"_target_": "mine.Triangle"})},
        "augmentation.own": {
            "augmentation": replace(config.augmentation, own={"_target_": "mine.Noise"})
        },
        "loss=focal": {"loss": {"_target_": "lenet_exp.training.losses.Focal", "name": "focal"}},
        "loss.class_weights": {"loss": CROSS_ENTROPY | {"class_weights": "balanced"}},
        "activation.num_parameters=6": {
            "activation": {"_target_": "torch.nn.PReLU", "num_parameters": 6}
        },
    }
    for named, changed in strange.items():
        assert named in str(why_unsupported(replace(config, **changed)))


@pytest.mark.parametrize(
    ("section", "known"),
    [
        (Regularization, "weight_decay dropout_rate"),
        (Schedule, "shape warmup start final drops own"),
        (Augmentation, "shift rotate scale shear elastic elastic_sigma flip erase erase_size own"),
        (Training, "label_smoothing label_noise clip_norm ema_decay patience min_delta select"),
    ],
)
def test_kernels_ignore_no_flag_of_training_step(section, known):
    """Implement a new flag in the kernels, or refuse it in `why_unsupported`; then add it here."""
    assert [field.name for field in fields(section)] == known.split()


V3 = "flags : fpu avx avx2 fma bmi1 bmi2 f16c movbe abm"
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("machine", "flags", "target"),
    [
        ("x86_64", V4, AVX512),
        ("x86_64", V3, AVX2),
        ("x86_64", V3 + " avx512f", AVX2),
        ("x86_64", V3.replace(" fma", ""), "AVX2"),
        ("aarch64", "", NEON),
        ("riscv64", "", "riscv64"),
    ],
)
def test_target_matches_features_of_cpu(machine, flags, target):
    found = find_target(machine, f"processor : 0\n{flags}\n")
    assert target in found if isinstance(target, str) else found == target
