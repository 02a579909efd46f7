"""The files of a logged model, by which MLflow serves it: made of a mould, where this machine has one.

torch traces a network to export it, which takes a second in a new process. What comes out differs between two networks
of the same kind in the weights alone, which lie in the archive as they are in memory. So what was made of one network
is kept, and of the next one only the weights are poured in. Nothing of torch is loaded for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import stat
import struct
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lenet_exp.cache import NoCache, cache_folder, claim_folder, is_ours
from lenet_exp.config.schema import Config
from lenet_exp.files import from_json
from lenet_exp.training.trained.weights import Arrays

EXPORTED = "data/model.pt2"
CONFIG = "data/weights/model_weights_config.json"  # in the archive: the file of each tensor
MOST = 100  # moulds of a release; an activation with a number that is searched has ever new ones
EXAMPLE_SIZE = 2  # an example of 1 image would freeze the exported batch at 1
ALIGNED = 64  # torch has each file of an archive begin at a multiple of so many bytes
TRAINING = Path(__file__).parents[2] / "training"
NETWORK = ("lenet5.py", "activations.py")  # what a network is made by
OWN = ("torch.nn.", "lenet_exp.")  # activations whose code is that of a release


def write_model_files(path: Path, config: Config, weights: Arrays, model_id: str, run_id: str) -> None:
    """Makes the folder `path`: MLflow's own description, the exported network, an example of its input."""
    mould = _mould(config, weights)
    if mould is None:
        _export(path, config, weights)
    else:
        shutil.copytree(mould, path)
        (path / EXPORTED).write_bytes(poured((path / EXPORTED).read_bytes(), weights))
    _describe(path, model_id, run_id)


def poured(archive: bytes, weights: Arrays) -> bytes:
    """A `.pt2` archive with other weights.

    Raises:
        ValueError: it is of a network with other tensors.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        new_bytes = _files_of(old, weights)
        for member in old.infolist():
            content = new_bytes.get(member.filename) or old.read(member)
            info = zipfile.ZipInfo(member.filename)
            pad = -(out.tell() + 30 + len(info.filename.encode()) + 4) % ALIGNED
            info.extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad  # as torch pads
            new.writestr(info, content)
    return out.getvalue()


def _files_of(archive: zipfile.ZipFile, weights: Arrays) -> Mapping[str, bytes]:
    (config,) = (name for name in archive.namelist() if name.endswith(f"/{CONFIG}"))
    folder, entries = config.rpartition("/")[0], from_json(archive.read(config))["config"]
    found = {}
    for name, entry in entries.items():
        meta, array = entry["tensor_meta"], weights.get(name)
        sizes, strides = (tuple(n["as_int"] for n in meta[key]) for key in ("sizes", "strides"))
        if array is None or array.dtype != np.float32 or array.shape != sizes or entry["use_pickle"]:
            raise ValueError(f"{name} is another tensor than the network's")
        if strides != tuple(n // array.itemsize for n in np.ascontiguousarray(array).strides):
            raise ValueError(f"{name} is not kept row by row")
        found[f"{folder}/{entry['path_name']}"] = np.ascontiguousarray(array).tobytes()
    if set(entries) != set(weights):
        raise ValueError("the network has other tensors")
    return found


def _mould(config: Config, weights: Arrays) -> Path | None:
    """The folder to make others of; None where there can be none, and each network is exported by itself."""
    if not str(config.activation.get("_target_")).startswith(OWN):
        return None  # somebody's own code may be another one tomorrow
    try:
        folder = cache_folder("models")
        claim_folder(folder)
        release, kind = _kind(config)
        mould = folder / f"{release}-{kind}"
        if not mould.is_dir():
            if len(list(folder.glob(f"{release}-*"))) >= MOST:
                return None
            _make(mould, config, weights)
        for path in (mould, *mould.rglob("*")):
            if stat.S_ISLNK(path.lstat().st_mode) or not is_ours(path.lstat()):
                return None
    except (OSError, NoCache):
        return None
    return mould if _fits(mould, weights) else None


def _make(mould: Path, config: Config, weights: Arrays) -> None:
    aside = Path(tempfile.mkdtemp(dir=mould.parent))
    try:
        _export(aside / "model", config, weights)
        for path in (aside / "model", *(aside / "model").rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        with contextlib.suppress(OSError):  # another process was first
            (aside / "model").rename(mould)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fits(mould: Path, weights: Arrays) -> bool:
    try:
        with zipfile.ZipFile(mould / EXPORTED) as archive:
            return bool(_files_of(archive, weights))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return False


def _kind(config: Config) -> tuple[str, str]:
    """What exports a network, and what of it is seen there: not its dropout, which only trains."""
    made_by = {name: version(name) for name in ("torch", "mlflow", "numpy", "lenet_exp")}
    release = hashlib.sha256(json.dumps([made_by, sys.version, EXAMPLE_SIZE], sort_keys=True).encode())
    for name in NETWORK:
        release.update((TRAINING / name).read_bytes())
    activation = json.dumps(config.activation, sort_keys=True, default=str).encode()
    return release.hexdigest()[:16], hashlib.sha256(activation).hexdigest()[:16]


def _export(path: Path, config: Config, weights: Arrays) -> None:
    import mlflow.pytorch
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from lenet_exp.training.lenet5 import rebuild

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1, 32, 32))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 10))]),
    )
    mlflow.pytorch.save_model(
        rebuild(config, {name: torch.from_numpy(array) for name, array in weights.items()}),
        str(path),
        signature=signature,
        input_example=np.zeros((EXAMPLE_SIZE, 1, 32, 32), np.float32),
        pip_requirements=[f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
        serialization_format="pt2",
    )
    for example in path.glob("*input_example.json"):  # thousands of zeros, most of which MLflow gives a line of its own
        example.write_text(json.dumps(from_json(example.read_bytes()), separators=(",", ":")))


def _describe(path: Path, model_id: str, run_id: str) -> None:
    """Whose model it is; the rest of MLflow's own description is that of its kind."""
    from mlflow.models import Model

    now = str(datetime.now(UTC).replace(tzinfo=None))  # as MLflow writes it
    whose = {"model_id": model_id, "run_id": run_id, "model_uuid": uuid.uuid4().hex, "utc_time_created": now}
    Model.from_dict(Model.load(str(path)).to_dict() | whose).save(str(path / "MLmodel"))
