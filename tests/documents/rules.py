"""Rules for the commands of the pages that tests change or do not run.

The first rule that fits a command applies. A command without a rule runs unchanged and must end
with status 0, or with the status in its comment. Only a rule, which gives the reason, excludes a
command.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.transcripts import CHEAPER
from tests.documents.pages import FRESH, Command
from tests.tools.commands import ROOT


class Way(StrEnum):
    typed = "run to the end"
    stays = "run until it answers, then stopped with Ctrl-C"
    elsewhere = "not run here"


class Need(StrEnum):
    """What a command needs. It is created unless the page's folder has it."""

    sweep = "a sweep"
    seeds = "a sweep over configurations and seeds, the last one"
    running = "a sweep that runs"
    network = "a run of the network that the command names"


@dataclass(frozen=True)
class Rule:
    """How to test the commands that begin with a pattern.

    Attributes:
        fits: regular expression for the beginning of the commands.
        why: reason for not running the commands unchanged.
        elsewhere: whether the rule excludes the README and the tutorial.
        more: flags that are added or replace flags of the command.
        instead: pairs of texts and replacements; {outputs} is the outputs folder of the test.
        covered: files that test the commands that are not run here, or that the commands name.
        check: function that checks a command without running it.
    """

    fits: str
    why: str
    way: Way = Way.typed
    elsewhere: bool = False
    more: tuple[str, ...] = ()
    instead: tuple[tuple[str, str], ...] = ()
    needs: Need | None = None
    covered: tuple[str, ...] = ()
    check: Callable[[str], None] | None = None


