"""The command line as a person meets it: mistakes, help, speed of help, other directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lenet_exp.api import compose
from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.plain import plain
from lenet_exp.config.schema import knobs
from lenet_exp.machine import versions
from lenet_exp.training.native.library import kernels
from tests.data.idx import MADE_UP, pictures, write_mnist_like

TRAIN = [sys.executable, "-m", "lenet_exp", "train"]

# What was typed -> what its one line has to say.
MISTAKES: dict[str, list[str]] = {
    "dataset=FashionMNIST": ["dataset=FashionMNIST", "did you mean fashion_mnist?", "qmnist"],
    "activation=swish": ["activation=swish", "leaky_relu"],
    "regularization=dropuot": ["did you mean dropout?"],
    "--dataset=MNIST": ["write dataset=mnist"],
    "--dropout_rate 0.3": ["regularization.dropout_rate"],
    "--num-epoch=5": ["write num_epoch=5"],
    "optimizer.lrr=1": ["optimizer.lrr", "did you mean optimizer.lr?"],
    "lr=0.1": ["did you mean optimizer.lr?"],
    "dropout_rate=0.1": ["did you mean regularization.dropout_rate?"],
    "datset=mnist": ["did you mean dataset?"],
    "+typo=1": ["typo", "no such flag"],
    "+lr=0.1": ["lr: no such flag", "did you mean optimizer.lr?"],
    "+sweep.forced=true": ["did you mean sweep.force?"],
    "seed=${nope}": ["seed=${nope}", "'nope' not found"],
    "data_root=${oc.env:NO_SUCH_VARIABLE}": ["data_root=", "NO_SUCH_VARIABLE"],
    "+optimizer.foo=1": ["optimizer.foo", "no such keyword"],
    "+activation.slope=1": ["activation.slope", "no such keyword"],
    "batch_size=abc": ["batch_size=abc", "a whole number"],
    "batch_size=0": ["batch_size=0", ">= 1"],
    "batch_size=99999999999999999999": ["batch_size=99999999999999999999", "< 2**63"],
    "batch_size=1.5": ["batch_size=1.5", "a whole number"],
    "num_epoch=0": ["num_epoch=0", ">= 1"],
    "num_epoch=null": ["num_epoch=null", "a whole number"],
    "dataset.class_names=3": ["dataset.class_names=3", "a list"],
    "tracking.tags=3": ["tracking.tags=3", "names with values"],
    "tracking.tags.kind=sweep": ["tracking.tags.kind=sweep", "the program's own", "fingerprint"],
    "tracking=null": ["tracking=null", "tracking.uri"],
    "sweep=3": ["sweep=3", "sweep.workers"],
    "seed=-1": ["seed=-1", ">= 0"],
    "num_threads=0": ["num_threads=0", ">= 1"],
    "num_threads=99999": ["num_threads=99999", "<= 1024"],
    "optimizer.lr=-1": ["optimizer.lr=-1", "> 0"],
    "optimizer.lr=0": ["optimizer.lr=0", "> 0"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "a number"],
    "optimizer.lr=nan": ["optimizer.lr=nan", "finite"],
    "optimizer.lr=inf": ["optimizer.lr=inf", "finite"],
    "optimizer.momentum=1": ["optimizer.momentum=1", "< 1"],
    "optimizer=adam optimizer.momentum=2": ["optimizer.momentum=2", "< 1"],
    "optimizer=adamw optimizer.momentum=abc": ["optimizer.momentum=abc", "a number"],
    "optimizer=adm": ["optimizer=adm", "did you mean adam?"],
    "optimizer.nesterov=true optimizer.momentum=0": ["SGD", "Nesterov momentum requires a momentum"],
    "optimizer.nesterov=maybe": ["optimizer.nesterov=maybe", "true or false"],
    "optimizer=adam optimizer.nesterov=true": ["optimizer.nesterov", "sgd has"],
    "optimizer=adam optimizer.betas=[0.9]": ["optimizer.betas", "2 numbers"],
    "optimizer=adam optimizer.betas=[0.9,1.5]": ["optimizer.betas", "< 1"],
    "+optimizer.fused=false": ["optimizer.fused", "the harness"],
    "+optimizer.weight_decay=1": ["regularization.weight_decay"],
    "regularization.dropout_rate=1": ["regularization.dropout_rate=1", "< 1"],
    "regularization.weight_decay=-1": ["regularization.weight_decay=-1", ">= 0"],
    "schedule=cosin": ["schedule=cosin", "did you mean cosine?"],
    "schedule.shape=zigzag": ["schedule.shape=zigzag", "constant or one_cycle or linear or cosine or step"],
    "schedule.warmup=0.1": ["schedule.warmup=0.1", "schedule=constant", "schedule=linear schedule.final=1"],
    "schedule=linear schedule.warmup=1": ["schedule.warmup=1", "< 1"],
    "schedule=step schedule.final=0": ["schedule.final=0", "> 0 with schedule=step"],
    "schedule=[linear,step]": ["schedule=[linear,step]", "-m: schedule=linear,step"],
    "augmentation=[shift,flp]": ["augmentation=flp", "did you mean flip?"],
    "augmentation=[null]": ["the overrides can't be read"],
    "augmentation.shift=2.5": ["augmentation.shift=2.5", "a whole number"],
    "augmentation.flip=2": ["augmentation.flip=2", "<= 1"],
    "training.ema_decay=1": ["training.ema_decay=1", "< 1"],
    "training.clip_norm=0": ["training.clip_norm=0", "> 0"],
    "training.patience=0": ["training.patience=0", ">= 1"],
    "experiment=mnist_bst": ["experiment=mnist_bst", "did you mean mnist_best?"],
    "-m schedule=linear,constant schedule.warmup=0.1": ["schedule.warmup=0.1", "(job: schedule=constant"],
    "activation=rrelu activation.lower=0.5": ["RReLU", "lower"],
    "activation.monotone=perhaps": ["activation.monotone=perhaps", "true or false"],
    "dataset=[mnist,digits]": ["dataset=[mnist,digits]", "-m: dataset=mnist,digits"],
    "dataset=mnist,digits": ["dataset=mnist,digits", "-m"],
    "optimizer.lr=[1,2": ["optimizer.lr=[1,2", "can't be read"],
    "seed=range(5)": ["seed=range(5): several values need -m"],
    "num_epoch": ["num_epoch", "can't be read", "name=value"],
    "dataset=digits batch_size = 32": ["batch_size", "name=value"],
    "=3": ["Got int"],
    "+=": ["can't be read"],
    "-m dataset=digits hydra.launcher.worker=3": ["hydra.launcher.worker: no such flag", "did you mean workers?"],
    "hydra.run.dir=/proc/x": ["/proc/x: No such file or directory"],
    "hydra.job.env_copy=[NOPE]": ["NOPE: there is no such name"],
    "activation._target_=torch.nn.Module": ["can't be applied in LeNet-5"],
    "num_threads=1024": ["num_threads=1024", "on this machine"],
    "dataset=digits model_path='~nouser/x'": ["~nouser/x", "allowed is a path"],
    "device=CUDA": ["device=CUDA", "did you mean cuda?"],
    "device=cuda:x": ["device=cuda:x", "cuda:<number>"],
    "device=tpu": ["device=tpu", "auto, cpu, cuda, cuda:<number> or mps"],
    "tracking.models=some": ["tracking.models=some", "all or best or none"],
    "tracking.uri=foo": ["tracking.uri=foo", "sqlite:///FILE"],
    "dataset.torchvision_class=CIFAR10": ["dataset.torchvision_class=CIFAR10", "MNIST, FashionMNIST, KMNIST or QMNIST"],
    "--config-dir": ["--config-dir", "expected one argument"],
    "--cfg nope": ["'nope'", "'job'"],
    "dataset=digits -m seed=1,2": ["seed=1,2", "together"],
    "--config-dir /no/such/folder": ["/no/such/folder", "not found"],
    "dataset.also_in=[[]]": ["dataset.also_in=[[]]", "a list of texts"],
    "dataset=digits dataset.val_size=5000": ["dataset.val_size=5000", "1500"],
    "dataset=digits dataset.train_size=1400": ["dataset.train_size=1400"],
    "dataset=digits model_path=/proc/models": ["model_path=/proc/models", "can't be written"],
    "-m optimizer.lr=0.1,-1": ["optimizer.lr=-1", "(job: optimizer.lr=-1)"],
    "-m activation=selu,swish": ["activation=swish"],
    "-m dataset=digits,FashionMNIST": ["did you mean fashion_mnist?"],
    "-m seed=1,abc": ["seed=abc", "a whole number", "(job: seed=abc)"],
    "-m seed=range(0)": ["seed=range(0)", "no value"],
    "-m +typo=1,2": ["typo: no such flag", "(job: +typo=1)"],
    "-m optimizer.nesterov=true optimizer.momentum=0.9,0": ["Nesterov", "(job: optimizer.nesterov=True optimizer.mom"],
    "-m optimizer=sgd,adam optimizer.nesterov=true": ["optimizer.nesterov", "sgd has"],
    "-m lr=0.1,0.2": ["did you mean optimizer.lr?"],
    "-m --lr=0.1": ["write optimizer.lr=0.1"],
    "-m dataset=digits tracking.experiment=a,b": ["tracking.experiment", "one value"],
}


def is_one_line(text: str, program: str = "lenet-train") -> bool:
    return text.startswith(f"{program}: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_line_with_status_2_and_leaves_nothing_behind(main, workdir, typed):
    ended = main(*typed.split())
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert is_one_line(ended.stderr)
    assert all(words in ended.stderr for words in MISTAKES[typed]), ended.stderr
    assert list(workdir.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_named_before_a_sweep_starts(main, workdir):
    ended = main("-m", "dataset=digits", "device=cpu,cuda")
    assert ended.returncode == 2
    assert is_one_line(ended.stderr)
    assert "device=cuda: not on this machine" in ended.stderr
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("group", "content", "says"),
    [
        ("activation", "negative_slope: 1\n", "no _target_"),
        ("activation", "_target_: torch.nn.NoSuch\n", "can't be imported"),
        ("activation", "_target_: nosuchmodule.Thing\n", "can't be imported"),
        ("activation", "_target_: torch.optim.SGD\n", "subclass of torch.nn"),
        ("activation", "_target_: os.system\n", "subclass of torch.nn"),
        ("activation", "_target_: torch.nn.GELU\nspeed: 3\n", "no such keyword"),
        ("activation", "_target_: torch.nn.ELU\nalhpa: 1\n", "did you mean alpha?"),
        ("activation", "_target_: ..ReLU\n", "can't be imported"),
        ("activation", "_target_: torch.nn.Linear\n", "refused"),
        ("activation", "_target_: [torch.nn.ReLU\n", "own.yaml, line 2: no YAML"),
        ("activation", "", "no _target_"),
        ("activation", "_target_: torch.nn.RReLU\n", "global random state"),
        ("activation", "_target_: torch.nn.GLU\n", "can't be applied"),
        ("activation", "_target_: torch.nn.PReLU\nnum_parameters: 6\n", "can't be applied"),
        ("optimizer", "_target_: torch.nn.ReLU\n", "subclass of torch.optim"),
        ("optimizer", "_target_: torch.optim.LBFGS\n", "weight_decay"),
        ("optimizer", "_target_: torch.optim.Rprop\n", "weight_decay=0.0005: Rprop has none; allowed is 0"),
        ("optimizer regularization=none", "_target_: torch.optim.LBFGS\n", "can't be applied to LeNet-5: LBFGS.step"),
        ("optimizer regularization=none", "_target_: torch.optim.SparseAdam\n", "can't be applied to LeNet-5"),
    ],
)
@pytest.mark.parametrize("seeds", ["seed=1", "seed=1,2"])
def test_an_option_file_of_ones_own_that_cannot_work_is_one_line(main, workdir, tmp_path, group, content, says, seeds):
    group, *more = group.split()
    (tmp_path / "mine" / group).mkdir(parents=True)
    (tmp_path / "mine" / group / "own.yaml").write_text(content)
    multirun = ["-m"] if "," in seeds else []
    ended = main("--config-dir", str(tmp_path / "mine"), *multirun, "dataset=digits", f"{group}=own", seeds, *more)
    assert ended.returncode == 2
    assert is_one_line(ended.stderr)
    assert says in ended.stderr
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("where", ["own.yaml", "activation/own.yaml"])
def test_a_pipe_among_ones_own_options_is_one_line_and_blocks_nothing(main, tmp_path, where):
    (tmp_path / "mine" / "activation").mkdir(parents=True)
    os.mkfifo(tmp_path / "mine" / where)
    ended = main("--config-dir", str(tmp_path / "mine"), "dataset=digits", "activation=own")
    assert ended.returncode == 2
    assert is_one_line(ended.stderr)
    assert f"{where} is not a regular file" in ended.stderr


@pytest.mark.parametrize("multirun", [[], ["-m", "seed=1,2"]])
@pytest.mark.parametrize("folder", ["/proc/outputs", "file", "file/outputs"])
def test_an_outputs_folder_that_cannot_be_written_is_one_line(main, workdir, monkeypatch, folder, multirun):
    (workdir / "file").touch()
    monkeypatch.setenv("LENET_EXP_OUTPUTS", folder)
    ended = main(*multirun, "dataset=digits")
    assert ended.returncode == 2
    assert is_one_line(ended.stderr)
    assert f"{folder}: can't be written" in ended.stderr
    assert [p.name for p in workdir.iterdir()] == ["file"]


def test_a_mistake_in_a_process_of_its_own(cli, workdir):
    ended = cli("optimizer.lr=-1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert is_one_line(ended.stderr)
    assert list(workdir.iterdir()) == []


def test_hydra_full_error_gives_the_traceback(cli):
    ended = cli("batch_size=abc", env={"HYDRA_FULL_ERROR": "1"})
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_missing_data_are_one_line_that_says_what_was_tried_and_what_else_can_be_done(main, workdir):
    ended = main("data_root=nowhere", "dataset=mnist")
    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    assert lines[-1].startswith("lenet-train: dataset=mnist: not found in ")
    assert all(words in lines[-1] for words in ("nowhere/MNIST/raw", "data_root", "dataset=digits"))
    assert list(workdir.iterdir()) == []


DRIVER = """
import runpy, sys
sys.argv[1:] = ["train", *{arguments!r}]
try:
    runpy.run_module("lenet_exp", run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code, left.code
heavy = {{"torch", "mlflow", "pandas", "numpy", "matplotlib", "sklearn", "torchvision"}} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "--resolve"], ["-sc", "query=bash"]]
)
def test_looking_imports_nothing_heavy(workdir, arguments):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER.format(arguments=arguments)],
        capture_output=True,
        text=True,
        cwd=workdir,
        env=os.environ | {"COMP_LINE": "lenet-train dataset=", "COMP_POINT": "20"},
    )
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    assert list(workdir.iterdir()) == []


