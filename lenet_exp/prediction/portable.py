"""Exports a trained network for use in other programs, as ONNX, PT2, or safetensors.

A file is kept only if the format's own reader can read the file and the outputs match those of the
network. The input is `images`, with shape (n, channels, size, size) for any n and float32 values,
scaled as in training. The output is `logits`, with shape (n, classes). The file's metadata contains
the record of the run.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lenet_exp.config.class_groups import option_name
from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Reader
from lenet_exp.errors import ConfigError, UserError, first_line
from lenet_exp.files import DISK_ERRORS, write_atomic, write_output_file
from lenet_exp.folders.records import record_to_json
from lenet_exp.tracking.models.load import TrainedModel, load_file
from lenet_exp.training.trained.ancestor import activation_option
from lenet_exp.training.trained.exported import export_archive
from lenet_exp.training.trained.weights import save_weights, weights_digest

BATCHES = (1, 2, 7)  # batch sizes with which a file is tested
# as a fraction of the largest logit; other runtimes add values in a different order
TOLERANCE = 1e-4
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# fields of the record that the metadata repeat as text
FACTS = ("fingerprint", "weights_digest", "best_val_accuracy", "best_epoch")

Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Format:
    """A file format: functions that write a network, and read it as other programs would.

    Attributes:
        write: function that writes a network and its metadata to a file.
        read: function that reads a file and returns a function that maps images to logits. The
            second argument lists the model's Python classes, which were trusted when the model was
            loaded.
        tolerance: the largest allowed difference between logits, as a fraction of the largest
            logit.
    """

    write: Callable[[nn.Module, ImageShape, dict[str, str], Path], None]
    read: Callable[[Path, list[str]], Answer]
    tolerance: float


def check_format(name: str) -> None:
    """Check that the packages for a format are installed.

    Raises:
        ConfigError: the packages are not installed.
    """
    if name != "onnx":
        return
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"format=onnx: requires {', '.join(missing)}; run: pip install 'lenet_exp[onnx]'"
        )


def write_portable(model: TrainedModel, name: str, path: Path) -> tuple[float, float]:
    """Write a model to `path` in the format `name`.

    The file is written atomically and only after it has been tested.

    Returns:
        The largest difference between the logits of the file and of the network, and the largest
        allowed difference.

    Raises:
        UserError: the network cannot be exported, the file's outputs differ, or `path` cannot be
            written to.
        OSError: the disk or the temporary folder is full.
    """
    file_format = FORMATS[name]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"model.{name}"
        try:
            with _quiet():
                file_format.write(model.network, model.shape, metadata(model), file)
                answer = file_format.read(file, _classes(model))
                difference, allowed = _compare(model, answer, file_format.tolerance)
        # torch, onnx, onnxscript, and onnxruntime raise their own exceptions, for example for a
        # custom activation.
        except Exception as e:
            if isinstance(e, OSError) and e.errno in DISK_ERRORS:  # disk full
                raise
            raise UserError(f"{model.name}: cannot be exported to {name} ({first_line(e)})") from e

        if not difference <= allowed:  # true for NaN as well
            raise UserError(
                f"{model.name}: not exported to {name}, because a logit would differ by "
                f"{difference:.2g} (tolerance {allowed:.2g})"
            )
        content = file.read_bytes()

    write_output_file(path, content)
    return difference, allowed


def metadata(model: TrainedModel) -> dict[str, str]:
    """Return the metadata for a model's file.

    These are the record as JSON, and the most important values of the record as text. A model from
    the original script has no record. The metadata for such a model contains `network` instead,
    from which the network can be rebuilt.
    """
    facts = {
        "model": model.name,
        "input": _describe_input(model),
        "output": f"logits (n, {model.shape.num_classes})",
    }

    record = model.record
    if record is None:
        digest = weights_digest(model.network.state_dict())
        config = {
            "activation": activation_option(model.network.act1),
            "regularization": {"dropout_rate": 0.0},
        }
        network = {"config": config, "weights_digest": digest}
        return facts | {"network": json.dumps(network), "weights_digest": digest}

    facts["dataset"] = record.dataset
    if record.config.activation:
        facts["activation"] = option_name(record.config.activation)
    facts["class_names"] = json.dumps(record.config.dataset.class_names)
    for name in FACTS:
        value = getattr(record, name)
        if value is not None:
            facts[name] = str(value)
    facts["record"] = json.dumps(record_to_json(record))
    return facts


def _describe_input(model: TrainedModel) -> str:
    """Return the shape of a model's input, and how images must be resized and scaled.

    Args:
        model: the model. Its normalization has one value per channel; a single one is given as a
            number.
    """
    shape = model.shape
    size = f"{shape.channels}, {shape.size}, {shape.size}"
    mean = _number_or_all(model.normalization.mean)
    sd = _number_or_all(model.normalization.sd)
    resized = "resized bilinearly"
    if _is_framed(model):
        resized = "longer side resized bilinearly, centered on black"
    return f"images (n, {size}) float32: p in [0, 1], {resized}, (p - {mean}) / {sd}"


def _number_or_all(values: Sequence[float]) -> float | Sequence[float]:
    return values[0] if len(values) == 1 else values


def _is_framed(model: TrainedModel) -> bool:
    """Return whether training images were centered in a black frame."""
    if model.record is None:
        return False
    dataset = model.record.config.dataset
    return dataset.reader is Reader.pictures and dataset.image_size is not None


def _classes(model: TrainedModel) -> list[str]:
    """Return the classes in a model's record, which were trusted when the model was loaded."""
    if model.record is None:
        return []
    config = model.record.config
    return [str(option["_target_"]) for option in (config.model, config.activation) if option]


