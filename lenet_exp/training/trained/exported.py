"""Export of networks as PyTorch `.pt2` archives."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lenet_exp.config.image_shape import ImageShape
from lenet_exp.config.schema import Config
from lenet_exp.training.network import build_network, rebuild


def export_archive(
    network: nn.Module, shape: ImageShape, files: Mapping[str, str] | None = None
) -> bytes:
    """Return a `.pt2` archive of a network that accepts images (n, channels, size, size) for any n.

    Args:
        network: network to export.
        shape: shape of the images.
        files: contents of additional files in the archive, keyed by name.
    """
    return _saved(_traced(network, shape), files)


def export_trained(config: Config, weights: Mapping[str, Tensor]) -> bytes:
    """Return a `.pt2` archive of a configuration's network with trained weights.

    Because tracing takes ten times as long as the rest, a process traces each network only once.
    For later runs, the weights of the traced program are replaced, unless its logits would then
    differ from those of the network.
    """
    network = rebuild(config, weights)
    shape = ImageShape.of(config.dataset)
    options = [config.model, config.activation, config.regularization.dropout_rate, asdict(shape)]
    program, module = _template(json.dumps(options, sort_keys=True, default=str))

    images = torch.rand(shape.batch(2), generator=torch.Generator().manual_seed(0))
    is_equal = _replace_weights(module, weights, network, images)
    if not is_equal:
        program = _traced(network, shape)
    return _saved(program)


def _replace_weights(
    module: nn.Module, weights: Mapping[str, Tensor], network: nn.Module, images: Tensor
) -> bool:
    """Replace the weights of a traced module by those of a network.

    Weights with other names or shapes are not loaded.

    Returns:
        whether the module then computes the same logits as the network.
    """
    if _shapes(weights) != _shapes(module.state_dict()):
        return False

    module.load_state_dict(weights)
    with torch.inference_mode():
        is_equal = torch.equal(module(images), network(images))

    # A network of the user's own can change its buffers when it is called.
    module.load_state_dict(weights)
    return is_equal


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


@lru_cache(maxsize=8)  # the runs of a sweep share a few networks
def _template(options: str) -> tuple[ExportedProgram, nn.Module]:
    """Return a traced network, and a module with the same weights in memory.

    Args:
        options: JSON text of the options of the model and the activation, the dropout rate, and the
            shape of the images.
    """
    model, activation, dropout_rate, shape_values = json.loads(options)
    shape = ImageShape(**shape_values)
    network = build_network(activation, dropout_rate, model=model, shape=shape)
    program = _traced(network.eval(), shape)
    return program, program.module()


def _traced(network: nn.Module, shape: ImageShape) -> ExportedProgram:
    # An example with 1 image would fix n to 1.
    example = (torch.zeros(shape.batch(2)),)
    dynamic_shapes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(network, example, dynamic_shapes=dynamic_shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths from this machine
    return program


def _saved(program: ExportedProgram, files: Mapping[str, str] | None = None) -> bytes:
    """Return an archive of a program.

    It is created in memory, because torch would abort the process (SIGABRT) if the disk were full.
    """
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=dict(files or {}))
    return archive.getvalue()
