"""Prints the summary of a single run at its end."""

from __future__ import annotations

from lenet_exp.addresses import default_uri, hide_password, store_uri
from lenet_exp.amounts import number_of
from lenet_exp.comparison.runs import has_collapsed
from lenet_exp.config.schema import Config
from lenet_exp.errors import first_line, printable
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.words.run_outcomes import AT_CHANCE, COLLAPSED


def print_result(result: RunResult) -> None:
    """Print the outcome of a run, its accuracy, and its run folder."""
    record = result.record
    if result.repeated:
        print("Already trained; showing the saved result. To retrain, set sweep.force=true.")
    epochs = RunFolder(result.folder).history().epochs if record.epochs else []
    if record.best_val_accuracy is not None:
        remark = f" (at chance: {AT_CHANCE})" if record.at_chance else ""
        what = f"accuracy {record.best_val_accuracy:.2%}"
        if not record.metric.is_accuracy:
            what, remark = record.reached, f" ({what})"
        print(
            f"{record.config.training.select} validation {what} in epoch {record.best_epoch}{remark}"
        )
    if epochs and has_collapsed(record.metric, record.value, epochs[-1].value):
        print(
            f"collapsed: {COLLAPSED} ({record.metric.text(epochs[-1].value)} in epoch {epochs[-1].epoch})"
        )
    if record.epochs:
        loss = f", training loss {epochs[-1].train_loss:.4f}" if epochs else ""
        print(f"{number_of(record.epochs, 'epoch')} in {record.seconds:.1f} s{loss}")
    if result.outcome is not Outcome.finished:
        print(printable(f"{result.outcome}: {record.reason}; log: {result.folder / 'run.log'}"))
    print(f"run folder: {result.folder}")


def print_view(result: RunResult, config: Config) -> None:
    """Print a run's ID in MLflow, and the command that opens MLflow's UI."""
    if result.mlflow_run_id is not None:
        print(f"MLflow run: {result.mlflow_run_id}")
    uri = store_uri(config.tracking.uri)
    print(
        f"view in MLflow: lenet-ui sweep=all{'' if uri == default_uri() else f' tracking.uri={hide_password(uri)}'}"
    )


def print_failure(error: Exception, folder: RunFolder) -> None:
    """Print a one-line message about a run that failed with an error."""
    hint = f"log with traceback: {folder.log_file}"
    if not folder.path.exists():
        hint = f"the run folder {folder.path} was removed; to train the run again, rerun the same command"
    print(f"failed: {type(error).__name__}: {first_line(error)}; {hint}")
