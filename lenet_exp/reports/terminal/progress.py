"""Shows progress during training: bars in a terminal, or plain lines if the output is not a
terminal.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from lenet_exp.amounts import number_of
from lenet_exp.config.metric import Metric
from lenet_exp.errors import printable
from lenet_exp.folders.sweep_progress import RunningJob, SweepProgress
from lenet_exp.reports.terminal.log_output import console, log
from lenet_exp.reports.words.progress_words import best_words, ended_words, progress_line
from lenet_exp.reports.words.search_words import search_line
from lenet_exp.training.epoch import EpochResult
from lenet_exp.waiting import FIRST_SECONDS, LINE_SECONDS

LONGEST_NAME = 24  # maximum number of characters in a run's name next to its bar
MOST_WRONG = 3  # maximum number of failed or diverged runs shown, latest first
SPEED_SECONDS = 300  # period over which the speed is averaged; an epoch may take several minutes


class _TimeLeft(TimeRemainingColumn):
    """A column that shows the time left: the task's estimate or, if the task has no estimate,
    Rich's estimate.
    """

    def render(self, task: Task) -> Text:
        """Return the time left for a task."""
        if "left" not in task.fields:
            return super().render(task)

        seconds_left = task.fields["left"]
        text = "-:--:--"
        if seconds_left is not None:
            text = str(timedelta(seconds=math.ceil(seconds_left)))
        return Text(text, style="progress.remaining")


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
        self._line_printed_at = -math.inf

    @contextmanager
    def sweep(self) -> Iterator[None]:
        """Show a progress bar for an entire sweep, for the duration of a `with` block.

        Call `show_sweep` to update the bar.
        """
        self._runs_here = False
        self._line_printed_at = -math.inf
        if self._console is console:  # the first line is due after FIRST_SECONDS
            self._line_printed_at = time.monotonic() - LINE_SECONDS + FIRST_SECONDS
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
            self._print_if_due(progress_line(progress))
        elif self._progress is not None and self._sweep is not None:
            self._update_bars(self._progress, self._sweep, progress)

    def _update_bars(self, bars: Bars, sweep: TaskID, progress: SweepProgress) -> None:
        state = ended_words(progress.plan, progress.results)
        bars.update(sweep, completed=progress.share, state=state, left=progress.seconds_left)
        self._show_running(bars, [] if self._runs_here else progress.running)
        bars.below = self._lines_below(progress)

    def _print_if_due(self, line: str) -> None:
        if time.monotonic() - self._line_printed_at >= LINE_SECONDS:
            self._say(line)
            self._line_printed_at = time.monotonic()

    def _show_running(self, bars: Bars, runs: Sequence[RunningJob]) -> None:
        """Show a bar for each running job, up to the number of bars that fit on the terminal."""
        run_of_job = {run.job.number: run for run in runs[: self._most_bars]}
        for number in self._jobs.keys() - run_of_job.keys():
            bars.remove_task(self._jobs.pop(number))

        for number, run in run_of_job.items():
            if number not in self._jobs:
                name = printable(run.job.name)
                self._jobs[number] = bars.add_task(name, total=run.job.config.num_epoch, state="")
            bars.update(self._jobs[number], completed=run.epochs, state=_state(run))

    @property
    def _most_bars(self) -> int:
        """The maximum number of bars for runs: those that fit beside the bar of the sweep, the
        lines below, and the failures.
        """
        return max(4, self._console.height - MOST_WRONG - 6)

    def _lines_below(self, progress: SweepProgress) -> list[Text]:
        """Return the lines below the bars: runs without a bar, the best result, and failures."""
        lines = []
        num_without_bar = len(progress.running) - self._most_bars
        if num_without_bar > 0 and not self._runs_here:
            lines.append(f"and {number_of(num_without_bar, 'more run')}")
        best = best_words(progress.plan, progress.results)
        if best:
            lines.append(f"best so far: {best}")
        search = progress.plan.search
        if search is not None:
            lines.append(search_line(search, progress.results, with_best=False))

        warnings = []
        for result in progress.wrong[:MOST_WRONG]:
            warnings.append(f"{result.outcome}: {result.job.name}: {result.reason}")
        num_others = len(progress.wrong) - len(warnings)
        if num_others:
            warnings.append(f"and {num_others} more failed or diverged")
        return [*map(_one_line, lines), *(_one_line(warning, "yellow") for warning in warnings)]

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
            self._epoch_text = ""
            self._runs_here = True
            num_steps = num_epoch * steps
            self._run = progress.add_task(printable(name), total=num_steps, state="starting")
            try:
                yield
            finally:
                progress.remove_task(self._run)
                self._run = None

    def echo(self, iteration: int, loss: float) -> None:
        """Show the loss of an iteration."""
        log.debug("iteration %d loss %.6f", iteration, loss)
        if self._progress is not None and self._run is not None:
            state = f"{self._epoch_text}step loss {loss:.4f}"
            self._progress.update(self._run, completed=iteration, state=state)

    def epoch(self, result: EpochResult, num_epoch: int, iteration: int, metric: Metric) -> None:
        """Show the result of an epoch."""
        validation = f"{result.val_accuracy:.2%}"
        if metric != Metric():
            validation += f", {metric.text(result.value)}"
        epoch = f"{result.epoch}/{num_epoch}"
        training = f"loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}"
        best = " (best)" if result.improved else ""
        speed = f"{result.images_per_second:,.0f} images/s"
        line = f"epoch {epoch}: {training}, validation {validation}{best}, {speed}"

        # In a terminal, the bar shows the result. Elsewhere, a run outside a sweep prints a line
        # per epoch.
        level = logging.DEBUG if console.is_terminal else self.level_alone()
        log.log(level, "%s", line)
        if self._progress is not None and self._run is not None:
            self._epoch_text = f"{epoch} done  val {validation}  "
            self._progress.update(self._run, completed=iteration, state=self._epoch_text)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Show progress bars in a terminal for the duration of a `with` block, or reuse bars that
        are already shown.
        """
        if self._progress is not None:
            yield self._progress
            return
        is_terminal = self._console.is_terminal
        bars = Bars(
            *self._columns(),
            console=self._console,
            transient=True,
            disable=not is_terminal,
            speed_estimate_period=SPEED_SECONDS,
        )
        # Older releases of Rich print a line at the end, even if the bars are disabled.
        with bars if is_terminal else nullcontext():
            self._progress = bars
            try:
                yield bars
            finally:
                self._progress = None

    def _columns(self) -> list[ProgressColumn]:
        """Return the columns: name, bar, percentage, state, and time left."""
        name = TextColumn(
            "{task.description}",
            markup=False,  # `[shift,flip]` is part of a name
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=LONGEST_NAME),
        )
        state = TextColumn(
            "{task.fields[state]}",
            "cyan",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        )
        bar = BarColumn(bar_width=min(24, self._console.width // 8))
        percentage = TextColumn("{task.percentage:>3.0f}%")
        return [name, bar, percentage, state, _TimeLeft()]


def _state(run: RunningJob) -> str:
    """Describe the state of a running job: `3/12 done  best 97.60%  node2`.

    The host is omitted if it is this machine.
    """
    text = f"{run.epochs}/{run.job.config.num_epoch} done"
    if run.best:
        text += f"  best {run.best}"
    if run.owner is not None and not run.owner.here:
        text += f"  {run.owner.host}"
    return text


def _one_line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
