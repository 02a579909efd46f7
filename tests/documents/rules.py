"""How each command of the pages is tried here, where it is not typed as it stands.

The first rule that fits a command claims it; a command that none fits is typed as it stands and has to end with status
0, or the one that its comment names. Nothing is left out unless a rule says so, and why.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from tests.commands import ROOT
from tests.documents.pages import Command


class Way(StrEnum):
    typed = "typed, and waited for"
    stays = "typed, seen to answer, and ended by Ctrl-C"
    elsewhere = "not typed here"


class Need(StrEnum):
    """What the reader of a page has by then; it is made where the page's folder has none."""

    sweep = "a sweep"
    seeds = "a sweep over configurations and seeds, the last one"
    running = "a sweep that runs"
    experiment = "a run of the experiment that the command names"
    champion = "a registered model of MNIST"


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        fits: begins a command that it claims.
        why: the reason for not typing it as it stands.
        when: what else a command must be for that.
        more: flags that are added, or take the place of the command's own.
        instead: what is typed in place of what; {outputs} and {port} are those of the test.
        covered: of what is not typed, the files that try it, or that it names.
        check: what can be seen of it all the same.
    """

    fits: str
    why: str
    way: Way = Way.typed
    when: Callable[[str], bool] | None = None
    more: tuple[str, ...] = ()
    instead: tuple[tuple[str, str], ...] = ()
    needs: Need | None = None
    covered: tuple[str, ...] = ()
    check: Callable[[str], None] | None = None


def is_large(command: str) -> bool:
    """Whether a grid has so many jobs that even small doses of them take long."""
    try:
        parsed = OverridesParser.create().parse_overrides(shlex.split(command)[2:])
    except HydraException:  # what bash makes of it is another line
        return False
    return len(BasicSweeper.split_arguments(parsed, None)[0]) > MOST_JOBS


def extras_are_there(text: str) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"(?:lenet_exp|'\.)\[([\w,]+)\]", text):
        assert set(named.split(",")) <= set(known), f"[{named}]: pyproject.toml has the extras {', '.join(known)}"


def files_are_there(command: str) -> None:
    for path in re.findall(r"(?<![\w/.])deploy/[\w./-]+", command):
        if not path.startswith(("deploy/.env", "deploy/tls/")) or path.endswith(".example"):  # those are made
            assert (ROOT / path).exists(), f"{command}: there is no {path}"


def variables_are_mlflows(command: str) -> None:
    from mlflow import environment_variables

    for name in re.findall(r"(\w+)=", command):
        assert hasattr(environment_variables, name), f"{command}: MLflow knows no {name}"


def module_is_there(command: str) -> None:
    name = command.split()[2]
    assert find_spec(name) is not None, f"{command}: there is no module {name}"


MOST_JOBS = 12
# Really trained, but a few images once.
DOSE = ("num_epoch=1", "dataset.train_size=300", "dataset.val_size=200")
BARE = (*DOSE, "tracking.plots=false", "tracking.models=none")
SLOW = "trains for minutes or hours; a small dose is trained"

RULES = (
    Rule(r"(\S*python3? -m venv|\. \.venv|uv |pip install|apt-get)", "changes the machine; CI does it", Way.elsewhere,
         covered=(".ci/run",), check=extras_are_there),
    Rule(r"(pytest|ruff|mypy|pre-commit)\b", "is what types this", Way.elsewhere, covered=(".ci/run",)),
    Rule(r"(docker|cp deploy/|chmod 600 deploy/|deploy/|curl --cacert)", "needs Docker or a lab's server",
         Way.elsewhere, covered=("tests/test_deploy.py",), check=files_are_there),
    Rule(r"export MLFLOW_", "of a lab's server", Way.elsewhere, covered=("tests/test_deploy.py",),
         check=variables_are_mlflows),
    Rule(r"optuna-dashboard ", "is a program of others; that Optuna reads the file is seen there", Way.elsewhere,
         covered=("tests/test_api.py",)),
    Rule(r"python -m benchmarks\.results", "takes an hour", Way.elsewhere, covered=("benchmarks/results.py",),
         check=module_is_there),
    Rule(r"mlflow gc ", "a path that stands for one's own", needs=Need.sweep, instead=(("/path/", "{outputs}/"),)),
    Rule(r"MLFLOW_TRACKING_URI=\S+ mlflow models serve ", "stays; its port may be taken", Way.stays,
         needs=Need.champion, instead=(("--port 5001", "--port {port}"),)),
    Rule(r"curl http://127", "asks what was served before; ends with 0 even if that is refused",
         instead=((":5001/", ":{port}/"), ("curl ", "curl --fail "))),
    Rule(r"lenet-train -m .*hydra/launcher=cluster_", "needs a cluster: composed and checked; trained by "
         "tests/executors/test_ray.py, test_slurm.py and tests/sweeps/test_detach.py", more=("sweep.dry_run=true",)),
    Rule(r"lenet-train -m .*hydra/sweeper=search", SLOW, more=(*BARE, "n_trials=3"),
         instead=(("seeds=5", "seeds=2"), ("confirm=0.5 ", ""))),
    Rule(r"lenet-train -m ", "trains for hours: composed and checked", when=is_large, more=("sweep.dry_run=true",)),
    Rule(r"lenet-train -m .*sweep\.resume=", "needs a sweep", needs=Need.sweep),
    Rule(r"lenet-train -m ", SLOW, more=BARE),
    Rule(r"lenet-train dataset=folder", "as it stands: the set is small"),
    Rule(r"lenet-train (?!.*--(help|cfg|info|version))", SLOW, more=DOSE),
    Rule(r"lenet-train$", SLOW, more=DOSE),
    Rule(r"lenet-compare .*confirm=", "needs a sweep with several seeds; small doses of training spread widely",
         needs=Need.seeds, more=("confirm=30",)),
    Rule(r"lenet-(compare\b|predict sweep=)", "needs a sweep", needs=Need.sweep),
    Rule(r"lenet-sweep stop\b", "needs a sweep that runs", needs=Need.running),
    Rule(r"lenet-sweep rm experiment=", "needs an experiment of its own", needs=Need.experiment),
    Rule(r"lenet-sweep\b", "needs a sweep", needs=Need.sweep),
    Rule(r"lenet-ui\b", "stays", Way.stays, needs=Need.sweep),
)  # fmt: skip
AS_IT_STANDS = Rule("", "")


def rule_of(command: Command) -> Rule:
    """The rule that claims it."""
    if command.is_mistake:
        return AS_IT_STANDS
    return next((rule for rule in RULES if _claims(rule, command.text)), AS_IT_STANDS)


def _claims(rule: Rule, text: str) -> bool:
    return re.match(rule.fits, text) is not None and (rule.when is None or rule.when(text))


# What a page's reader brings along where nothing on the page made it: as the command says it, the file, a sample of it.
BROUGHT = {
    "MNIST_epoch43_acc0.9913.pkl": ("MNIST_epoch43_acc0.9913.pkl", "ancestor.pkl"),
    "model.safetensors trust=": ("model.safetensors", "swish.safetensors"),
    "mine.activations": ("mine/activations.py", "swish.py"),
}

# In python blocks.
SMALLER = {"n_trials=10": "n_trials=3", "num_epoch=10": "num_epoch=1", "num_epoch=5": "num_epoch=1"}
