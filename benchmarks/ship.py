"""Create the bundled models from the runs of `benchmarks.results` with the best validation
accuracy.

    python -m benchmarks.ship

The script writes lenet_exp/champions/<dataset>.safetensors. Each file contains the run's record,
from which paths and names that are specific to the machine are removed. Run the script in the
folder in which you ran `benchmarks.results`.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace

from benchmarks.manifest import EXPERIMENT, stored
from benchmarks.recipes import RECIPES
from lenet_exp.api import compose
from lenet_exp.config.flags import with_value
from lenet_exp.folders.digests import with_digest
from lenet_exp.folders.records import record_to_json
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.models.shipped import SHIPPED
from lenet_exp.tracking.stores.store import open_store
from lenet_exp.training.trained.weights import save_weights, weights_digest

BEST = {"mnist": "mnist_best", "fashion_mnist": "fashion_best"}


def main() -> None:
    """Write the bundled models."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    store = open_store(compose([f"tracking.experiment={EXPERIMENT}"]).tracking)
    SHIPPED.mkdir(exist_ok=True)
    for row in RECIPES:
        if BEST.get(row.dataset) != row.name:
            continue
        runs = stored(row, store).values()
        best = max(runs, key=lambda run: float(run.data.metrics["best_val_accuracy"]))
        folder = RunFolder(outputs_dir() / "runs" / best.data.tags["run_folder"])
        record = folder.record()
        weights = folder.best_weights()
        assert record is not None
        assert weights is not None
        assert weights_digest(weights) == record.weights_digest

        config = with_value(record.config, "tracking.uri", None)
        record = replace(
            record,
            config=replace(config, data_root="data"),
            data_source=config.dataset.folder,
            host="",
            command=f"experiment={row.name}",
        )
        metadata = {"record": json.dumps(with_digest(record_to_json(record)))}
        save_weights(SHIPPED / f"{row.dataset}.safetensors", weights, metadata)
        run_text = f"{row.dataset}: {row.name}, seed {record.config.seed}"
        logging.info("%s, %.4f", run_text, record.best_val_accuracy)


if __name__ == "__main__":
    main()