@torch.inference_mode()
def _compare(model: TrainedModel, answer: Answer, tolerance: float) -> tuple[float, float]:
    """Return the largest difference between the logits of a model and those of a file.

    Returns:
        The largest difference, and the largest allowed difference.
    """
    generator = torch.Generator().manual_seed(0)
    largest = torch.zeros(())
    scale = torch.zeros(())
    for n in BATCHES:
        images = torch.rand(model.shape.batch(n), generator=generator) * 2 - 1
        expected = model.network(images)  # (n, classes)
        actual = answer(images)
        if actual.shape != expected.shape:
            raise ValueError(f"{n} images produce logits of shape {tuple(actual.shape)}")

        largest = torch.maximum(largest, (actual - expected).abs().max())  # keeps NaN
        scale = torch.maximum(scale, expected.abs().max())
    return float(largest), tolerance * float(scale)


def _write_onnx(network: nn.Module, shape: ImageShape, facts: dict[str, str], path: Path) -> None:
    import onnx

    program = torch.onnx.export(
        network,
        (torch.zeros(shape.batch(2)),),  # a single image would fix the batch size
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "n"},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None

    proto = program.model_proto
    graph = proto.graph
    parts = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.ClearField("metadata_props")  # they contain paths of this machine
    onnx.helper.set_model_props(proto, facts)
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString())


def _read_onnx(path: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # show only errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(logits)

    return answer


def _write_pt2(network: nn.Module, shape: ImageShape, facts: dict[str, str], path: Path) -> None:
    files = {"metadata.json": json.dumps(facts, indent=1)}
    write_atomic(path, export_archive(network, shape, files))


def _write_safetensors(
    network: nn.Module, _: ImageShape, facts: dict[str, str], path: Path
) -> None:
    save_weights(path, network.state_dict(), facts)


FORMATS = {
    "onnx": Format(_write_onnx, lambda path, _: _read_onnx(path), TOLERANCE),
    # Loading a PT2 file unpickles it, so only the file that was just written is loaded.
    "pt2": Format(_write_pt2, lambda path, _: torch.export.load(path).module(), TOLERANCE),
    "safetensors": Format(
        _write_safetensors, lambda path, trust: load_file(path, trust).network, 0.0
    ),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings and progress output from the exporters; the comparison reports problems."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
