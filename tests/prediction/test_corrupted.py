"""lenet-predict corrupted=true: the corruptions of MNIST-C."""

from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
import torch

from lenet_exp.prediction.corruptions import CORRUPTIONS, corrupt
from tests.data.idx import MADE_UP, pictures, write_idx, write_mnist_like
from tests.tools.stores import client, files, runs

# From corruptions.py of google-research/mnist-c (aa07569) with the same random numbers, scikit-image 0.15's gaussian
# and AffineTransform, and ImageMagick 7.1.1: the mean pixel, and a sum of pixels with random weights.
PUBLISHED = {
    "shot_noise": (96.438, -27.266),
    "impulse_noise": (113.075, -25.228),
    "glass_blur": (108.874, -25.823),
    "motion_blur": (104.252, -20.587),
    "shear": (99.745, -16.691),
    "scale": (54.712, -10.312),
    "rotate": (95.968, -14.893),
    "brightness": (209.411, -38.210),
    "translate": (89.897, -10.368),
    "stripe": (138.421, -42.697),
    "fog": (131.172, -23.570),
    "spatter": (103.145, -23.570),
    "dotted_line": (113.712, -26.008),
    "zigzag": (118.587, -23.515),
    "canny_edges": (50.008, -21.463),
}


def some_images() -> torch.Tensor:
    images, _ = pictures(20)
    images[:, 5:20, 9:12] = 250
    images[10:, :, 16:] = 0
    return torch.from_numpy(images)


@pytest.mark.parametrize("name", PUBLISHED)
def test_corruption_matches_published_code_up_to_rounding(name):
    made = corrupt(some_images(), name).numpy().astype(float)
    weights = np.random.RandomState(0).uniform(-1, 1, made.shape)
    mean, weighted = PUBLISHED[name]
    assert made.mean() == pytest.approx(mean, abs=0.2)
    assert (made * weights).sum() / 1000 == pytest.approx(weighted, abs=0.15)


def test_corruptions_depend_only_on_image_and_position():
    assert list(CORRUPTIONS) == list(PUBLISHED)
    images = some_images()
    before = images.clone()
    for name in CORRUPTIONS:
        made = corrupt(images, name)
        assert (made.dtype, made.shape) == (torch.uint8, images.shape)
        assert torch.equal(made[:7], corrupt(images[:7], name))
        assert not torch.equal(made, images)
    assert torch.equal(images, before)


def test_corrupted_accuracies_are_printed_written_and_logged(main, ready, workdir, tmp_path):
    data = tmp_path / "data"
    raw = write_mnist_like(data, "KMNIST", *pictures(600))
    images, labels = pictures(60, seed=2)
    write_idx(raw / "t10k-images-idx3-ubyte", images)
    write_idx(raw / "t10k-labels-idx1-ubyte", labels)
    known = [MADE_UP, "dataset.sha256.t10k-images-idx3-ubyte=null", "dataset.sha256.t10k-labels-idx1-ubyte=null"]
    kmnist = ["dataset=kmnist", f"data_root={data}", *known]
    few = ("dataset.val_size=100", "batch_size=20", "num_epoch=1", "seed=0,1", "hydra/launcher=basic")
    main("-m", *kmnist, *few, "tracking.models=none", "tracking.plots=false", status=0)

    done = main("sweep=last", f"data_root={data}", "corrupted=true", "output=test.json", program="predict", status=0)
    (written,) = json.loads((workdir / "test.json").read_text())
    by_seed = sorted(runs(client(ready)), key=lambda run: run.data.params["seed"])
    for side, run in zip(written["runs"], by_seed, strict=True):
        corrupted = side["score"]["corrupted"]
        assert list(corrupted) == list(CORRUPTIONS)
        assert side["score"]["corrupted_mean"] == pytest.approx(statistics.fmean(corrupted.values()))
        metrics = run.data.metrics
        assert {name: metrics[f"test_accuracy_{name}"] for name in CORRUPTIONS} == corrupted
        assert metrics["test_accuracy_corrupted_mean"] == pytest.approx(side["score"]["corrupted_mean"])
        assert run.data.tags["test_opened"] == "1"
        assert "test_corruptions.png" in files(client(ready), run.info.run_id)
    mean = statistics.fmean(side["score"]["corrupted_mean"] for side in written["runs"])
    assert written["test_accuracy_corrupted_mean"] == pytest.approx(mean)
    assert f"{mean:.4f}" in done.stdout
    (sweep,) = runs(client(ready), "sweep")
    assert sweep.data.metrics["test_accuracy_corrupted_mean"] == pytest.approx(mean)


def test_images_of_unsupported_size_are_refused_before_evaluation(main, ready, workdir, monkeypatch):
    assert main("dataset=digits", "num_epoch=1", "batch_size=100", "tracking.plots=false").returncode == 0
    monkeypatch.setattr("lenet_exp.prediction.score.predict_logits", None)
    done = main("dataset=digits", "corrupted=true", program="predict")
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("lenet-predict: ")]
    assert done.returncode == 2
    assert "8x8" in message
    assert main("images=x.png", "corrupted=true", program="predict").returncode == 2
