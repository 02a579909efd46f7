"""What the terminal shows while runs train: bars on a terminal, plain lines in a file."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from lenet_exp.addresses import hide_password
from lenet_exp.training.epoch import EpochResult

NAME = 24  # characters of a run's name beside its bar
PATIENCE_SECONDS = 2.0  # of silence
LINE_SECONDS = 30.0  # between lines where there is no terminal

T = TypeVar("T")

log = logging.getLogger("lenet_exp")
console = Console(stderr=True, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """Log lines above the bars; Rich keeps the two apart."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(self.format(record), markup=False, highlight=False)


class _Formatter(logging.Formatter):
    """Leaves passwords out, also of the addresses in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_password(super().format(record))


def log_to_console() -> None:
    """Lets `lenet_exp`'s log lines (INFO and above) reach the terminal, once."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    if not any(isinstance(h, _ConsoleHandler) for h in log.handlers):
        handler = _ConsoleHandler(logging.INFO)
        handler.setFormatter(_Formatter("%(message)s"))
        log.addHandler(handler)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Appends all log lines to a run's own log."""
    handler = logging.FileHandler(path)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


class _State(ProgressColumn):
    """Loss, accuracy, speed: whatever the task has of them."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("state", ""), style="cyan", no_wrap=True, overflow="ellipsis")


class Display:
    """The bars of one process: one for the sweep, by its epochs, and one for each run that trains."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._sweep: TaskID | None = None
        self._run: TaskID | None = None
        self._epoch_text = ""
        self._jobs: dict[str, TaskID] = {}
        self._num_jobs = 0
        self._ended: Counter[str] = Counter()
        self._epochs_ended = 0

    @contextmanager
    def sweep(self, jobs: int, epochs: int) -> Iterator[None]:
        """A bar for a whole sweep of so many runs with so many epochs in all."""
        self._num_jobs, self._ended, self._epochs_ended = jobs, Counter(), 0
        with self._bars() as progress:
            self._sweep = progress.add_task("sweep", total=epochs, state=self._counts())
            try:
                yield
            finally:
                self.running([])
                progress.remove_task(self._sweep)
                self._sweep = None

    def told(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yields the items; where that takes long, it is said how far it is: by a bar after 2 s, without a terminal by
        a line every 30 s."""
        said, bar = time.monotonic(), None
        with ExitStack() as stack:
            for n, item in enumerate(items):
                silent = time.monotonic() - said
                if bar is None and silent > PATIENCE_SECONDS and console.is_terminal:
                    bars = stack.enter_context(self._bars())
                    bar = bars.add_task(what, total=len(items))
                    stack.callback(bars.remove_task, bar)
                if bar is not None:
                    bars.update(bar, completed=n, state=f"{n:,} of {len(items):,} jobs")
                elif silent > LINE_SECONDS:
                    log.info("%s: %d of %d jobs", what, n, len(items))
                    said = time.monotonic()
                yield item

    def more(self, jobs: int, epochs: int) -> None:
        """The sweep has got more runs."""
        self._num_jobs += jobs
        if self._progress is not None and self._sweep is not None:
            total = self._progress.tasks[self._progress.task_ids.index(self._sweep)].total or 0
            self._progress.update(self._sweep, total=total + epochs, state=self._counts())

    def job_done(self, name: str, outcome: str, line: str, num_epoch: int) -> None:
        """A run of the sweep has ended; `line` says how."""
        self._ended[outcome] += 1
        self._epochs_ended += num_epoch
        self._advance(0)
        log.info("%s: %s", name, line)

    def running(self, jobs: Sequence[tuple[str, int, int]]) -> None:
        """The jobs that other processes train now: name, epochs done, epochs in all."""
        if self._progress is None or not console.is_terminal:
            return
        for name in self._jobs.keys() - {name for name, _, _ in jobs}:
            self._progress.remove_task(self._jobs.pop(name))
        for name, epochs, num_epoch in jobs:
            if name not in self._jobs:
                self._jobs[name] = self._progress.add_task(name, total=num_epoch, state="")
            self._progress.update(self._jobs[name], completed=epochs, state=f"{epochs}/{num_epoch} done")
        self._advance(sum(epochs for _, epochs, _ in jobs))

    def _advance(self, epochs_running: int) -> None:
        """Moves the sweep's bar; `epochs_running`: those of the runs that have not ended."""
        if self._progress is not None and self._sweep is not None:
            done = self._epochs_ended + epochs_running
            self._progress.update(self._sweep, completed=done, state=self._counts())

    def _counts(self) -> str:
        failed = [f", {n} {outcome}" for outcome, n in sorted(self._ended.items()) if outcome != "finished"]
        return f"{self._ended.total()}/{self._num_jobs} runs{''.join(failed)}"

    def level_alone(self) -> int:
        """The level of lines that a run alone prints; in a sweep they go to the run's own log only."""
        return logging.INFO if self._sweep is None else logging.DEBUG

    @contextmanager
    def run(self, name: str, num_epoch: int, steps: int) -> Iterator[None]:
        """A bar for one run of `num_epoch` epochs with `steps` steps each."""
        with self._bars() as progress:
            self._epoch_text = ""
            self._run = progress.add_task(name, total=num_epoch * steps, state="starting")
            try:
                yield
            finally:
                progress.remove_task(self._run)
                self._run = None

    def echo(self, iteration: int, loss: float) -> None:
        log.debug("iteration %d loss %.6f", iteration, loss)
        if self._progress is not None and self._run is not None:
            self._progress.update(self._run, completed=iteration, state=f"{self._epoch_text}step loss {loss:.4f}")

    def epoch(self, result: EpochResult, num_epoch: int, iteration: int) -> None:
        line = (
            f"epoch {result.epoch}/{num_epoch}: loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}, "
            f"validation {result.val_accuracy:.2%}{' (best)' if result.improved else ''}, "
            f"{result.images_per_second:,.0f} images/s"
        )
        # In a file a single run has a line an epoch; on a terminal the bar tells it.
        log.log(logging.DEBUG if console.is_terminal else self.level_alone(), "%s", line)
        if self._progress is not None and self._run is not None:
            self._epoch_text = f"{result.epoch}/{num_epoch} done  val {result.val_accuracy:.2%}  "
            self._progress.update(self._run, completed=iteration, state=self._epoch_text)
            self._advance(result.epoch)

    @contextmanager
    def _bars(self) -> Iterator[Progress]:
        if self._progress is not None:
            yield self._progress
            return
        columns = (
            TextColumn(
                "{task.description}",
                markup=False,  # `[shift,flip]` is part of a name
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=NAME),
            ),
            BarColumn(bar_width=min(24, console.width // 8)),
            TextColumn("{task.percentage:>3.0f}%"),
            _State(),
            TimeRemainingColumn(),
        )
        progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=300,  # seconds; an epoch may take several
        )
        with progress if console.is_terminal else nullcontext():  # old releases of Rich print a line when they stop
            self._progress = progress
            try:
                yield progress
            finally:
                self._progress = None


display = Display()
