"""The file in `model_path` with a run's best model so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.errors import ConfigError
from lenet_exp.files import user_path
from lenet_exp.folders.records import Record, record_to_json
from lenet_exp.training.trained.weights import save_weights

if TYPE_CHECKING:
    from torch import Tensor


class ModelFile:
    """Writer of a run's model file in `model_path`. The file is replaced at each improvement.

    The file is named `<dataset>_epoch<epoch>_acc<accuracy>_<first 8 digits of the run
    ID>.safetensors`. Its metadata key `record` contains the run's record as JSON.

    Args:
        folder: value of the flag `model_path`.

    Raises:
        ConfigError: the folder cannot be created or written to.
    """

    def __init__(self, folder: str, dataset: str, run_id: str) -> None:
        self.folder = user_path(folder).absolute()
        self._prefix = dataset
        self._suffix = f"_{run_id[:8]}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{run_id}"
            probe.touch()
            probe.unlink()
        except OSError as e:
            problem = f"must be a writable folder ({e.strerror})"
            raise ConfigError(f"model_path={folder}: {problem}") from e

    def replace(self, weights: dict[str, Tensor], record: Record) -> Path:
        """Write the new best model, and remove the run's earlier model file.

        Returns:
            path of the new file.
        """
        results = f"epoch{record.best_epoch}_acc{record.best_val_accuracy:.4f}"
        path = self.folder / f"{self._prefix}_{results}{self._suffix}"
        save_weights(path, weights, {"record": json.dumps(record_to_json(record))})

        for model_file in self.folder.glob(f"{self._prefix}_epoch*_acc*{self._suffix}"):
            if model_file != path:
                model_file.unlink()
        return path
