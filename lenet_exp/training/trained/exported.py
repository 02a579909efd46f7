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
    network, shape = rebuild(config, weights), ImageShape.of(config.dataset)
    options = [config.model, config.activation, config.regularization.dropout_rate, asdict(shape)]
    program, module = _template(json.dumps(options, sort_keys=True, default=str))
    images = torch.rand(shape.batch(2), generator=torch.Generator().manual_seed(0))
    same = {k: v.shape for k, v in module.state_dict().items()} == {
        k: v.shape for k, v in weights.items()
    }
    if same:
        module.load_state_dict(weights)
        with torch.inference_mode():
            same = torch.equal(module(images), network(images))
        module.load_state_dict(weights)  # a network of the user's own can change its buffers
    return _saved(program if same else _traced(network, shape))


@lru_cache(maxsize=8)  # the runs of a sweep share a few networks
def _template(options: str) -> tuple[ExportedProgram, nn.Module]:
    """Return a traced network, and a module with the same weights in memory."""
    model, activation, dropout_rate, images = json.loads(options)
    shape = ImageShape(**images)
    program = _traced(
        build_network(activation, dropout_rate, model=model, shape=shape).eval(), shape
    )
    return program, program.module()


def _traced(network: nn.Module, shape: ImageShape) -> ExportedProgram:
    shapes = ({0: torch.export.Dim("n")},)  # an example with 1 image would fix n to 1
    program = torch.export.export(
        network, (torch.zeros(shape.batch(2)),), dynamic_shapes=shapes, strict=False
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths from this machine
    return program


def _saved(program: ExportedProgram, files: Mapping[str, str] | None = None) -> bytes:
    """Return an archive created in memory, because torch would abort the process (SIGABRT) if the
    disk were full.
    """
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=dict(files or {}))
    return archive.getvalue()
