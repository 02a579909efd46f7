"""Networks as `.pt2` archives of torch. Their weights are read as raw bytes and JSON, for models that older releases
logged: `torch.export.load` unpickles the sample inputs.

In an archive `data/weights/model_weights_config.json` names for each tensor its file of raw bytes, type, sizes and
strides; no other file of it is opened.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MAX_BYTES = 16 * 2**20  # of the archive, and of all its tensors together; LeNet-5 has 0.25 MB
MAX_CONFIG_BYTES = 2**20
CONFIG = "data/weights/model_weights_config.json"
STRIDED = 7  # torch's numbers in the JSON: a layout, and types
TYPES = {5: torch.int64, 6: torch.float16, 7: torch.float32, 8: torch.float64}


def export_archive(network: nn.Module, files: Mapping[str, str] | None = None) -> bytes:
    """The archive of a network that takes images (n, 1, 32, 32), for any n.

    It is made in memory: if torch itself writes to a disk that is full, the process ends with SIGABRT.

    Args:
        files: further files in the archive, by name.
    """
    shapes = ({0: torch.export.Dim("n")},)  # an example of 1 image would freeze n at 1
    program = torch.export.export(network, (torch.zeros(2, 1, 32, 32),), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the source files of this machine
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=dict(files or {}))
    return archive.getvalue()


def read_exported(path: Path) -> dict[str, Tensor]:
    """The tensors by name, in the archive's order.

    Raises:
        ValueError: with one line that says what is wrong with the file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
        with zipfile.ZipFile(path) as archive:
            return _tensors(archive)
    except ValueError:  # of JSON, too
        raise
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise ValueError(f"its {CONFIG.rpartition('/')[2]} is not as torch writes it ({type(e).__name__})") from e
    except Exception as e:  # of zipfile and torch
        raise ValueError(str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__) from e


def _tensors(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    configs = [m for m in archive.infolist() if m.filename.endswith(f"/{CONFIG}")]
    if len(configs) != 1:
        raise ValueError(f"holds {len(configs)} files {CONFIG}; must hold one")
    described = json.loads(_content(archive, configs[0], MAX_CONFIG_BYTES))["config"]
    folder, left, found = configs[0].filename.rpartition("/")[0], MAX_BYTES, {}
    for name, entry in described.items():
        if entry["use_pickle"]:
            raise ValueError(f"{name} is pickled; refused")
        member = archive.getinfo(f"{folder}/{entry['path_name']}")
        content = _content(archive, member, left)
        found[name] = _tensor(content, entry["tensor_meta"])
        left -= max(len(content), found[name].nbytes)
    return found


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """Read a file of the archive, after a check of its size. torch never compresses one."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed; refused")
    if member.file_size > most:
        raise ValueError(f"unpacks to more than {MAX_BYTES >> 20} MiB; refused")
    return archive.read(member)


def _tensor(content: bytes, meta: dict[str, Any]) -> Tensor:
    sizes, strides = ([int(n["as_int"]) for n in meta[key]] for key in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    if meta["dtype"] not in TYPES or meta["layout"] != STRIDED:
        raise ValueError(f"a tensor of type {meta['dtype']} and layout {meta['layout']}; refused")
    kind = TYPES[meta["dtype"]]
    if min([offset, *sizes, *strides]) < 0 or math.prod(sizes) * kind.itemsize > MAX_BYTES:
        raise ValueError(f"a tensor of sizes {sizes}; refused")
    flat = torch.frombuffer(bytearray(content), dtype=kind)
    return torch.as_strided(flat, sizes, strides, offset).clone(memory_format=torch.contiguous_format)
