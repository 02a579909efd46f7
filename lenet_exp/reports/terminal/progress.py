"""Shows progress during training: bars in a terminal, or plain lines if the output is not a
terminal.
"""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from lenet_exp.addresses import hide_password
from lenet_exp.amounts import number_of
from lenet_exp.config.metric import Metric
from lenet_exp.errors import printable
from lenet_exp.folders.sweep_progress import RunningJob, SweepProgress
from lenet_exp.reports.words.progress_words import best_words, ended_words, progress_line
from lenet_exp.reports.words.search_words import search_line
from lenet_exp.training.epoch import EpochResult
from lenet_exp.waiting import FIRST_SECONDS, LINE_SECONDS, print_status

NAME = 24  # maximum number of characters in a run's name next to its bar
FEW_WRONG = 3  # maximum number of failed or diverged runs shown, latest first

log = logging.getLogger("lenet_exp")
console = Console(stderr=True, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """A log handler that prints log lines above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record."""
        console.print(self.format(record), markup=False, highlight=False)


class _Formatter(logging.Formatter):
    """A log formatter that removes passwords and terminal control characters from messages and
    tracebacks.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Format the message without terminal control characters."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format the log record without passwords and terminal control characters."""
        return "\n".join(map(printable, hide_password(super().format(record)).split("\n")))


def log_to_console() -> None:
    """Print log lines from lenet_exp (INFO and above) to the terminal. Repeated calls change
    nothing.
    """
    log.setLevel(logging.DEBUG)
    log.propagate = logging.raiseExceptions = False  # a full disk must not print tracebacks
    if not any(isinstance(h, _ConsoleHandler) for h in log.handlers):
        handler = _ConsoleHandler(logging.INFO)
        handler.setFormatter(_Formatter("%(message)s"))
        log.addHandler(handler)


@contextmanager
def log_to_notebook() -> Iterator[None]:
    """Print log lines from lenet_exp (INFO and above) below the cell of a notebook. Outside a
    notebook, do nothing.
    """
    if not console.is_jupyter:
        yield
        return
    warnings.filterwarnings(
        "ignore", "IProgress not found"
    )  # warning from tqdm, which Optuna and mlflow import
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(logging.INFO)
    with _logging_to(handler, "%(message)s"):
        yield


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append all log lines to the log file of a run or a sweep for the duration of a `with` block."""
    with _logging_to(logging.FileHandler(path), "%(asctime)s %(levelname)s %(message)s"):
        yield


@contextmanager
def _logging_to(handler: logging.Handler, form: str) -> Iterator[None]:
    handler.setFormatter(_Formatter(form))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # the disk is full
            handler.close()


@contextmanager
def uploading() -> Iterator[Callable[[str], None]]:
    """Flush stdout, and show that results are being uploaded, for the duration of a `with` block.

    Call the returned function to show how many results have been uploaded. If the output is not a
    terminal, the count is printed first after 5 s and then every 30 s.
    """
    print(end="", flush=True)  # readers of a pipe need the results before the upload, too
    if not console.is_terminal:  # a notebook would show the status, too
        due = time.monotonic() + FIRST_SECONDS

        def print_count(count: str) -> None:
            nonlocal due
            if time.monotonic() > due:
                print_status(f"uploading to MLflow: {count}")
                due = time.monotonic() + LINE_SECONDS

        yield print_count
        return
    end = "press Ctrl-C to quit, and run lenet-sync later"
    with console.status(f"uploading to MLflow; {end}") as status:
        yield lambda count: status.update(f"uploading to MLflow: {count}; {end}")


class _TimeLeft(TimeRemainingColumn):
    """A column that shows the time left: the task's estimate or, if the task has no estimate,
    Rich's estimate.
    """

    def render(self, task: Task) -> Text:
        """Return the time left for a task."""
        if "left" not in task.fields:
            return super().render(task)
        left = task.fields["left"]
        words = "-:--:--" if left is None else str(timedelta(seconds=math.ceil(left)))
        return Text(words, style="progress.remaining")


class Bars(Progress):
    """Progress bars with lines of text below them."""

    below: Sequence[Text] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the progress bars, followed by the lines below them."""
        yield from super().get_renderables()
        yield from self.below


class Display:
    """A display of training progress: a bar for the sweep and one for each run, the best result so
    far, and failures.

    If the output is not a terminal, a line is printed after 5 s and then every 30 s.

    Args:
        to: console to print to; by default, stderr.
        say: function that is called with each line if the output is not a terminal; by default, the
            line is logged.
    """

    def __init__(self, to: Console | None = None, say: Callable[[str], None] | None = None) -> None:
        self._console = to or console
        self._say = say or partial(log.info, "%s")
        self._progress: Bars | None = None
        self._sweep: TaskID | None = None
        self._run: TaskID | None = None
        self._runs_here = False
        self._epoch_text = ""
        self._jobs: dict[int, TaskID] = {}
        self._said = -math.inf

    @contextmanager
    def sweep(self) -> Iterator[None]:
        """Show a progress bar for an entire sweep, for the duration of a `with` block.

        Call `show_sweep` to update the bar.
        """
        first = (
            -math.inf
            if self._console is not console
            else time.monotonic() - LINE_SECONDS + FIRST_SECONDS
        )
        self._said, self._runs_here = first, False
        with self.bars() as progress:
            self._sweep = progress.add_task("sweep", total=1.0, state="", left=None)
            try:
                yield
            finally:
                self._show_running(progress, [])
                progress.below = ()
                progress.remove_task(self._sweep)
                self._sweep = None

    def show_sweep(self, progress: SweepProgress) -> None:
        """Update the display with the progress of a sweep."""
        if not self._console.is_terminal:
            self._line(progress_line(progress))
        elif self._progress is not None and self._sweep is not None:
            state, left = ended_words(progress.plan, progress.results), progress.seconds_left
            self._progress.update(self._sweep, completed=progress.share, state=state, left=left)
            self._show_running(self._progress, [] if self._runs_here else progress.running)
            self._progress.below = self._below(progress)

    def _line(self, line: str) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._say(line)
            self._said = time.monotonic()

    def _show_running(self, bars: Bars, runs: Sequence[RunningJob]) -> None:
        """Show a bar for each running job, up to the number of bars that fit on the terminal."""
        shown = {run.job.number: run for run in runs[: self._room]}
        for number in self._jobs.keys() - shown.keys():
            bars.remove_task(self._jobs.pop(number))
        for number, run in shown.items():
            of = run.job.config.num_epoch
            if number not in self._jobs:
                self._jobs[number] = bars.add_task(printable(run.job.name), total=of, state="")
            state = f"{run.epochs}/{of} done" + (f"  best {run.best}" if run.best else "")
            state += f"  {run.owner.host}" if run.owner is not None and not run.owner.here else ""
            bars.update(self._jobs[number], completed=run.epochs, state=state)

    @property
    def _room(self) -> int:
        return max(4, self._console.height - FEW_WRONG - 6)

    def _below(self, progress: SweepProgress) -> list[Text]:
        more = 0 if self._runs_here else len(progress.running) - self._room
        lines = [f"and {number_of(more, 'more run')}"] if more > 0 else []
        lines += (
            [f"best so far: {best}"]
            if (best := best_words(progress.plan, progress.results))
            else []
        )
        search = progress.plan.search
        lines += (
            [search_line(search, progress.results, with_best=False)] if search is not None else []
        )
        wrong = [f"{r.outcome}: {r.job.name}: {r.reason}" for r in progress.wrong[:FEW_WRONG]]
        more = len(progress.wrong) - len(wrong)
        wrong += [f"and {more} more failed or diverged"] if more else []
        return [*map(_one_line, lines), *(_one_line(line, "yellow") for line in wrong)]

    def level_alone(self) -> int:
        """Return the log level for lines that are printed only if a run is not part of a sweep.

        If the run is part of a sweep, these lines are written only to the run's log file.
        """
        return logging.INFO if self._sweep is None else logging.DEBUG

    @contextmanager
    def run(self, name: str, num_epoch: int, steps: int) -> Iterator[None]:
        """Show a progress bar for a run, for the duration of a `with` block.

        Args:
            name: name of the run.
            num_epoch: number of epochs.
            steps: number of steps per epoch.
        """
        with self.bars() as progress:
            self._epoch_text, self._runs_here = "", True
            self._run = progress.add_task(
                printable(name), total=num_epoch * steps, state="starting"
            )
            try:
                yield
            finally:
                progress.remove_task(self._run)
                self._run = None

    def echo(self, iteration: int, loss: float) -> None:
        """Show the loss of an iteration."""
        log.debug("iteration %d loss %.6f", iteration, loss)
        if self._progress is not None and self._run is not None:
            self._progress.update(
                self._run, completed=iteration, state=f"{self._epoch_text}step loss {loss:.4f}"
            )

    def epoch(self, result: EpochResult, num_epoch: int, iteration: int, metric: Metric) -> None:
        """Show the result of an epoch."""
        validation = f"{result.val_accuracy:.2%}" + (
            f", {metric.text(result.value)}" if metric != Metric() else ""
        )
        line = (
            f"epoch {result.epoch}/{num_epoch}: loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}, "
            f"validation {validation}{' (best)' if result.improved else ''}, "
            f"{result.images_per_second:,.0f} images/s"
        )
        # In a terminal, the bar shows the result. Elsewhere, a run outside a sweep prints a line
        # per epoch.
        log.log(logging.DEBUG if console.is_terminal else self.level_alone(), "%s", line)
        if self._progress is not None and self._run is not None:
            self._epoch_text = f"{result.epoch}/{num_epoch} done  val {validation}  "
            self._progress.update(self._run, completed=iteration, state=self._epoch_text)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Show progress bars in a terminal for the duration of a `with` block, or reuse bars that
        are already shown.
        """
        if self._progress is not None:
            yield self._progress
            return
        columns = (
            TextColumn(
                "{task.description}",
                markup=False,  # `[shift,flip]` is part of a name
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=NAME),
            ),
            BarColumn(bar_width=min(24, self._console.width // 8)),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn(
                "{task.fields[state]}",
                "cyan",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            _TimeLeft(),
        )
        seen = self._console.is_terminal
        # seconds over which the speed is averaged, because an epoch may take several minutes
        period = 300
        progress = Bars(
            *columns,
            console=self._console,
            transient=True,
            disable=not seen,
            speed_estimate_period=period,
        )
        with progress if seen else nullcontext():  # older releases of Rich print a line at the end
            self._progress = progress
            try:
                yield progress
            finally:
                self._progress = None


def _one_line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
