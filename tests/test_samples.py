"""docs/samples.py: what the pages' commands ask for is there, and is what it says."""

from __future__ import annotations

import hashlib

from docs import samples
from tests.commands import end, start

TRAIN = (
    "dataset=folder",
    "data_root=samples",
    "dataset.folder=set",
    "dataset.class_names=[circle,cross,square]",
    "dataset.val_size=30",
    "dataset.shows=things",
    "batch_size=10",
    "num_epoch=10",
)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_they_are_the_same_whenever_they_are_written(workdir, monkeypatch, capsys):
    monkeypatch.chdir(workdir)
    samples.main()
    first = digests(workdir)
    assert {"samples/seven.png", "samples/my scan.jpg", "samples/bill.jpg", "samples/ancestor.pkl"} < set(first)
    samples.main()
    assert digests(workdir) == first
    assert "samples/set" in capsys.readouterr().out


def test_they_are_answered_rightly_and_the_set_can_be_trained(workdir, outputs, monkeypatch):
    monkeypatch.chdir(workdir)
    samples.main()
    for model in ([], ["trained_model=samples/ancestor.pkl"]):
        asked = "images=[samples/seven.png,'samples/my scan.jpg',samples/bill.jpg]"
        done = end(start(asked, *model, outputs=outputs, program="predict", cwd=workdir))
        assert done.returncode == 0, done.stderr
        for line in ("seven.png: 7", "my scan.jpg: 4", "bill.jpg: 4 0 7"):
            assert f"samples/{line} " in done.stdout
    assert " ".join(TRAIN) in " ".join((samples.__doc__ or "").replace("'", "").split())
    trained = end(start(*TRAIN, "tracking.plots=false", outputs=outputs, cwd=workdir))
    assert trained.returncode == 0, trained.stderr
    accuracy = float(trained.stdout.partition("best validation accuracy ")[2].partition("%")[0])
    assert accuracy > 50
