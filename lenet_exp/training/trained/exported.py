"""Export of networks as PyTorch `.pt2` archives."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import nn

from lenet_exp.config.image_shape import ImageShape


def export_archive(network: nn.Module, shape: ImageShape, files: Mapping[str, str] | None = None) -> bytes:
    """Return a `.pt2` archive of a network that accepts images (n, channels, size, size) for any n.

    The archive is created in memory, because torch would abort the process (SIGABRT) if the disk were full.

    Args:
        network: network to export.
        shape: shape of the images.
        files: contents of additional files in the archive, keyed by name.
    """
    shapes = ({0: torch.export.Dim("n")},)  # an example with 1 image would fix n to 1
    program = torch.export.export(network, (torch.zeros(shape.batch(2)),), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths from this machine
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=dict(files or {}))
    return archive.getvalue()
