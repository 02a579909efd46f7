"""Classes named in a model file: those of torch and lenet_exp are accepted, others only if `trust=`
names them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lenet_exp
from lenet_exp.config.own_code import LOADED_CODE, identity_of, refresh
from lenet_exp.errors import UserError
from lenet_exp.package_files import CONF_DIR
from lenet_exp.tracking.models.load import load_file
from lenet_exp.training.network import build_network
from lenet_exp.training.trained.trust import check_network
from lenet_exp.training.trained.weights import save_weights
from tests.tools.configs import compose
from tests.tools.records import changed_model

SWISH = "from torch import nn\nclass Swish(nn.SiLU): pass\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on sys.path with packages that leave a file when they are imported."""
    folder = tmp_path / "packages"
    for name in ("evil", "mine"):
        marker = tmp_path / f"{name} ran"
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"open({str(marker)!r}, 'w')\n{SWISH}")
        (folder / name / "sub.py").write_text(SWISH)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for module in list(sys.modules):
        if module.partition(".")[0] in {"evil", "mine"}:
            del sys.modules[module]


def model_file(path: Path, activation: Any) -> Path:
    """Write the bundled MNIST model with another activation in its record."""
    return changed_model(path, lambda record: record["config"].update(activation=activation))


@pytest.mark.parametrize("target", ["evil.Swish", "evil.sub.Nothing", "evil"])
@pytest.mark.parametrize("program", ["predict", "export", "python"])
def test_untrusted_class_is_refused_before_import(program, target, packages, main, workdir):
    path = model_file(workdir / "model.safetensors", {"_target_": target, "monotone": False})
    if program == "python":
        with pytest.raises(UserError) as caught:
            lenet_exp.load(str(path))
        message = f"{caught.value}\n"
    else:
        flag = "format=pt2" if program == "export" else "dataset=digits"
        done = main(f"trained_model={path}", flag, program=program, status=2)
        message = done.stderr
    assert message.count("\n") == 1
    assert message.endswith(f"trust={target}\n")
    assert not (packages.parent / "evil ran").exists()
    assert not {"evil", "evil.sub"} & set(sys.modules)


@pytest.mark.parametrize("trust", ["mine.sub.Swish", "mine.sub", "mine"])
def test_trusted_class_is_accepted(trust, packages, workdir):
    path = model_file(
        workdir / "model.safetensors", {"_target_": "mine.sub.Swish", "monotone": False}
    )
    assert type(lenet_exp.load(str(path), trust=trust).act1).__name__ == "Swish"


@pytest.mark.parametrize("changed", [False, True])
def test_own_version_of_trusted_class_is_compared_with_trained_code(
    changed, packages, workdir, caplog
):
    refresh()
    digest = identity_of("mine.sub.Swish")
    path = model_file(
        workdir / "model.safetensors", {"_target_": "mine.sub.Swish", "_code_": digest}
    )
    LOADED_CODE.pop(digest)  # as in a new process
    if changed:
        (packages / "mine" / "sub.py").write_text(f"{SWISH}SLOPE = 1\n")
    refresh()

    lenet_exp.load(str(path), trust="mine.sub.Swish")

    assert len(caplog.messages) == (1 if changed else 0)
    for text in caplog.messages:
        assert "mine.sub.Swish differs" in text


@pytest.mark.parametrize("trust", ["mine.sub.Swi", "min", "mine.sub.Swish.x", "evil"])
def test_trust_in_another_class_does_not_apply(trust, packages, workdir):
    path = model_file(
        workdir / "model.safetensors", {"_target_": "mine.sub.Swish", "monotone": False}
    )
    with pytest.raises(UserError, match=r"add mine\.sub\.Swish to trust=$"):
        lenet_exp.load(str(path), trust=trust)
    assert not (packages.parent / "mine ran").exists()


def test_commands_accept_trust(packages, main, workdir, outputs):
    path = model_file(workdir / "model.safetensors", {"_target_": "mine.Swish", "monotone": False})
    line = (f"trained_model={path}", "trust=mine.Swish")
    done = main(*line, "dataset=digits", program="predict")
    assert done.returncode == 0, done.stderr
    assert "accuracy 0." in done.stdout, done.stderr
    assert main(*line, "output=exported.safetensors", program="export").returncode == 0
    assert load_file(workdir / "exported.safetensors", "mine").record is not None


def test_shipped_and_torch_activations_need_no_trust():
    files = (CONF_DIR / "activation").glob("*.yaml")
    options = [yaml.safe_load(file.read_text()) for file in files]
    options += [
        {"_target_": "torch.nn.GELU", "approximate": "tanh"},
        {"_target_": "torch.nn.modules.activation.Mish"},
    ]
    for option in options:
        check_network("a model", replace(compose(), activation=option), None)
        build_network(option, 0.0)


NO_ACTIVATIONS = [
    "os.system",
    "torch.nn.Linear",
    "torch.hub.load",
    "torch.nn.ReLU.__init__",
    "torch.nn",
    "",
    "ReLU",
    "torch.nn.modules.activation.Tensor",
    "torch.nn.ReLU\n",
    "\x1b[2Jevil.X",
    ["torch.nn.ReLU"],
]
INVALID_ARGUMENTS = [10**12, "/etc/passwd", "x" * 33, {"a": 1}, [1, "/"], [[1]], 10**6]
REFUSED: list[Any] = [
    None,
    [],
    *({"_target_": target} for target in NO_ACTIVATIONS),
    *({"_target_": "torch.nn.PReLU", "num_parameters": value} for value in INVALID_ARGUMENTS),
    {"_target_": "torch.nn.SELU", "slope": 1.0},
    {"_target_": "torch.nn.Softmax", "dim": 9, "monotone": True},
    {"_target_": "torch.nn.Threshold"},
    {"_target_": "torch.nn.ELU", "alpha": float("nan")},
]


@pytest.mark.parametrize("option", REFUSED, ids=repr)
def test_unusable_activation_in_model_file_gives_one_line_error(option, workdir):
    path = model_file(workdir / "model.safetensors", option)
    with pytest.raises(UserError) as caught:
        lenet_exp.load(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "config", [None, [], {}, {"activation": {"_target_": "torch.nn.SELU"}, "regularization": 3}]
)
@pytest.mark.parametrize("key", ["network", "record"])
def test_invalid_configuration_in_model_file_gives_one_line_error(key, config, workdir):
    value = {"config": config}
    if key == "record":
        value["fingerprint"] = "0"
    weights = {"w": torch.zeros(1)}
    save_weights(workdir / "m.safetensors", weights, {key: json.dumps(value)})
    with pytest.raises(UserError) as caught:
        lenet_exp.load(str(workdir / "m.safetensors"))
    assert "\n" not in str(caught.value)
