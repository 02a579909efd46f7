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

from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.config.check import check_name
from lenet_exp.errors import ConfigError, one_of, printable
from lenet_exp.files import output_path

if TYPE_CHECKING:
    from lenet_exp.tracking.models.load import TrainedModel

# These are the same values as in prediction/portable.py, which is not imported because it imports
# torch.
FORMATS = ("onnx", "pt2", "safetensors")
FLAGS: FlagValues = {
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
    model_format = _format(values)
    check_name("dataset", str(values["dataset"]))
    dataset_is_set = any(argument.startswith("dataset=") for argument in arguments)
    if dataset_is_set and values["trained_model"] is not None:
        raise ConfigError(
            f"dataset={values['dataset']} and trained_model={values['trained_model']} "
            "are both set; set only one"
        )
    path = None
    if values["output"] is not None:
        path = output_path(values["output"], [f".{model_format}"])

    from lenet_exp.prediction.portable import check_format, write_portable

    check_format(model_format)
    model = _model(values, dataset_is_set)
    if path is None:
        is_champion = values["sweep"] is None and values["trained_model"] is None
        name = _default_name(model, is_champion=is_champion)
        path = output_path(f"{name}.{model_format}", [f".{model_format}"])

    replaced = ", replaced" if path.exists() else ""
    difference, tolerance = write_portable(model, model_format, path)
    size = f"{path.stat().st_size / 1000:.0f} kB"
    print(printable(f"{model.name} as {model_format}: {path} ({size}{replaced})"))
    _print_check(difference, tolerance)
    return 0


def _format(values: FlagValues) -> str:
    """Return the format of the exported file: `format=`, or the extension of `output=`."""
    extension = Path(values["output"] or "").suffix.lower().removeprefix(".")
    default = extension if extension in FORMATS else ""
    return one_of("format", values["format"] or default, FORMATS)


def _model(values: FlagValues, dataset_is_set: bool) -> TrainedModel:
    from lenet_exp.addresses import default_uri
    from lenet_exp.tracking.models.load import load_model

    if values["sweep"] is not None:
        return _leader(values, dataset_is_set)
    uri = values["tracking.uri"] or default_uri()
    return load_model(values["trained_model"], uri, str(values["dataset"]), values["trust"])


def _default_name(model: TrainedModel, *, is_champion: bool) -> str:
    """Return the default name of the exported file, without its extension."""
    from lenet_exp.tracking.models.model import registered_name

    record = model.record
    if record is None:
        # The names of files from the original script contain the dataset.
        name = Path(model.name).stem
    else:
        name = registered_name(record.dataset, record.config)
        if not is_champion:
            name += f"-{str(record.weights_digest)[:8]}"
    return re.sub(r"[^\w.-]", "_", name)


def _print_check(difference: float, tolerance: float) -> None:
    """Print how the logits of the exported model differ from those of the original.

    Args:
        difference: largest difference.
        tolerance: largest permitted difference.
    """
    from lenet_exp.prediction.portable import BATCHES, TOLERANCE

    *sizes, last_size = BATCHES
    batches = f"batches of {', '.join(map(str, sizes))}, and {last_size} images"
    if difference == 0:
        print(f"checked: logits of {batches} are bit-identical")
        return
    print(f"checked: logits of {batches} differ by at most {difference:.1e}")
    print(f"(tolerance: {tolerance:.1e}, which is {TOLERANCE:g} times the largest logit)")


def _leader(values: FlagValues, dataset_is_set: bool) -> TrainedModel:
    """Return the model of the best seed of a sweep's leader."""
    from lenet_exp.config.compose import compose_prediction
    from lenet_exp.prediction.leader import best_of_leader

    overrides: list[str] = []
    if dataset_is_set:
        overrides.append(f"dataset={values['dataset']}")
    config = compose_prediction(overrides)
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
