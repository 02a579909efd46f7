"""lenet-reproduce: retrain a run from its record and check whether the results are bit-identical.

  lenet-reproduce run=<which>              retrain a run; give its folder, its ID (or its first few
                                           characters), its MLflow run ID, a .safetensors file from
                                           model_path, or champion:<dataset>
  lenet-reproduce run=<which> check=true   train nothing; recompute the stored accuracy, metric, and
                                           confusion matrix from the stored weights and the
                                           validation images

  data_root=      folder with the datasets (default: the folder named in the record, if it exists,
                  else $LENET_EXP_DATA, else data)
  dataset.file=   .npz file with the images of a run with dataset=arrays (default: the path named in
                  the record)
  trust=          your own class or module that the record may use, for example trust=mine.Swish, or
                  sha256:<digest> of the code of someone else; separate several with commas
  tracking.uri=   MLflow store (default: $MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)

The run is retrained in outputs/reproduced with the device, number of threads, and engine from its
record, and is compared with the original epoch by epoch. Differences in code, versions, CPU, and
data are printed. If a reproduction is interrupted, rerun the same command to resume it. Exit
status: 0 if the results are bit-identical, 1 if they differ, 2 if the request is invalid, 3 if the
results are not comparable (for example, because PyTorch computes different results on this CPU or
because the data is missing).
"""

from __future__ import annotations

from lenet_exp.commands.literal import FlagValues, parse, run_command
from lenet_exp.errors import ConfigError, printable

FLAGS: FlagValues = {
    "run": None,
    "check": "false",
    "data_root": None,
    "dataset.file": None,
    "trust": None,
    "tracking.uri": None,
}


def run(arguments: list[str]) -> int:
    """Run `lenet-reproduce <arguments>` and return its exit status."""
    values = parse(arguments, FLAGS)
    requested_run = values["run"]
    if not requested_run:
        raise ConfigError(
            "run= is required: a run folder or ID, an MLflow run ID, a .safetensors file, "
            "or champion:<dataset>"
        )

    from lenet_exp.addresses import default_uri
    from lenet_exp.reports.terminal.log_output import log_to_console
    from lenet_exp.waiting import print_waiting

    print_waiting("loading PyTorch")
    log_to_console()
    from lenet_exp.reproduction.recompute import recompute
    from lenet_exp.reproduction.reproduce import reproduce
    from lenet_exp.tracking.models.recorded import find_recorded

    uri = values["tracking.uri"] or default_uri()
    recorded = find_recorded(requested_run, uri)
    print(printable(f"run: {recorded.name}"))

    repeat = recompute if values["check"] == "true" else reproduce
    answer = repeat(
        recorded, data_root=values["data_root"], file=values["dataset.file"], trust=values["trust"]
    )
    for line in (*answer.details, answer.line):
        print(printable(line))
    return answer.verdict


def main() -> None:
    """Run the `lenet-reproduce` command."""
    run_command("lenet-reproduce", __doc__, run)
