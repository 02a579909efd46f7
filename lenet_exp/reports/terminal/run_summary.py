"""Prints the summary of a single run at its end."""

from __future__ import annotations

from lenet_exp.addresses import default_uri, hide_password, store_uri
from lenet_exp.amounts import number_of
from lenet_exp.comparison.runs import has_collapsed
from lenet_exp.config.schema import Config
from lenet_exp.errors import first_line, printable
from lenet_exp.folders.records import Outcome, Record
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.reports.terminal.upload_status import view_line
from lenet_exp.reports.words.run_outcomes import AT_CHANCE, COLLAPSED
from lenet_exp.training.epoch import EpochResult


def print_result(result: RunResult) -> None:
    """Print the outcome of a run, its accuracy, and its run folder."""
    record = result.record
    if result.repeated:
        print("Already trained; showing the saved result. To retrain, set sweep.force=true.")
    if record.best_val_accuracy is not None:
        print(_best_line(record))
    if record.epochs:
        epochs = RunFolder(result.folder).history().epochs
        last_epoch = epochs[-1] if epochs else None
        if last_epoch is not None:
            _print_collapse(record, last_epoch)
        _print_duration(record, last_epoch)

    if result.outcome is not Outcome.finished:
        log_file = result.folder / "run.log"
        print(printable(f"{result.outcome}: {record.reason}; log: {log_file}"))
    print(f"run folder: {result.folder}")


def _best_line(record: Record) -> str:
    """Describe the best epoch: `best validation accuracy 98.04% in epoch 3`.

    For another metric: `best validation macro_f1 97.13% in epoch 3 (accuracy 98.04%)`.
    """
    accuracy = f"accuracy {record.best_val_accuracy:.2%}"
    if record.metric.is_accuracy:
        value = accuracy
        remark = f" (at chance: {AT_CHANCE})" if record.at_chance else ""
    else:
        value = record.reached
        remark = f" ({accuracy})"
    select = record.config.training.select
    return f"{select} validation {value} in epoch {record.best_epoch}{remark}"


def _print_collapse(record: Record, last_epoch: EpochResult) -> None:
    if has_collapsed(record.metric, record.value, last_epoch.value):
        end = f"{record.metric.text(last_epoch.value)} in epoch {last_epoch.epoch}"
        print(f"collapsed: {COLLAPSED} ({end})")


def _print_duration(record: Record, last_epoch: EpochResult | None) -> None:
    line = f"{number_of(record.epochs, 'epoch')} in {record.seconds:.1f} s"
    if last_epoch is not None:
        line += f", training loss {last_epoch.train_loss:.4f}"
    print(line)


def print_view(result: RunResult, config: Config) -> None:
    """Print a run's ID in MLflow, and the command that opens MLflow's UI."""
    if result.mlflow_run_id is not None:
        print(f"MLflow run: {result.mlflow_run_id}")

    arguments = "sweep=all"
    uri = store_uri(config.tracking.uri)
    if uri != default_uri():
        arguments += f" tracking.uri={hide_password(uri)}"
    print(view_line(arguments))


def print_failure(error: Exception, folder: RunFolder) -> None:
    """Print a one-line message about a run that failed with an error."""
    if folder.path.exists():
        hint = f"log with traceback: {folder.log_file}"
    else:
        removed = f"the run folder {folder.path} was removed"
        hint = f"{removed}; to train the run again, rerun the same command"
    print(f"failed: {type(error).__name__}: {first_line(error)}; {hint}")
