"""The command line: invalid commands, help and its speed, and other directories."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lenet_exp.api import compose
from lenet_exp.config.flags import all_flags
from lenet_exp.config.schema import Config, PredictConfig
from lenet_exp.config.typed_json import to_plain
from lenet_exp.machine import versions
from lenet_exp.package_files import CONF_DIR
from lenet_exp.training.native.library import kernels
from tests.data.idx import MADE_UP, pictures, write_mnist_like
from tests.tools.commands import refused, succeeded
from tests.training.trained.test_ancestor import Call

# Invalid commands whose error repeats the typed text ...
REFUSED = """
    seed=${nope} batch_size=abc batch_size=0 num_epoch=null dataset.also_in=[[]] optimizer.lr=nan
    optimizer.momentum=1 optimizer.lr=[1,2 num_threads=1024
"""
# ... and invalid commands whose error contains other texts.
MISTAKES = {typed: [typed] for typed in REFUSED.split()} | {
    "=3": ["int"],
    "augmentation=[null]": ["name=value"],
    "dataset=digits model_path=/proc/models": ["model_path=/proc/models"],
    "dataset=FashionMNIST": ["fashion_mnist", "qmnist"],
    "activation=swish": ["leaky_relu"],
    "--dataset=MNIST": ["dataset=mnist"],
    "--dropout_rate 0.3": ["regularization.dropout_rate=0.3"],
    "--dataset digits": ["dataset=digits?"],
    "--epochs 5 seed=1": ["num_epoch=5?"],
    "--epochs seed=1": ["num_epoch=x?"],
    "optimizer.lrr=1": ["optimizer.lr?"],
    "lr=0.1": ["optimizer.lr?"],
    "+typo=1": ["typo"],
    "+optimizer.foo=1": ["optimizer.foo"],
    "+optimizer.weight_decay=1": ["regularization.weight_decay"],
    "batch_size=99999999999999999999": ["2**63"],
    "tracking.tags.kind=sweep": ["fingerprint"],
    "optimizer.nesterov=maybe": ["true"],
    "optimizer.nesterov=true optimizer.momentum=0": ["SGD", "momentum"],
    "optimizer=adam optimizer.nesterov=true": ["optimizer.nesterov", "sgd"],
    "schedule.shape=zigzag": ["one_cycle"],
    "schedule=[linear,step]": ["schedule=linear,step"],
    "augmentation=[shift,flp]": ["augmentation=flp", "flip"],
    "activation._target_=torch.nn.Module": ["LeNet-5"],
    "dataset=mnist,digits": ["-m"],
    "model.channels=6,16": ["'model.channels=[6,16]'"],
    "optimizer=adam optimizer.betas=0.9,0.99": ["'optimizer.betas=[0.9,0.99]'"],
    "model.channels=[6,16],[12,32]": ["-m"],
    "-m seed=0,1,": ["comma"],
    "-m model.channels=(6,16),(12,32)": ["'model.channels=[6,16],[12,32]'"],
    "-m seed=range(3": ["( without a )"],
    "-m seed=range(3))": [") without a ("],
    "model.channels=[6,16": ["[ without a ]"],
    "tracking.tags={a:1}}": ["} without a {"],
    "tracking.tags.note=a=b": [
        "lenet-train: tracking.tags.note=a=b: ",
        """'tracking.tags.note="a=b"'""",
    ],
    "optimizer.lr==0.1": ["single equals sign"],
    "-m seed=range('1','3')": ["range"],
    "tracking.tags={a:'x'": ["{ without a }"],
    "data_root=it's": ["a quote"],
    "data_root=/a(b)": ["""'data_root="/a(b)"'"""],
    "-m optimizer.lr=uniform(0.001,0.1)": ["'optimizer.lr=interval(0.001,0.1)'"],
    "-m optimizer.lr=loguniform(0.001,0.1)": ["'optimizer.lr=tag(log,interval(0.001,0.1))'"],
    "-m optimizer.lr=randint(1,3)": ["interval()"],
    "-m optimizer.lr=interval(a,b)": ["str"],
    "loss.class_weights=1,2": ["'loss.class_weights=[1,2]'"],
    "sweep.zip=seed,activation": ["'sweep.zip=[seed,activation]'"],
    "seed=[0,1,2]": ["-m seed=0,1,2"],
    "optimizer.lr=[0.1,0.2]": ["-m optimizer.lr=0.1,0.2"],
    "-m seed=0-3": ["-m 'seed=range(0,4)'"],
    "num_epoch=2..5": ["-m 'num_epoch=range(2,6)'"],
    "num_epoch": ["name=value"],
    "-m dataset=digits hydra.launcher.worker=3": ["hydra.launcher.worker", "workers?"],
    "hydra.launcher.xyzzy=3": ["hydra.launcher.xyzzy", "time_limit"],
    "device=CUDA": ["cuda"],
    "tracking.uri=foo": ["sqlite:///"],
    "dataset=digits dataset.val_size=5000": ["dataset.val_size=5000", "1,500"],
    "--config-dir /no/such/folder": ["/no/such/folder"],
    "dataset=digits -m seed=1,2": ["seed=1,2"],
    "-m optimizer.lr=0.1,-1": ["job: optimizer.lr=-1"],
    "-m schedule=linear,constant schedule.warmup=0.1": [
        "schedule.warmup=0.1",
        "job: schedule=constant",
    ],
    "-m dataset=digits,FashionMNIST": ["dataset=FashionMNIST", "fashion_mnist"],
}


def is_one_line(text: str, program: str = "lenet-train") -> bool:
    return text.startswith(f"{program}: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("typed", MISTAKES)
def test_invalid_command_is_one_line_with_status_2_and_writes_nothing(main, workdir, typed):
    refused(main(*typed.split()), *MISTAKES[typed])
    assert list(workdir.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_missing_device_is_reported_before_sweep_starts(main, workdir):
    refused(main("-m", "dataset=digits", "device=cpu,cuda"), "device=cuda:")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "content", "expected"),
    [
        ("activation=own", "negative_slope: 1\n", "_target_"),
        ("activation=own", "_target_: nosuchmodule.Thing\n", "nosuchmodule.Thing"),
        ("activation=own", "_target_: os.system\n", "os.system"),
        ("activation=own", "_target_: torch.nn.ELU\nalhpa: 1\n", "alpha?"),
        ("activation=own", "_target_: [torch.nn.ReLU\n", "own.yaml, line 2"),
        ("activation=own", "_target_: torch.nn.RReLU\n", "rrelu"),
        ("activation=own -m seed=1,2", "_target_: torch.nn.GLU\n", "glu"),
        ("optimizer=own -m seed=1,2", "_target_: torch.optim.LBFGS\n", "weight_decay"),
        ("optimizer=own regularization=none", "_target_: torch.optim.LBFGS\n", "LBFGS.step"),
    ],
)
def test_unusable_own_option_file_is_one_line(main, workdir, tmp_path, typed, content, expected):
    folder = tmp_path / "mine" / typed.partition("=")[0]
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(content)
    words = sorted(typed.split(), key=lambda word: word != "-m")
    refused(main("--config-dir", str(tmp_path / "mine"), *words, "dataset=digits"), expected)
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "multirun"), [("/proc/outputs", []), ("file", ["-m", "seed=1,2"])]
)
def test_unwritable_outputs_folder_is_one_line(main, workdir, monkeypatch, folder, multirun):
    (workdir / "file").touch()
    monkeypatch.setenv("LENET_EXP_OUTPUTS", folder)
    refused(main(*multirun, "dataset=digits"), folder)
    assert [p.name for p in workdir.iterdir()] == ["file"]


def test_removed_working_directory_is_one_line(cli, workdir):
    refused(cli("dataset=digits", preexec_fn=workdir.rmdir), "directory")


@pytest.mark.parametrize(("full", "status"), [("", 2), ("1", 1)])
def test_traceback_is_printed_only_with_hydra_full_error(cli, workdir, full, status):
    ended = cli("batch_size=abc", env={"HYDRA_FULL_ERROR": full})
    assert ended.returncode == status
    assert ended.stdout == ""
    assert ("Traceback" in ended.stderr) == (full == "1")
    assert is_one_line(ended.stderr) == (full == "")
    assert list(workdir.iterdir()) == []


def test_missing_dataset_is_one_line_with_tried_folder_and_alternatives(main, workdir):
    ended = main("data_root=nowhere", "dataset=mnist")
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[-1]
    for words in ("dataset=mnist", "nowhere/MNIST/raw", "data_root", "dataset=digits"):
        assert words in line
    assert list(workdir.iterdir()) == []


# Hydra 1.3 unpickles the file of this option.
SPELLINGS = [
    ["--experimental-rerun", "FILE"],
    ["--experimental-rerun=FILE"],
    ["--e", "FILE"],
    ["-m", "--experimental-rerun=FILE", "dataset=digits"],
    ["--cfg", "job", "dataset=digits", "--exp=FILE"],
]


@pytest.mark.parametrize("spelled", SPELLINGS, ids=" ".join)
def test_experimental_rerun_is_refused_before_file_is_opened(spelled, main, outputs, tmp_path):
    file = tmp_path / "config.pickle"
    file.write_bytes(pickle.dumps(Call(open, str(tmp_path / "ran"), "w")))
    words = [word.replace("FILE", str(file)) for word in spelled]

    for program in ("train", "predict"):
        done = main(*words, program=program)
        refused(done, f"lenet-{program}: --experimental-rerun: ", program=program)

    assert not (tmp_path / "ran").exists()
    assert not outputs.exists()


DRIVER = """
import runpy, sys
sys.argv[1:] = ["train", *{arguments!r}]
try:
    runpy.run_module("lenet_exp", run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code, left.code
heavy = {{"torch", "mlflow", "pandas", "numpy", "matplotlib", "sklearn", "torchvision"}}
print("heavy:", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job", "--resolve"], ["-sc", "query=bash"]]
)
def test_help_and_completion_import_no_heavy_library(workdir, arguments):
    command = [sys.executable, "-c", DRIVER.format(arguments=arguments)]
    environment = os.environ | {"COMP_LINE": "lenet-train dataset=", "COMP_POINT": "20"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=workdir, env=environment)
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stderr
    assert list(workdir.iterdir()) == []


# Invalid commands that are refused without torch, which takes seconds to load.
QUICKLY_FOUND = """
    train --nope
    train batch_size=abc
    train optimizer.lrr=1
    train optimizer=sdg
    train optimizer.lr=-1
    train optimizer.momentum=x
    train schedule.shape=zigzag
    train tracking.uri=foo
    train -m dataset=digits optimizer.lr=0.1,-1
    train -m dataset=digits num_epoch=1,x
    train -m dataset=digits seed=1,2 hydra.launcher.workers=0
    train -m hydra/sweeper=search dataset=digits optimizer.lr=0.1,0.2 n_trials=0
    train -m hydra/sweeper=search n_trials=2 regularization.dropout_rate=interval(0,2)
    predict batch_size=0
    predict device=gpu
    compare by=worst
    sweep list sweep=last
    sweep rm sweep=last dry_run=yes
    ui port=x
    ui token=a,b
    sync which=last
    reproduce run=x check=yes
    export format=txt
"""
MISTAKEN = """
import sys
from importlib import import_module
from hydra.core.global_hydra import GlobalHydra
for line in {lines!r}:
    program, *arguments = line.split()
    GlobalHydra.instance().clear()
    sys.argv = [f"lenet-{{program}}", *arguments]
    try:
        import_module(f"lenet_exp.commands.{{program}}").main()
    except SystemExit as left:
        print(left.code, "torch" in sys.modules or "mlflow" in sys.modules, line)
"""


def test_invalid_flag_or_value_is_refused_before_torch_is_loaded(workdir):
    lines = QUICKLY_FOUND.strip().splitlines()
    code = MISTAKEN.format(lines=lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=workdir)
    assert done.stdout.splitlines() == [f"2 False {line}" for line in lines], done.stderr
    assert done.stderr.count("\n") == len(lines)
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("program", ["train", "predict", "compare", "sweep", "ui", "export"])
def test_version_option_prints_version_of_lenet_exp(main, program):
    printed = main("--version", program=program).stdout
    assert printed == f"lenet-{program} {versions()['lenet_exp']}\n"


GROUPS = {p.name for p in CONF_DIR.iterdir() if p.is_dir()}


def listed(page: str) -> list[str]:
    return re.findall(r"^  ([\w.]+)=", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("program", "schema", "groups"),
    [("train", Config, GROUPS), ("predict", PredictConfig, {"dataset"})],
)
def test_help_lists_each_flag_once_and_stays_short(main, program, schema, groups):
    short_page = main("--help", program=program).stdout
    whole_page = main("--help-all", program=program).stdout

    flags = {flag for flag, _, _ in all_flags(schema)} | groups
    in_short = listed(short_page)
    in_whole = listed(whole_page)
    for names in (in_short, in_whole):
        assert len(names) == len(set(names))

    only_in_whole = {flag for flag in flags if flag.startswith(("dataset.", "search.", "sweep."))}
    assert flags - set(in_whole) == set()
    assert flags - only_in_whole - set(in_short) == set()
    for flag in in_short:
        assert not flag.startswith(("dataset.", "search.", "sweep."))
    groups_of_options = {flag.partition(".")[0] for flag in set(in_whole) - flags}
    assert groups_of_options <= {"activation", "loss", "model", "optimizer"}

    assert len(short_page.splitlines()) <= 100
    assert "--config-dir" in short_page
    for file in CONF_DIR.glob("dataset/*.yaml"):
        assert file.stem in short_page


def test_help_shows_overridden_values(main):
    line = ("-m", "optimizer=adam", "optimizer.lr=0.5", "schedule=cosine", "seed=1,2")
    page = main(*line, "--help").stdout
    assert "optimizer.eps" in listed(page)
    assert "optimizer.lr" in listed(page)
    for value in ("optimizer=adam", "optimizer.lr=0.5", "schedule.shape=cosine"):
        assert f"\n  {value} " in page
    assert "optimizer=nope" in main("optimizer=nope", "--help").stderr


def test_completion_offers_the_options_of_a_group(main, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "lenet-train activation=")
    monkeypatch.setenv("COMP_POINT", "23")
    ended = main("-sc", "query=bash")
    options = {f"activation={file.stem}" for file in CONF_DIR.glob("activation/*.yaml")}
    assert set(ended.stdout.split()) == options


def test_number_with_too_many_digits_is_refused_with_its_flag(main):
    done = main("dataset=digits", f"optimizer.lr={'9' * 5000}")
    line = refused(done, "optimizer.lr=9", "4,300 digits")
    assert len(line) < 1000


@pytest.mark.parametrize("package", ["nope", "hydra.job", "sweep.on_end"])
def test_unknown_part_of_configuration_is_refused(main, package):
    refused(main("--cfg", "job", "-p", package), f"--package {package}: not found")


def test_cfg_job_prints_configuration_to_be_trained(main, workdir):
    overrides = [
        "dataset=digits",
        "optimizer=adam",
        "optimizer.lr=1e-3",
        "tracking.tags.note=first",
    ]
    ended = main(*overrides, "--cfg", "job", "--resolve")
    assert ended.returncode == 0
    assert yaml.safe_load(ended.stdout) == to_plain(compose(overrides))
    assert list(workdir.iterdir()) == []


def test_relative_folders_start_from_working_directory(main, workdir, empty_store, monkeypatch):
    shutil.copytree(empty_store, workdir / "results")
    write_mnist_like(workdir / "sets", "KMNIST", *pictures(200))
    small = [
        "dataset=kmnist",
        MADE_UP,
        "dataset.val_size=50",
        "batch_size=50",
        "num_epoch=1",
        "tracking.models=none",
    ]
    monkeypatch.setenv("LENET_EXP_OUTPUTS", "results")
    monkeypatch.setenv("LENET_EXP_DATA", "sets")

    succeeded(main(*small, "model_path=models", "tracking.plots=false"))

    assert {p.name for p in workdir.iterdir()} == {"results", "sets", "models"}
    assert len(list((workdir / "results" / "runs").iterdir())) == 1
    assert [p.suffix for p in (workdir / "models").iterdir()] == [".safetensors"]


@pytest.mark.slow(seconds=16)
def test_installed_wheel_works_without_the_checkout(tmp_path):
    root = CONF_DIR.parent
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    (site,) = venv.glob("lib/*/site-packages")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(pip, check=True)
    # The dependencies of this environment, but not its link to the checkout.
    (site / "dependencies.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")

    elsewhere = tmp_path / "elsewhere"
    option = elsewhere / "conf" / "activation" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: own.Act\nmonotone: true\n")
    for path in (option, *option.parents[:3]):
        path.chmod(0o755)  # ./conf must not be writable by others
    (elsewhere / "own.py").write_text("from torch import nn\nclass Act(nn.ReLU):\n    pass\n")
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    how = {"cwd": elsewhere, "env": environment, "capture_output": True, "text": True}

    sweep = ("-m", "dataset=digits", "num_epoch=1", "activation=selu,own", "sweep.workers=1")
    done = subprocess.run([str(venv / "bin" / "lenet-train"), *sweep], **how)

    assert done.returncode == 0, done.stderr
    assert len(list(elsewhere.glob("outputs/runs/*/record.json"))) == 2
    (page,) = elsewhere.glob("outputs/mlartifacts/**/comparison.html")
    assert "echarts" in page.read_text()
    if not isinstance(kernels(), str):  # their sources are in the wheel
        assert re.search(r"engine( for \d+ jobs)?: native", done.stderr)

    code = "import lenet_exp.package_files as c; print(c.CONF_DIR)"
    printed = subprocess.run([python, "-c", code], **how).stdout
    assert Path(printed.strip()) == site / "lenet_exp" / "conf"
