"""Exports trained networks as `.pt2` archives in a separate process.

The process works for processes that never import torch:

    uploading process: ModelExporter   -- path -->   export process: main   -- archive -->

The process starts once, before the first export. It imports torch and, if a run has a network of
the user's own, the copy of its code in the outputs folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lenet_exp import processes
from lenet_exp.config.class_groups import option_name
from lenet_exp.config.own_code import codes
from lenet_exp.config.schema import Config
from lenet_exp.errors import first_line
from lenet_exp.files import DISK_ERRORS
from lenet_exp.folders.code_folder import load_code
from lenet_exp.folders.records import Record, record_from_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.stopping import limit_gc
from lenet_exp.training.trained.weights import Arrays, load_arrays

log = logging.getLogger("lenet_exp")

Export = Callable[[Path], bytes]


class ModelExporter:
    """Exports the best models of runs. Call `close` at the end.

    `start` can be called from any thread, the other methods only from one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process. If there is none, start one, which imports torch at once."""
        with self._lock:
            if self._process is None:
                self._process = processes.start_module("lenet_exp.tracking.models.exporter")
            return self._process

    def export(self, source: Path) -> bytes:
        """Return a `.pt2` archive of a trained network; see `export_model`.

        Raises:
            OSError: the process died, or the disk is full, so the same network can be exported
                later.
        """
        process = self.start()
        try:
            return self._request(process, source)
        except (BrokenPipeError, EOFError, ValueError) as e:
            self.close()
            raise OSError("the process that exports models died") from e

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process = self._process
            self._process = None
        if process is None:
            return

        process.kill()  # it has nothing to save
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _request(self, process: subprocess.Popen[bytes], source: Path) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"source": str(source)}).encode() + b"\n")
        process.stdin.flush()

        answer = json.loads(process.stdout.readline() or b"null")
        if answer is None:
            raise EOFError
        if answer["errno"] is not None:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        if answer["warning"]:
            log.warning("%s", answer["warning"])

        archive = process.stdout.read(answer["size"])
        if len(archive) < answer["size"]:
            raise EOFError
        return archive


def export_model(source: Path) -> bytes:
    """Return a `.pt2` archive of a trained network, exported in this process.

    If torch cannot export the network, log a warning and return no bytes.

    Args:
        source: run folder, whose best weights are exported, or a `.safetensors` file with a record.

    Raises:
        OSError: the disk is full, so the same network can be exported later.
    """
    archive, warning = _exported(source)
    if warning:
        log.warning("%s", warning)
    return archive


def _exported(source: Path) -> tuple[bytes, str]:
    """Return a `.pt2` archive and a warning, like `export_network`.

    Raises:
        OSError: the disk is full.
    """
    if source.suffix == ".safetensors":
        weights, metadata = load_arrays(source)
        record: Record | None = record_from_json(json.loads(metadata["record"]))
        best: Arrays | None = weights
    else:
        record = RunFolder(source).record()
        best = RunFolder(source).best_arrays()

    if record is None or best is None:
        return b"", f"{source}: its best weights were not found"
    load_code(codes(record.config), source.parent.parent)
    return export_network(record.config, best)


def export_network(config: Config, weights: Arrays) -> tuple[bytes, str]:
    """Return a `.pt2` archive of a configuration's network, and a warning.

    Args:
        config: configuration with the network.
        weights: weights of the network.

    Returns:
        The archive and an empty string; if torch cannot export the network, no bytes and a warning.

    Raises:
        OSError: the disk is full, so the same network can be exported later.
    """
    import torch

    from lenet_exp.training.trained.exported import export_trained

    try:
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        return export_trained(config, tensors), ""
    except Exception as e:  # torch cannot export every network of a user's own
        if isinstance(e, OSError) and e.errno in DISK_ERRORS:
            raise
        model = option_name(config.model)
        return b"", f"MLflow cannot serve model={model}: torch.export failed: {first_line(e)}"


def main() -> None:
    """Export models until stdin ends."""
    limit_gc()
    requests = sys.stdin.buffer
    answers = _protected_stdout()

    # before the first request, because torch takes seconds
    import lenet_exp.training.trained.exported  # noqa: F401

    for line in requests:
        source = Path(json.loads(line)["source"])
        archive = b""
        warning = ""
        number = None
        try:
            archive, warning = _exported(source)
        except OSError as e:
            number = e.errno

        head = {"size": len(archive), "warning": warning, "errno": number}
        answers.write(json.dumps(head).encode() + b"\n" + archive)
        answers.flush()


def _protected_stdout() -> IO[bytes]:
    """Return stdout, to which nothing else can write from now on: a user's code can print."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
