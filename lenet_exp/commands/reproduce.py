"""lenet-reproduce: is this run's result what its record makes of it?"""

from __future__ import annotations

from lenet_exp.commands.literal import completions, parse, run_command
from lenet_exp.errors import ConfigError, printable

USAGE = """
lenet-reproduce: trains a run again from its record and says whether it comes to the same bits.

  lenet-reproduce run=<which>              a run folder, its id (or its first digits), an MLflow run id, a .safetensors
                                           file of model_path, or champion:<data set>
  lenet-reproduce run=<which> check=true   trains nothing: are record, history and weights what was written, and do the
                                           weights get as many validation images right as the record says?

  data_root=      folder of the data sets (default: the record's where that is there, else $LENET_EXP_DATA, else data)
  trust=          class or module of your own that a record from elsewhere may name, as in trust=mine.Swish
  tracking.uri=   MLflow store (default: $MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)

It says what differs here (code, versions, CPU, data), trains with the device, threads and engine of the record, in a
folder of its own (outputs/reproduced), and compares epoch by epoch. Stopped, it goes on when it is typed again. The
answer is also a tag of the run in MLflow: reproduced, or record_checked.
Exit status: 0 identical bit for bit; 1 differs; 2 what was asked for is wrong; 3 not comparable, as where a result
differs that torch trained on another CPU, or where the data are not there.
"""

KNOWN: dict[str, str | None] = {"run": None, "check": "false", "data_root": None, "trust": None, "tracking.uri": None}


def run(arguments: list[str]) -> int:
    """The exit status of `lenet-reproduce <arguments>`."""
    values = parse(arguments, KNOWN)
    which, checks, uri = values["run"], values["check"], values["tracking.uri"]
    if not which:
        raise ConfigError("run=: allowed is a run folder or its id, an MLflow run id, or champion:<data set>")
    checking = checks == "true"
    from lenet_exp.addresses import default_uri
    from lenet_exp.config.check import check_store
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.waiting import say_waiting

    if uri is not None:
        check_store(uri)
    say_waiting("loading torch")
    from lenet_exp.runs.answer import Verdict
    from lenet_exp.runs.reproduce import check, reproduce
    from lenet_exp.tracking.delivery.reproduced import tell
    from lenet_exp.tracking.models.recorded import find_recorded

    log_to_console()
    uri = uri or default_uri()
    recorded = find_recorded(which, uri)
    print(printable(f"run: {recorded.name}"))
    tried = check if checking else reproduce
    answer = tried(recorded, data_root=values["data_root"], trust=values["trust"])
    for line in (*answer.details, answer.line):
        print(printable(line))
    tag, weak = "record_checked" if checking else "reproduced", answer.verdict is Verdict.not_comparable
    tell(recorded.mlflow_runs, uri, tag, answer.line, weak=weak)
    return answer.verdict


def main() -> None:
    """The command lenet-reproduce."""
    run_command("lenet-reproduce", USAGE, run, completions(KNOWN))