def test_a_package_that_is_not_there_is_a_mistake_too(main):
    done = main("--cfg", "job", "-p", "nope")
    assert (done.returncode, done.stderr) == (2, "package 'nope' not found in config\n")


@pytest.mark.parametrize("program", ["train", "predict", "compare", "sweep", "ui", "export"])
def test_the_version_is_lenet_exps(main, program):
    assert main("--version", program=program).stdout == f"lenet-{program} {versions()['lenet_exp']}\n"


def test_help_explains_groups_flags_and_examples(cli):
    text = cli("--help").stdout
    groups = [p.name for p in CONF_DIR.iterdir() if p.is_dir()]
    options = [f.stem for f in CONF_DIR.glob("dataset/*.yaml")]
    assert all(word in text for word in [*groups, *options, "lenet-train -m ", "--config-dir"])
    assert all(f"\n  {flag} " in text for flag, _, _ in knobs())


def test_completion_offers_the_options_of_a_group(cli):
    ended = cli("-sc", "query=bash", env={"COMP_LINE": "lenet-train activation=", "COMP_POINT": "23"})
    assert set(ended.stdout.split()) == {f"activation={f.stem}" for f in CONF_DIR.glob("activation/*.yaml")}


def test_a_reader_that_closes_the_pipe_early_gets_no_traceback(workdir):
    done = subprocess.run(
        f"{' '.join(TRAIN)} --help | head -1", shell=True, capture_output=True, text=True, cwd=workdir
    )
    assert done.stdout.startswith("lenet-train")
    assert done.stderr == ""


