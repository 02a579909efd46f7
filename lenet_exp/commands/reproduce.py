"""lenet-reproduce: retrain a run from its record and check whether the results are bit-identical.

  lenet-reproduce run=<which>     retrain one run; give its folder, its ID (or its first few characters), its MLflow run
                                  ID, a .safetensors file from model_path, or champion:<dataset>
  lenet-reproduce sweep=<which>   retrain all runs of a sweep in parallel; give 'last', its ID (or its first few
                                  characters), its MLflow run ID, or its folder

  data_root=      folder with the datasets (default: the folder named in the record, if it exists,
                  else $LENET_EXP_DATA, else data)
  trust=          your own class or module that the record may use, for example trust=mine.Swish, or
                  sha256:<digest> of the code of someone else; separate several with commas
  tracking.uri=   MLflow store (default: $MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder)

The run is retrained in outputs/reproduced with the device, number of threads, and engine from its record, and is
compared with the original epoch by epoch. Differences in code, versions, CPU, and data are printed. If a reproduction
is interrupted, rerun the same command to resume it. The result is also saved in the tag 'reproduced' of the MLflow run.
Exit status: 0 if the results are bit-identical, 1 if they differ, 2 if the request is invalid, 3 if the results are not
comparable (for example, because PyTorch computes different results on this CPU or because the data is missing). For a
sweep: 1 if any run differs, 3 if no run differs but at least one is not comparable, 0 if all results are bit-identical.
"""

from __future__ import annotations

import logging

from lenet_exp.commands.literal import completions, parse, run_command
from lenet_exp.errors import ConfigError, printable

KNOWN: dict[str, str | None] = {
    "run": None,
    "sweep": None,
    "data_root": None,
    "trust": None,
    "tracking.uri": None,
}

log = logging.getLogger("lenet_exp")


def run(arguments: list[str]) -> int:
    """Run `lenet-reproduce <arguments>` and return its exit status."""
    values = parse(arguments, KNOWN)
    which, sweep, uri = values["run"], values["sweep"], values["tracking.uri"]
    if which and sweep:
        raise ConfigError("run= and sweep= are both set; set only one of them")
    if not which and not sweep:
        raise ConfigError(
            "run=: must be a run folder, a run ID, an MLflow run ID, or champion:<dataset>; or set sweep="
        )
    from lenet_exp.addresses import default_uri
    from lenet_exp.reports.terminal.progress import log_to_console
    from lenet_exp.waiting import print_waiting

    print_waiting("loading PyTorch")
    log_to_console()
    options = {"data_root": values["data_root"], "trust": values["trust"]}
    if sweep:
        return _sweep(sweep, uri or default_uri(), **options)
    return _run(str(which), uri or default_uri(), **options)


def _run(which: str, uri: str, *, data_root: str | None, trust: str | None) -> int:
    from lenet_exp.reproduction.reproduce import reproduce
    from lenet_exp.reproduction.reproduce_result import ReproduceStatus
    from lenet_exp.tracking.delivery.reproduced import tag_runs
    from lenet_exp.tracking.models.recorded import find_recorded

    recorded = find_recorded(which, uri)
    print(printable(f"run: {recorded.name}"))
    answer = reproduce(recorded, data_root=data_root, trust=trust)
    for line in (*answer.details, answer.line):
        print(printable(line))
    weak = answer.verdict is ReproduceStatus.not_comparable
    tag_runs(recorded.mlflow_runs, uri, answer.line, weak=weak)
    return answer.verdict


def _sweep(which: str, uri: str, *, data_root: str | None, trust: str | None) -> int:
    from lenet_exp.amounts import number_of
    from lenet_exp.folders.find import find_sweep
    from lenet_exp.folders.job import Job
    from lenet_exp.reproduction.parallel import reproduce_in_parallel
    from lenet_exp.reproduction.reproduce_result import ReproduceResult, ReproduceStatus
    from lenet_exp.tracking.delivery.reproduced import tag_runs
    from lenet_exp.tracking.models.recorded import of_folder

    folder = find_sweep(which)
    jobs = list({job.run: job for job in folder.jobs()}.values())
    if not jobs:
        raise ConfigError(f"sweep={which}: no runs yet; run the sweep's command first")
    verdicts: list[ReproduceStatus] = []
    told = True

    def hear(job: Job, answer: ReproduceResult) -> None:
        nonlocal told
        verdicts.append(answer.verdict)
        for line in (*answer.details, answer.line):
            print(printable(f"{job.name}: {line}"), flush=True)
        if told:  # after the first warning about an unavailable store, no more runs are tagged
            weak, runs = answer.verdict is ReproduceStatus.not_comparable, of_folder(job.folder, uri).mlflow_runs
            told = tag_runs(runs, uri, answer.line, weak=weak, say=log.debug)

    print(printable(f"sweep: {folder.path}"), flush=True)
    reproduce_in_parallel(jobs, hear, uri=uri, data_root=data_root, trust=trust)
    others = ((ReproduceStatus.differs, "different"), (ReproduceStatus.not_comparable, "not comparable"))
    words = [f"; {words}: {n}" for verdict, words in others if (n := verdicts.count(verdict))]
    same = f"{verdicts.count(ReproduceStatus.identical)} of {number_of(len(jobs), 'run')}"
    print(f"{same} identical bit for bit{''.join(words)}")
    return next((verdict for verdict, _ in others if verdict in verdicts), ReproduceStatus.identical)


def main() -> None:
    """Run the `lenet-reproduce` command."""
    run_command("lenet-reproduce", __doc__, run, completions(KNOWN))
