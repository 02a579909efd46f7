"""The engine of a run: its choice when the job is made, the message about it, and its use until the
run ends.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lenet_exp.config.schema import EngineName
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import freeze_jobs, lone_job
from lenet_exp.runs.run import run
from lenet_exp.tracking.uploader.uploads import Followed, uploads
from lenet_exp.training.native import target
from lenet_exp.training.native.build import build
from lenet_exp.training.native.library import describe_kernels, kernels
from tests.tools.commands import SMALL, Done, end, lenet_train, start
from tests.tools.configs import compose
from tests.tools.counts import counts
from tests.tools.stores import client, runs

QUICK = (
    *SMALL,
    "dataset.train_size=320",
    "num_epoch=2",
    "tracking.plots=false",
    "tracking.models=none",
)

pytestmark = pytest.mark.skipif(
    isinstance(kernels(), str), reason=f"no native engine here: {kernels()}"
)


@pytest.fixture
def no_compiler(tmp_path) -> dict[str, str]:
    """Return the environment of a machine without a compiler and without cached kernels."""
    return {"PATH": str(tmp_path), "CXX": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def without_kernels(no_compiler, monkeypatch):
    """Run this process as on a machine without a compiler, and hide the extra that contains one."""
    for name, value in no_compiler.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lenet_exp.training.native.compiler.find_spec", lambda name: None)
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@pytest.fixture
def only_lenet5(tmp_path, monkeypatch) -> Path:
    """Return a cache with the kernels of LeNet-5's shape only."""
    cache = tmp_path / "cache" / "lenet_exp" / "native"
    cache.mkdir(mode=0o700, parents=True)
    cache.parent.chmod(0o700)
    library = build().path
    for file in (library, library.with_suffix(".sha256")):
        shutil.copy2(file, cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache


def trained(*more: str, engine: EngineName | None = None, prune_at: int | None = None) -> RunResult:
    config = compose([*QUICK, *more])
    job = lone_job(config)
    if engine is not None:
        job = replace(job, engine=engine)
    with uploads(Followed(job.folder, config.tracking)):
        return run(
            job,
            command="lenet-train",
            default_threads=1,
            prune=lambda result: result.epoch == prune_at,
        )


def only_record(done: Done, outputs: Path) -> Any:
    assert done.returncode == 0, done.stderr
    (folder,) = (outputs / "runs").iterdir()
    return RunFolder(folder).record()


def engine_message(done: Done) -> str:
    lines = done.stderr.splitlines()
    (message,) = [line for line in lines if re.search("engine (torch|native)", line)]
    return message


def test_auto_engine_is_native_if_all_options_are_supported(ready):
    done = lenet_train(*QUICK, outputs=ready)
    record = only_record(done, ready)
    assert describe_kernels() in engine_message(done)
    assert record.engine == "native"
    assert record.execution["kernel"] == "native 1"
    assert record.execution["compiled"] == describe_kernels()
    (logged,) = runs(client(ready))
    assert logged.data.params["engine"] == "native"
    assert record.best_val_accuracy > 0.3


def test_custom_activation_is_trained_by_torch_with_note(ready, tmp_path):
    options = tmp_path / "mine" / "activation"
    options.mkdir(parents=True)
    (options / "gelu.yaml").write_text("name: gelu\n_target_: torch.nn.GELU\nmonotone: false\n")
    line = (f"--config-dir={options.parent}", *QUICK, "activation=gelu")
    done = lenet_train(*line, outputs=ready)
    record = only_record(done, ready)
    assert "activation=gelu" in engine_message(done)
    assert record.engine == "torch"
    assert record.execution["kernel"] == "eager"

    refused = lenet_train(*line, "engine=native", outputs=ready)
    assert refused.returncode == 2
    (message,) = refused.stderr.splitlines()
    assert message.startswith("lenet-train: engine=native: ")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("no compiler", "pip install"),
        ("a compiler that refuses", "no such thing"),
        ("a cache of others", "only you can write"),
        ("an old CPU", "AVX2"),
    ],
)
def test_torch_trains_with_note_without_kernels(
    ready, no_compiler, without_kernels, monkeypatch, trouble, reason
):
    cache = Path(no_compiler["XDG_CACHE_HOME"])
    if trouble == "a compiler that refuses":
        fake = cache.with_name("fake")
        fake.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit 0\n'
            'echo "error: no such thing" >&2\nexit 1\n'
        )
        fake.chmod(0o755)
        monkeypatch.setenv("CXX", str(fake))
    elif trouble == "a cache of others":
        (cache / "lenet_exp").mkdir(parents=True)
        (cache / "lenet_exp").chmod(0o777)
    elif trouble == "an old CPU":
        cache.with_name("cpuinfo").write_text("flags : fpu sse2\n")
        monkeypatch.setattr(target, "CPUINFO", cache.with_name("cpuinfo"))
        monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")

    done = lenet_train(*QUICK, outputs=ready)

    assert only_record(done, ready).engine == "torch"
    assert reason in engine_message(done)
    if trouble == "no compiler":
        refused = lenet_train(*QUICK, "engine=native", outputs=ready)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize(
    "method", [("seed=0,1",), ("hydra/sweeper=search", "n_trials=2", "optimizer.lr=0.01,0.02")]
)
def test_sweep_process_compiles_each_network_shape_once(ready, only_lenet5, method):
    """A dry run does not compile."""
    line = ("-m", *QUICK, *method, "model.channels=[2,4]", "sweep.workers=2")
    assert lenet_train(*line, "sweep.dry_run=true", outputs=ready).returncode == 0
    assert len(list(only_lenet5.glob("*.so"))) == 1
    done = lenet_train(*line, outputs=ready)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiling the native engine") == 1
    assert len(list(only_lenet5.glob("*.so"))) == 2