def test_what_would_be_trained_is_shown_as_it_would_be_trained(main, workdir):
    overrides = ["dataset=digits", "optimizer=adam", "optimizer.lr=1e-3", "tracking.tags.note=first"]
    ended = main(*overrides, "--cfg", "job", "--resolve")
    assert ended.returncode == 0
    assert yaml.safe_load(ended.stdout) == plain(compose(overrides))
    assert list(workdir.iterdir()) == []


def test_a_run_from_another_directory_with_relative_folders(cli, workdir, empty_store):
    shutil.copytree(empty_store, workdir / "results")
    write_mnist_like(workdir / "sets", "KMNIST", *pictures(200))
    small = ["dataset=kmnist", MADE_UP, "dataset.val_size=50", "batch_size=50", "num_epoch=1", "tracking.models=none"]
    ended = cli(*small, "model_path=models", env={"LENET_EXP_OUTPUTS": "results", "LENET_EXP_DATA": "sets"})
    assert ended.returncode == 0, ended.stderr
    assert {p.name for p in workdir.iterdir()} == {"results", "sets", "models"}
    assert len(list((workdir / "results" / "runs").iterdir())) == 1
    assert [p.suffix for p in (workdir / "models").iterdir()] == [".safetensors"]


@pytest.mark.slow(seconds=16)
def test_an_installed_wheel_works_without_the_checkout(tmp_path):
    root = CONF_DIR.parent
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(root)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    # The dependencies of this environment, but not its link to the checkout.
    (site / "dependencies.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
    (tmp_path / "elsewhere").mkdir()
    run = [str(tmp_path / "venv" / "bin" / "lenet-train"), "-m", "dataset=digits", "num_epoch=1", "seed=1,2"]
    done = subprocess.run(run, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished" in done.stdout
    (page,) = (tmp_path / "elsewhere").glob("outputs/mlartifacts/**/comparison.html")
    assert "echarts" in page.read_text()
    if not isinstance(kernels(), str):  # their sources are in the wheel
        assert "engine: native, compiled for" in done.stderr
    where = "import lenet_exp.config.compose as c; print(c.CONF_DIR)"
    found = subprocess.run(
        [python, "-c", where], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()) == site / "lenet_exp" / "conf"
