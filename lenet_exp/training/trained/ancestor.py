"""Safe reader for the whole-module pickles of the original script.

It runs no code from a file. First, the pickle is scanned without being executed. Pickles with
globals or opcodes that such files do not need are rejected, and the error contains their names.
Then, torch's weights-only unpickler reads the pickle, with an inert stand-in for each class.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lenet_exp.config.schema import Option
from lenet_exp.errors import UserError, first_line
from lenet_exp.files import read_regular
from lenet_exp.training.activations import RReLU
from lenet_exp.training.network import build_network

# Opcodes that torch.save writes for such a module (protocol 2). Of these, only GLOBAL looks up a
# name.
_OPCODES = """
    PROTO STOP MARK
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINSTRING
    EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS
    BINPUT LONG_BINPUT BINGET LONG_BINGET
    GLOBAL NEWOBJ REDUCE BUILD BINPERSID
"""
OPCODES = frozenset(_OPCODES.split())

# Globals that torch's weights-only unpickler handles itself, written as in a pickle.
UNPICKLER_GLOBALS = frozenset(
    {
        "__builtin__ set",
        "builtins set",
        "collections OrderedDict",
        "torch FloatStorage",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
    }
)

# Names of the layers with weights in a pickled module.
LAYERS = (
    "conv1",
    "conv2",
    "fc1",
    "fc2",
    "fc3",
    "activation1",
    "activation2",
    "activation3",
    "activation4",
)

# Class in the pickle -> `_target_`, and the attributes that become its keyword arguments.
ACTIVATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ReLU": ("torch.nn.ReLU", ()),
    "LeakyReLU": ("torch.nn.LeakyReLU", ("negative_slope",)),
    "PReLU": ("torch.nn.PReLU", ("num_parameters",)),
    "RReLU": (f"{RReLU.__module__}.RReLU", ("lower", "upper")),
    "ELU": ("torch.nn.ELU", ("alpha",)),
    "SELU": ("torch.nn.SELU", ()),
    "Tanh": ("torch.nn.Tanh", ()),
}

# Global in the pickle -> name of its stand-in.
_MODULES = {
    **{f"torch.nn.modules.activation {name}": name for name in ACTIVATIONS},
    "lenet5 LeNet5": "LeNet5",
    "torch.nn.modules.conv Conv2d": "Conv2d",
    "torch.nn.modules.dropout Dropout": "Dropout",
    "torch.nn.modules.linear Linear": "Linear",
    "torch.nn.modules.pooling MaxPool2d": "MaxPool2d",
}

# Stand-ins for the classes in the pickle, by global; they have attributes but no behavior.
_STAND_INS = {pickled: type(name, (), {}) for pickled, name in _MODULES.items()}

MAX_PICKLE_BYTES = 2**20  # a typical pickle is 3.4 kB
MAX_OPCODES = 50_000  # a typical pickle has 1,358 opcodes
MAX_BYTES = 64 * 2**20  # a typical file is 0.25 MB


def load_ancestor(path: Path) -> nn.Module:
    """Return the network in a `.pkl` file from the original script, in eval mode on the CPU.

    Raises:
        UserError: the file cannot be read, or does not contain a LeNet-5 from the original script.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"trained_model={path}: refused; larger than {MAX_BYTES >> 20} MiB")
        content = read_regular(path)
    except OSError as e:
        raise UserError(f"trained_model={path}: cannot be read ({e.strerror})") from e

    foreign = foreign_content(content)
    if foreign:
        raise UserError(f"trained_model={path}: refused; {foreign}")

    stand_ins = [(cls, _dotted(pickled)) for pickled, cls in _STAND_INS.items()]
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
            module = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return _rebuild(module)
    except Exception as e:
        raise UserError(
            f"trained_model={path}: not a LeNet-5 from the original script ({first_line(e)})"
        ) from e


def foreign_content(content: bytes) -> str:
    """Return what a file contains that files from the original script do not contain.

    The file's pickle is scanned, not executed. The result is a phrase if the file was not written
    by `torch.save`, is too large, or contains another global or opcode; if not, it is empty.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            foreign = _foreign_file(archive)
            if foreign:
                return foreign
            (pickle_name,) = _pickle_names(archive)
            opcodes = pickletools.genops(archive.read(pickle_name))
            operations = list(islice(opcodes, MAX_OPCODES + 1))
    except Exception as e:
        return f"not a file that torch.save wrote ({first_line(e)})"

    if len(operations) > MAX_OPCODES:
        return f"its pickle has more than {MAX_OPCODES} opcodes"
    return _foreign_operation(operations)


def _foreign_file(archive: zipfile.ZipFile) -> str:
    """Return how the files in an archive differ from those of a saved module; empty if equal."""
    unpacked_bytes = sum(file.file_size for file in archive.infolist())
    if unpacked_bytes > MAX_BYTES:
        return f"it unpacks to more than {MAX_BYTES >> 20} MiB"

    pickles = _pickle_names(archive)
    if len(pickles) != 1 or not pickles[0].endswith("/data.pkl"):
        return f"it must contain exactly one pickle, data.pkl, not {pickles}"
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        return f"its pickle exceeds {MAX_PICKLE_BYTES >> 20} MiB"
    return ""


def _pickle_names(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if name.endswith(".pkl")]


def _foreign_operation(
    operations: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]],
) -> str:
    """Return the first global or opcode that a saved LeNet-5 does not contain; empty if none."""
    expected_globals = UNPICKLER_GLOBALS | _STAND_INS.keys()
    for opcode, argument, _ in operations:
        if opcode.name == "GLOBAL" and argument not in expected_globals:
            return f"its pickle would import {_dotted(str(argument))}"
        if opcode.name not in OPCODES:
            return f"its pickle has the opcode {opcode.name}"
    return ""


def _dotted(pickled: str) -> str:
    """Return the dotted path of a global: `torch.nn.Linear` for `torch.nn Linear`."""
    return pickled.replace(" ", ".")


def _rebuild(module: Any) -> nn.Module:
    """Return a LeNet-5 with the weights and the activation of an unpickled module."""
    children: dict[str, Any] = module._modules
    activation = activation_option(children["activation1"])
    network = build_network(activation, dropout_rate=0.0)  # dropout affects only training

    weights: dict[str, Tensor] = {}
    for name in LAYERS:
        layer = name.replace("activation", "act")  # its name in LeNet5
        for kind, parameter in children[name]._parameters.items():
            weights[f"{layer}.{kind}"] = parameter.detach()
    network.load_state_dict(weights)
    return network.eval()


def activation_option(module: Any) -> Option:
    """Return the option for an activation module from the original script, or for its stand-in.

    Example: an ELU with alpha 0.5 has the arguments {"alpha": 0.5}.
    """
    target, attributes = ACTIVATIONS[type(module).__name__]
    keywords = {attribute: getattr(module, attribute) for attribute in attributes}
    return {"_target_": target, "monotone": False, **keywords}
