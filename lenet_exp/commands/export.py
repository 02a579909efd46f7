"""lenet-export: export a trained model for use in other programs.

  lenet-export format=onnx                        export the MNIST champion (requires
                                                  lenet_exp[onnx])
  lenet-export format=pt2 dataset=fashion_mnist   export a different champion, for use with
                                                  torch.export.load
  lenet-export format=safetensors trained_model=runs:/<MLflow run id> output=/tmp/model.safetensors
                                                  export the model of a run to a file of your choice
  lenet-export format=onnx sweep=last             export the best seed of a sweep's leader

  format=         file format: onnx, pt2, or safetensors (default: the extension of output=)
  trained_model=  registered name or name@alias, runs:/<MLflow run id>, a run folder, a .safetensors
                  file, or a .pkl file from the original script (default: the champion of dataset=)
  sweep=          sweep whose leader is exported, with the seed that has the best validation
                  accuracy: last, its ID, or its folder (default: none)
  dataset=        dataset whose champion is exported (default: mnist); with sweep=, dataset of the
                  leader
  output=         output file (default: in the working directory, <model>-<dataset>.<format> for the
                  champion and <model>-<dataset>-<first characters of the weights' digest>.<format>
                  for other models)
  trust=          your own class or module that the model may use as its network or activation, for
                  example trust=mine.Swish, or sha256:<digest> of the code of someone else; separate
                  several with commas
  tracking.uri=   MLflow store (default: $MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)

The exported model accepts float32 images of shape (n, 1, 32, 32), for any n, with values from -1 to
1, and returns logits of shape (n, 10). For other datasets, the file's metadata describes the images
and their scaling. Before reporting success, lenet-export loads the file and verifies that it
returns the same logits as the original. The file's metadata contains the training record.
lenet-predict and lenet_exp.load can read .safetensors files.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_exp.commands.literal import parse, run_command
from lenet_exp.config.check import check_name
from lenet_exp.errors import ConfigError, one_of, printable
from lenet_exp.files import output_path

if TYPE_CHECKING:
    from lenet_exp.tracking.models.load import TrainedModel

# These are the same values as in prediction/portable.py, which is not imported because it imports
# torch.
FORMATS = ("onnx", "pt2", "safetensors")
FLAGS: dict[str, str | None] = {
    "trained_model": None,
    "format": None,
    "output": None,
    "sweep": None,
    "dataset": "mnist",
    "trust": None,
    "tracking.uri": None,
}


def run(arguments: list[str]) -> int:
    """Run `lenet-export <arguments>` and return its exit status."""
    values = parse(arguments, FLAGS)
    output, trained_model = values["output"], values["trained_model"]
    by_output = Path(output or "").suffix.lower().removeprefix(".")
    chosen = one_of(
        "format", values["format"] or (by_output if by_output in FORMATS else ""), FORMATS
    )
    check_name("dataset", str(values["dataset"]))
    dataset_is_set = any(argument.startswith("dataset=") for argument in arguments)
    if dataset_is_set and trained_model is not None:
        raise ConfigError(
            f"dataset={values['dataset']} and trained_model={trained_model} are both set; set only one"
        )
    sweep = values["sweep"]
    path = None if output is None else output_path(output, [f".{chosen}"])

    from lenet_exp.addresses import default_uri
    from lenet_exp.prediction.portable import BATCHES, TOLERANCE, check_format, write_portable
    from lenet_exp.tracking.models.load import load_model
    from lenet_exp.tracking.models.model import registered_name

    check_format(chosen)
    uri = values["tracking.uri"] or default_uri()
    if sweep is None:
        model = load_model(trained_model, uri, str(values["dataset"]), values["trust"])
    else:
        model = _leader(values, dataset_is_set)
    if path is None:
        record = model.record
        # The names of files from the original script contain the dataset.
        stem = registered_name(record.dataset, record.config) if record else Path(model.name).stem
        # the name without it: the champion
        if record is not None and (sweep is not None or trained_model is not None):
            stem += f"-{str(record.weights_digest)[:8]}"
        path = output_path(re.sub(r"[^\w.-]", "_", stem) + f".{chosen}", [f".{chosen}"])
    replaced = ", replaced" if path.exists() else ""
    difference, allowed = write_portable(model, chosen, path)
    *others, last = BATCHES
    batches = f"batches of {', '.join(map(str, others))}, and {last} images"
    print(
        printable(
            f"{model.name} as {chosen}: {path} ({path.stat().st_size / 1000:.0f} kB{replaced})"
        )
    )
    if difference == 0:
        print(f"checked: logits of {batches} are bit-identical")
    else:
        print(f"checked: logits of {batches} differ by at most {difference:.1e}")
        print(f"(tolerance: {allowed:.1e}, which is {TOLERANCE:g} times the largest logit)")
    return 0


def _leader(values: dict[str, str | None], dataset_is_set: bool) -> TrainedModel:
    """Return the model of the best seed of a sweep's leader."""
    from lenet_exp.config.compose import compose_prediction
    from lenet_exp.prediction.leader import best_of_leader

    config = compose_prediction([f"dataset={values['dataset']}"] if dataset_is_set else [])
    tracking = replace(config.tracking, uri=values["tracking.uri"])
    config = replace(
        config,
        sweep=values["sweep"],
        trained_model=values["trained_model"],
        trust=values["trust"],
        tracking=tracking,
    )
    return best_of_leader(config, dataset_is_set=dataset_is_set)


def main() -> None:
    """Run the `lenet-export` command."""
    run_command("lenet-export", __doc__, run)