@pytest.mark.slow(seconds=4)
def test_worker_without_compiler_fails_its_job_in_one_line(ready, no_compiler):
    """The sweep's process has a compiler, and the environment of its jobs has none."""
    environment = [f"+hydra.job.env_set.{name}='{value}'" for name, value in no_compiler.items()]
    done = lenet_train("-m", *QUICK, "seed=0", "sweep.workers=1", *environment, outputs=ready)
    assert done.returncode == 1
    assert counts(done) == ({"failed": 1}, 1, 0)
    assert sum("engine=native" in line for line in done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr + done.stdout


def test_swept_engines_are_separate_runs(ready):
    done = lenet_train(
        "-m", *QUICK, "engine=native,torch,auto", "hydra/launcher=basic", outputs=ready
    )
    assert counts(done) == ({"finished": 3}, 2, 1)
    assert sorted(run.data.params["engine"] for run in runs(client(ready))) == ["native", "torch"]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_batch_larger_than_training_data_is_one_step_per_epoch(engine, ready):
    line = (*QUICK, f"engine={engine}", "augmentation=shift", "batch_size=9223372036854775806")
    done = lenet_train("-m", *line, "sweep.dry_run=true", outputs=ready)
    assert done.returncode == 0, done.stderr
    done = lenet_train(*line, outputs=ready)
    assert done.returncode == 0, done.stderr
    assert only_record(done, ready).epochs == 2


def test_swept_devices_are_separate_runs(outputs, monkeypatch):
    # as if both devices existed
    monkeypatch.setattr("lenet_exp.runs.jobs.choose_device", torch.device)
    devices = ("cpu", "cuda", "cpu")
    configs = [compose([*QUICK, "engine=torch", f"device={device}"]) for device in devices]
    overrides = [[f"device={config.device}"] for config in configs]

    cpu, cuda, second_cpu = freeze_jobs(["device"], overrides, configs)

    assert cpu.fingerprint == cuda.fingerprint
    assert cpu.fingerprint == second_cpu.fingerprint
    assert cpu.run == second_cpu.run
    assert cpu.run != cuda.run


def test_native_run_does_not_depend_on_threads(ready):
    line = ("-m", *QUICK, "num_threads=1,2", "hydra/launcher=basic")
    assert counts(lenet_train(*line, outputs=ready)) == ({"finished": 2}, 1, 1)


@pytest.mark.parametrize("first", [EngineName.torch, EngineName.native])
def test_resumed_run_keeps_engine(ready, first):
    """The engine stays the same even if `engine=auto` would now select the other engine."""
    pruned = trained("engine=auto", engine=first, prune_at=1)
    assert pruned.record.engine == first
    other = EngineName.native if first is EngineName.torch else EngineName.torch
    resumed = trained("engine=auto", engine=other)
    assert resumed.record.engine == first
    assert resumed.record.resumed == 1


def test_torch_run_of_other_torch_starts_over_with_engine_of_job(ready, caplog):
    """After a change of the torch version, a run cannot resume, so `engine=auto` may select the
    faster engine.
    """
    pruned = trained("engine=auto", engine=EngineName.torch, prune_at=1)
    for name in ("job.json", "record.json"):
        path = pruned.folder / name
        content = json.loads(path.read_text())
        content["versions"]["torch"] = "1.0"
        content.pop("digest", None)
        path.write_text(json.dumps(content))

    restarted = trained("engine=auto")

    assert restarted.record.engine == "native"
    assert restarted.record.resumed == 0
    assert restarted.record.epochs == 2


def test_run_starts_over_if_another_engine_is_requested(ready, caplog):
    caplog.set_level("INFO")
    trained("engine=torch", prune_at=1)
    restarted = trained("engine=native")
    assert restarted.record.engine == "native"
    assert restarted.record.resumed == 0
    assert "engine=torch (now native)" in caplog.text


@pytest.mark.slow(seconds=7)
def test_native_run_is_reproduced_with_other_cpu_capability_and_threads(ready):
    """Environment variables emulate the other CPU as far as one machine can."""
    line = (*QUICK, "augmentation=[affine,elastic,flip]", "num_threads=1")
    assert lenet_train(*line, outputs=ready).returncode == 0
    (folder,) = (ready / "runs").iterdir()
    other = {"ATEN_CPU_CAPABILITY": "default", "OMP_DYNAMIC": "true"}
    done = end(
        start(f"run={folder.name}", outputs=ready, program="reproduce", cold=True, env=other)
    )
    assert done.returncode == 0, done.stdout + done.stderr
