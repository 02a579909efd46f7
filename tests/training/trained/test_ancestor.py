"""Models of the original argparse script load exactly, and no code in such a file runs."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lenet_exp.api import compose
from lenet_exp.data.normalization import normalize
from lenet_exp.data.readers import read_images
from lenet_exp.errors import UserError
from lenet_exp.training.evaluate import predict_logits
from lenet_exp.training.trained.ancestor import load_ancestor
from tests.training.trained.argparse_script import LeNet5, save

MODELS = Path(
    os.environ.get("LENET_EXP_ANCESTOR_MODELS")
    or Path(__file__).resolve().parents[4] / "shared" / "ancestor_models"
)
MNIST = MODELS / "MNIST_epoch43_acc0.9913.pkl"
published = pytest.mark.skipif(
    not MNIST.is_file(), reason="the published models of the original script are not found"
)


@published
@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize(
    ("file", "dataset", "correct"),
    [(MNIST.name, "mnist", 9894), ("FashionMNIST_epoch38_acc0.9094.pkl", "fashion_mnist", 9036)],
)
def test_published_models_have_published_accuracy(file, dataset, correct, real_data):
    raw = read_images(compose([f"dataset={dataset}"]).dataset, real_data, "test")
    images = normalize(raw.images, raw.white)
    predictions = predict_logits(load_ancestor(MODELS / file), images, 500).argmax(1)
    assert int((predictions == raw.labels).sum()) == correct


ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "prelu": nn.PReLU,
    "rrelu": lambda: nn.RReLU(0.1, 0.4),
    "elu": lambda: nn.ELU(0.7),
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}


@pytest.mark.parametrize(("name", "dropout"), [*((name, 0.3) for name in ACTIVATIONS), ("selu", 0)])
def test_models_with_any_activation_and_dropout_load(name, dropout, tmp_path):
    network = LeNet5(ACTIVATIONS[name], dropout).eval()
    save(network, tmp_path / "model.pkl")
    images = torch.rand(5, 1, 32, 32) * 2 - 1

    loaded = load_ancestor(tmp_path / "model.pkl")

    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images))


def opcodes(name: str, argument: str) -> bytes:
    """Return a pickle that calls `name` (as `module attribute`) with a text, using GLOBAL and
    REDUCE.
    """
    module_and_attribute = name.replace(" ", "\n").encode()
    text = argument.encode()
    size = struct.pack("<I", len(text))
    return b"\x80\x02c" + module_and_attribute + b"\nX" + size + text + b"\x85R."


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Return pickles that would create `marker`, and a part of the expected message."""
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    size = struct.pack("<I", len(touch))
    protocol_4 = pickle.dumps(Call(os.system, touch), protocol=4)
    inst = b"(X" + size + touch.encode() + b"iposix\nsystem\n."
    build = b"\x80\x02cos\n_wrap_close\n)\x81}X\x06\x00\x00\x00streamX\x01\x00\x00\x00as\x62."
    return {
        "os.system": (pickle.dumps(Call(os.system, touch), protocol=2), "posix.system"),
        "eval": (opcodes("__builtin__ eval", code), "__builtin__.eval"),
        "dotted": (
            opcodes("torch.nn.modules.activation torch.os.system", touch),
            "torch.os.system",
        ),
        "a module of another kind": (
            opcodes("torch.nn.modules.container Sequential", ""),
            "container.Sequential",
        ),
        "a name from the stack": (protocol_4, "FRAME"),
        "a name from the stack, no frame": (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
            "SHORT_BINUNICODE",
        ),
        "an instance opcode": (inst, "INST"),
        "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "a state for a foreign class": (build, "os._wrap_close"),
    }


def archive(path: Path, *pickles: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        for name, content in pickles:
            written.writestr(name, content)
        written.writestr("archive/version", "3\n")
    return path


@pytest.mark.parametrize("attack", sorted(attacks(Path("x"))))
def test_pickle_with_foreign_objects_is_refused_without_running_code(attack, tmp_path):
    marker = tmp_path / "ran"
    content, cause = attacks(marker)[attack]
    path = archive(tmp_path / "evil.pkl", ("archive/data.pkl", content))

    with pytest.raises(UserError, match="refused") as caught:
        load_ancestor(path)

    message = str(caught.value)
    assert cause in message
    assert "\n" not in message
    assert not marker.exists()


def test_attacks_succeed_with_plain_pickle(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(attacks(marker)["os.system"][0])
    assert marker.exists()


def test_attack_hidden_in_real_model_is_refused(tmp_path):
    save(LeNet5(nn.SELU, 0), tmp_path / "model.pkl")
    marker = tmp_path / "ran"
    hidden, _ = attacks(marker)["os.system"]
    with (
        zipfile.ZipFile(tmp_path / "model.pkl") as model,
        zipfile.ZipFile(tmp_path / "evil.pkl", "w") as evil,
    ):
        for entry in model.infolist():
            content = model.read(entry)
            if entry.filename.endswith("data.pkl"):  # run the call, drop its result, load the model
                content = content[:2] + hidden[2:-1] + b"0" + content[2:]
            evil.writestr(entry.filename, content)

    with pytest.raises(UserError, match=r"posix\.system"):
        load_ancestor(tmp_path / "evil.pkl")
    assert not marker.exists()


def with_more_classes(path: Path) -> None:
    network = LeNet5(nn.SELU, 0)
    network.fc3 = nn.Linear(84, 11)
    save(network, path)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("archive/data.pkl", b"\x80\x02N.")
        with written.open("archive/data/0", "w") as big:
            for _ in range(70):
                big.write(bytes(2**20))
    assert path.stat().st_size < 2**20


UNSUITABLE: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: None, "cannot be read"),
    (os.mkfifo, "cannot be read"),
    (lambda path: path.write_bytes(b""), ""),
    (lambda path: path.write_bytes(b"no zip at all"), ""),
    (lambda path: path.write_bytes(pickle.dumps(Call(os.system, "true"), protocol=2)), ""),
    (lambda path: torch.save({"a": 1}, path), "not a LeNet-5"),
    (with_more_classes, "not a LeNet-5"),
    (bomb, "64 MiB"),
    (
        lambda path: archive(path, ("0/data.pkl", b"\x80\x02" + b"N0" * 30_000 + b"N.")),
        "50000 opcodes",
    ),
    (lambda path: archive(path, ("0/data.pkl", b"\x80\x02N." + bytes(2**21))), "1 MiB"),
    (
        lambda path: archive(path, *((f"{n}/data.pkl", b"\x80\x02N.") for n in range(2))),
        "exactly one",
    ),
]


@pytest.mark.parametrize(("make", "says"), UNSUITABLE)
def test_unsuitable_file_is_refused(make, says, tmp_path):
    make(tmp_path / "model.pkl")
    with pytest.raises(UserError, match=rf"model\.pkl.*{says}"):
        load_ancestor(tmp_path / "model.pkl")
