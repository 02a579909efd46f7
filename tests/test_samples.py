"""benchmarks/samples.py writes the files for the commands in the documentation."""

from __future__ import annotations

import json

import pytest

from benchmarks import samples

TRAIN = "dataset=folder data_root=samples dataset.folder=set dataset.val_size=30 batch_size=10"


@pytest.mark.slow(seconds=5)
def test_sample_images_are_predicted_and_sample_dataset_trains(main, ready):
    samples.main()
    for model in ([], ["trained_model=samples/ancestor.pkl"]):
        done = main("images=[samples/seven.png,'samples/my scan.jpg']", *model, program="predict")
        assert done.returncode == 0, done.stderr
        for line in ("seven.png: 7", "my scan.jpg: 4"):
            assert f"samples/{line} " in done.stdout
    assert TRAIN in " ".join((samples.__doc__ or "").replace("'", "").split())
    main(*TRAIN.split(), "num_epoch=10", "tracking.plots=false", "tracking.models=none", status=0)
    (record,) = (ready / "runs").glob("*/record.json")
    assert json.loads(record.read_text())["best_val_accuracy"] > 0.5