def extras_are_there(text: str) -> None:
    """Check that pyproject.toml has the extras that a text names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for names in re.findall(r"(?:lenet_exp|'\.)\[([\w,]+)\]", text):
        assert set(names.split(",")) <= set(extras), (
            f"[{names}]: pyproject.toml has the extras {', '.join(extras)}"
        )


def files_are_there(command: str) -> None:
    """Check that the files in deploy/ exist that a command names."""
    for path in re.findall(r"(?<![\w/.])deploy/[\w./-]+", command):
        is_example = path.endswith(".example")
        is_of_user = path.startswith(("deploy/.env", "deploy/tls/")) and not is_example
        if not is_of_user:
            assert (ROOT / path).exists(), f"{command}: there is no {path}"


# Real training, but on few images and for one epoch.
SHORT = ("num_epoch=1", "dataset.train_size=300", "dataset.val_size=200")
BARE = (*SHORT, "tracking.plots=false", "tracking.models=none")
SLOW = "trains for minutes or hours; trained on few images"

RULES = (
    Rule(
        r"(git clone|cd lenet_exp$|\S*python3? -m venv|\. \.venv|uv |pip install|apt-get)",
        "changes the machine; CI does it",
        Way.elsewhere,
        covered=(".ci/run",),
        check=extras_are_there,
    ),
    Rule(
        r"(pytest|ruff|mypy|pre-commit|sphinx-build)\b",
        "runs these tests",
        Way.elsewhere,
        covered=(".ci/run",),
    ),
    Rule(
        r"python -m tests\.by_hand",
        "runs tests for half an hour",
        Way.elsewhere,
        covered=("tests/documents/test_contributing.py",),
    ),
    Rule(
        r"(docker|cp deploy/|chmod 600 deploy/|deploy/|curl --cacert|python -m mlflow\.server"
        r"|mlflow server)",
        "needs Docker or a lab's server",
        Way.elsewhere,
        covered=("tests/test_deploy.py",),
        check=files_are_there,
    ),
    Rule(
        r"export MLFLOW_", "needs a lab's server", Way.elsewhere, covered=("tests/test_deploy.py",)
    ),
    Rule(
        r"(mlflow experiments create|for name in ada|curl -u teacher|done$)",
        "needs the teacher's server",
        Way.elsewhere,
        covered=("tests/documents/test_classroom.py",),
    ),
    Rule(
        r"export WEBHOOK=",
        "sets a variable of the shell",
        Way.elsewhere,
        covered=("tests/sweeps/test_hooks.py",),
    ),
    Rule(
        r"sbatch ",
        "needs a Slurm cluster",
        Way.elsewhere,
        covered=("tests/executors/slurm/test_slurm.py",),
    ),
    Rule(
        r"optuna-dashboard ",
        "is another program; another test reads the file with Optuna",
        Way.elsewhere,
        covered=("tests/test_api.py",),
    ),
    Rule(
        r"python -m benchmarks\.(results|time_to|peeking)",
        "takes minutes or hours",
        Way.elsewhere,
        covered=("benchmarks/results.py", "benchmarks/time_to.py", "benchmarks/peeking.py"),
    ),
    Rule(
        r"python classify\.py",
        "needs a picture",
        instead=(("picture.png", "samples/set/test/circle/00.png"),),
    ),
    Rule(
        r"python -m benchmarks\.manifest check",
        "reads each run of the results: half a minute",
        Way.elsewhere,
        covered=("tests/documents/test_readme.py",),
    ),
    Rule(
        r"mlflow gc ",
        "contains a placeholder path",
        needs=Need.sweep,
        instead=(("/path/", "{outputs}/"),),
    ),
    Rule(
        r"(MLFLOW_TRACKING_URI=\S+ mlflow models serve|python -c|curl http://127)",
        "serves a champion of MNIST",
        Way.elsewhere,
        covered=("tests/prediction/test_serve.py",),
    ),
    Rule(
        r"PYTHONPATH=\. lenet-predict",
        "needs a model from another user",
        instead=(("model.", "given."),),
    ),
    Rule(
        r"lenet-predict .*MNIST_epoch",
        "needs a model of the original script",
        instead=(("MNIST_epoch43_acc0.9913.pkl", "samples/ancestor.pkl"),),
    ),
    Rule(
        r"lenet-predict .*trained_model=\w+-digits",
        "needs a run of the network",
        needs=Need.network,
    ),
    Rule(
        r"lenet-predict .*trust=sha256:<",
        "needs code of someone else",
        instead=((" trust=sha256:<digest>", ""),),
    ),
    Rule(
        r"lenet-train -m device=cuda",
        "needs CUDA devices",
        more=("num_epoch=1", "sweep.dry_run=true"),
        instead=(("device=cuda 'sweep.devices=[1,3]'", "device=cpu"),),
    ),
    Rule(r"lenet-train -m .*sweep\.resume=", "needs a sweep", needs=Need.sweep),
    Rule(
        r"lenet-train dataset=(emnist|cifar10)",
        "downloads up to 0.6 GB: its configuration is printed",
        more=("--cfg", "job"),
    ),
    Rule(r"lenet-train dataset=(folder|arrays)", "runs unchanged: the dataset is small"),
    Rule(
        r"lenet-train\b(?!.*(--(help|cfg)|-sc ))",
        "trains for minutes or hours: composed and checked",
        elsewhere=True,
        more=(*SHORT, "sweep.dry_run=true"),
    ),
    Rule(r"lenet-train -m .*hydra/sweeper=search", SLOW, more=(*BARE, "n_trials=3")),
    Rule(
        r"lenet-compare .*confirm=.*against=baseline",
        "the leader of a short sweep can be the baseline",
        needs=Need.seeds,
        more=("confirm=30", "against='optimizer.lr=0.03'"),
    ),
    Rule(
        r"lenet-compare .*confirm=",
        "needs a sweep with several seeds; short training varies widely",
        needs=Need.seeds,
        more=("confirm=30",),
    ),
    Rule(
        r"lenet-compare .*flags=activation,optimizer",
        "the sweep that has finished varies one flag",
        needs=Need.seeds,
        instead=((" figure=interaction flags=activation,optimizer", ""),),
    ),
    Rule(
        r"lenet-compare (only|best_per)=",
        "the last sweep varies other flags, or is a confirmation",
        needs=Need.seeds,
        instead=(
            ("optimizer.lr<0.05", "dataset=digits"),
            ("lr<0.05 and activation=relu,selu", "dataset=digits"),
            ("best_per=activation", "best_per=dataset"),
            ("best_per=optimizer", "details=true"),
        ),
    ),
    Rule(
        r"lenet-compare output=matrix.tex",
        "the sweep that has finished varies other flags",
        needs=Need.seeds,
        instead=(("=model,dataset", "=dataset,activation"),),
    ),
    Rule(
        r"lenet-compare filter=.tags\.(team|users)",
        "needs runs of a class",
        needs=Need.seeds,
        instead=(("tags.team = 'red'", ""), ("tags.users LIKE '%ada%'", "")),
    ),
    Rule(
        r"lenet-compare filter=.tags",
        "needs a sweep with this tag",
        needs=Need.seeds,
        instead=(("tags.note = 'first' and ", ""),),
    ),
    Rule(
        r"lenet-sweep list tag=",
        "needs a sweep with this tag",
        needs=Need.sweep,
        instead=(("tag=note=first ", ""),),
    ),
    Rule(r"lenet-(compare\b|predict sweep=)", "needs a sweep that has finished", needs=Need.seeds),
    Rule(r"lenet-sweep stop\b", "needs a sweep that runs", needs=Need.running),
    Rule(r"lenet-sweep\b", "needs a sweep", needs=Need.sweep),
    Rule(r"lenet-ui\b", "runs until Ctrl-C", Way.stays, needs=Need.sweep),
)
AS_IT_STANDS = Rule("", "")
SHOWN = "its output is compared, and is the same without these"
COMPARED = {
    "lenet-train -m ": Rule("", SHOWN, more=CHEAPER),
    "lenet-train ": Rule("", SHOWN, more=CHEAPER[:1]),
}


def rule_of(command: Command) -> Rule:
    """Return the rule for a command."""
    if command.is_compared:
        for beginning, rule in COMPARED.items():
            if command.text.startswith(beginning):
                return rule
        return AS_IT_STANDS

    if command.is_mistake:
        return AS_IT_STANDS
    for rule in RULES:
        is_excluded = rule.elsewhere and command.page in FRESH
        if re.match(rule.fits, command.text) and not is_excluded:
            return rule
    return AS_IT_STANDS


# Replacements in python blocks that shorten training.
SMALLER = {"n_trials=10": "n_trials=3", "num_epoch=10": "num_epoch=1", "num_epoch=5": "num_epoch=1"}
