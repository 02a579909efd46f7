"""Uploads of a run or a sweep while it trains, from the view of the process that trains it.

    with uploads(Followed(folder, config.tracking)):
        train()  # Meanwhile, the uploading process follows the folder.

After the block, this process waits for the rest of the uploads.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lenet_exp.addresses import SQLITE, store_name, store_uri
from lenet_exp.amounts import number_of
from lenet_exp.config.schema import LoggedModels, Tracking
from lenet_exp.errors import StoreError, UserError
from lenet_exp.folders.results import RunResult, job_results
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.machine import user
from lenet_exp.reports.terminal.upload_status import uploading, view_line
from lenet_exp.stopping import Terminated
from lenet_exp.tracking.run_uploads.remaining import (
    UploadCount,
    remaining_sweep_uploads,
    remaining_uploads,
)
from lenet_exp.tracking.stores.usable import check_tracking_uri, database_state
from lenet_exp.tracking.uploader.client import Uploader, close_uploader, start_uploader
from lenet_exp.tracking.uploader.protocol import (
    AnswerKind,
    FolderKind,
    FolderToFollow,
    Request,
    RequestKind,
)

INTERRUPTED_SECONDS = 20.0  # maximum wait for uploads after a signal has stopped the training
# maximum time from the start of the uploading process for which training waits for a server
CHECK_SECONDS = 3.0

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class Followed:
    """A run or a sweep whose folder the uploading process follows.

    Attributes:
        folder: folder of the run or the sweep, which may not exist yet.
        tracking: values of its `tracking.*` flags.
        rests: whether to leave almost all of the machine's time to training on the same machine.
        trains: whether anything will be trained.
    """

    folder: RunFolder | SweepFolder
    tracking: Tracking
    rests: bool = True
    trains: bool = True

    @property
    def path(self) -> str:
        """The path of the folder, which identifies it in messages."""
        return str(self.folder.path)

    @property
    def outputs(self) -> Path:
        """The outputs folder that contains the run or the sweep."""
        return self.folder.path.parent.parent

    @property
    def uri(self) -> str:
        """The address of the store."""
        return store_uri(self.tracking.uri, self.outputs)

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a SQLite file."""
        return self.uri.startswith(SQLITE)

    def request(self) -> Request:
        """Return the request to follow the folder."""
        kind = FolderKind.sweep if isinstance(self.folder, SweepFolder) else FolderKind.run
        follow = FolderToFollow(
            kind=kind,
            outputs=str(self.outputs),
            outputs_exist=self.outputs.exists(),
            uri=self.tracking.uri,
            experiment=self.tracking.experiment,
            models=self.tracking.models,
            user=user(),
            rests=self.rests,
        )
        return Request(RequestKind.follow, self.path, follow)

    def check(self) -> None:
        """Check the store as far as that is possible without MLflow.

        Raises:
            ConfigError, StoreError: the store cannot be used.
        """
        check_tracking_uri(self.tracking.uri, self.outputs)

    def is_up_to_date(self) -> bool:
        """Return whether a SQLite file is unchanged since it received all results of a sweep.

        The result is False for a run, and for other stores.
        """
        if not isinstance(self.folder, SweepFolder) or not self.is_sqlite:
            return False
        plan = self.folder.kept_plan()
        entry = self.folder.delivered().run_in(store_name(self.uri))
        if plan is None or entry is None or entry.ended != plan.starts:
            return False

        state = database_state(self.uri)
        return state != "" and entry.database == state

    def file_times(self) -> dict[str, int]:
        """Return when the files changed that the start of a run or a sweep writes or removes.

        The files are not read, because reading a corrupt file logs a warning.

        Returns:
            times in nanoseconds since 1970, keyed by the file's name; missing files have none.
        """
        times: dict[str, int] = {}
        for name in ("sweep.json", "job.json", "record.json"):
            file = self.folder.path / name
            if file.exists():
                times[name] = file.stat().st_mtime_ns
        return times

    def print_view(self) -> None:
        """Print the command that shows a sweep in MLflow's UI. For a run, the caller prints it."""
        if isinstance(self.folder, SweepFolder):
            print(view_line(f"sweep={self.folder.id}"), flush=True)

    def remaining(self) -> UploadCount:
        """Count the results that the store lacks."""
        store = store_name(self.uri)
        if isinstance(self.folder, RunFolder):
            wants_model = self.tracking.models is not LoggedModels.none
            return remaining_uploads(self.folder, store, model=wants_model)

        plan = self.folder.kept_plan()
        if plan is None:
            return UploadCount()
        results = job_results(self.folder, self.folder.jobs(), plan.started_ms)
        return remaining_sweep_uploads(self.folder, store, results)

    def exports(self) -> bool:
        """Return whether the remaining uploads will export a trained model. For a sweep, this is
        assumed without reading its runs.
        """
        if self.tracking.models is LoggedModels.none:
            return False
        return isinstance(self.folder, SweepFolder) or self.remaining().models > 0

    def with_run_id(self, result: RunResult) -> RunResult:
        """Return the result of a run with the ID of its MLflow run, if it has one."""
        delivered = RunFolder(result.folder).delivered()
        return replace(result, mlflow_run_id=delivered.run_id(store_name(self.uri)))

    def sync_command(self) -> str:
        """Return the command that uploads what is missing."""
        if isinstance(self.folder, SweepFolder):
            return f"lenet-sync sweep={self.folder.id}"
        return f"lenet-sync run={self.folder.id[:8]}"


@contextmanager
def uploads(followed: Followed) -> Iterator[None]:
    """Upload a run or a sweep while it trains in a `with` block, and upload the rest afterwards.

    If the block raises a UserError before anything was trained, there is no wait for uploads. After
    a signal that stopped the training, the wait ends after 20 s.

    Raises:
        ConfigError, StoreError: the store cannot be used, as far as this is known before training.
        KeyboardInterrupt, Terminated: a signal interrupted the uploads. What is missing was logged.
    """
    followed.check()
    if not followed.trains and followed.is_up_to_date():
        yield
        followed.print_view()
        return

    uploader = start_uploader()
    uploader.send(followed.request())
    if not followed.is_sqlite:
        _wait_for_server(uploader, followed.path)

    times_before = followed.file_times()
    try:
        yield
    except UserError:
        if followed.file_times() == times_before:  # nothing has started
            uploader.send(Request(RequestKind.forget, followed.path))
        else:
            _complete(uploader, followed)
        raise
    except (KeyboardInterrupt, Terminated):
        _complete(uploader, followed, seconds=INTERRUPTED_SECONDS)
        raise
    except BaseException:
        _complete(uploader, followed)
        raise
    _complete(uploader, followed)


@contextmanager
def follow_sweep(
    sweep: SweepFolder, tracking: Tracking, *, rests: bool = True, trains: bool = True
) -> Iterator[None]:
    """Upload a sweep while it trains in a `with` block; see `uploads`.

    At the end, print the command that shows the sweep in MLflow.

    Args:
        rests, trains: see `Followed`.
    """
    with uploads(Followed(sweep, tracking, rests, trains)):
        yield


def _wait_for_server(uploader: Uploader, path: str) -> None:
    """Wait until the uploading process has opened the store, but at most 3 s from its start.

    Raises:
        StoreError: the server responds but cannot be used.
    """
    deadline = uploader.started + CHECK_SECONDS
    answer = uploader.answer(path, deadline)
    while answer is not None and answer.kind is not AnswerKind.opened:
        answer = uploader.answer(path, deadline)

    if answer is not None and answer.text:
        raise StoreError(answer.text)


def _complete(uploader: Uploader, followed: Followed, seconds: float = math.inf) -> None:
    """Wait until the uploading process has uploaded everything, and log what is missing.

    Args:
        seconds: maximum time to wait.
    """
    deadline = time.monotonic() + seconds
    try:
        if followed.is_up_to_date():
            uploader.send(Request(RequestKind.forget, followed.path))
            followed.print_view()
            return

        exports = followed.exports()
        uploader.send(Request(RequestKind.complete, followed.path, exports=exports))
        with uploading() as show:
            left = _wait(uploader, followed.path, show, deadline)
    except BaseException:
        close_uploader(seconds=1.0)
        warn_remaining(followed)
        raise

    if left is None:
        uploader.warn_if_lost()
        close_uploader(seconds=0.0)
    if left != UploadCount():
        warn_remaining(followed)
    followed.print_view()


def _wait(
    uploader: Uploader, path: str, show: Callable[[str], None], deadline: float
) -> UploadCount | None:
    """Wait for the end of the uploads, and return what is missing.

    Args:
        uploader: the uploading process.
        path: path of the run or the sweep.
        show: function that shows a text about the progress.
        deadline: value of `time.monotonic()` at which the wait ends.

    Returns:
        The missing results; None if they are unknown, because the process died or hangs, or because
        the deadline has passed.
    """
    while time.monotonic() < deadline:
        answer = uploader.answer(path, deadline)
        if answer is None:
            return None
        if answer.kind is AnswerKind.completed:
            return None if answer.left is None else UploadCount(*answer.left)

        if answer.kind is AnswerKind.opened and answer.text:
            log.warning(
                "%s (results are saved in the outputs folder; to upload them later, "
                "run lenet-sync)",
                answer.text,
            )
        if answer.kind is AnswerKind.progress and answer.of > 1:
            show(f"{answer.done} of {number_of(answer.of, 'run')}")
    return None


def warn_remaining(followed: Followed) -> None:
    """Warn about results that the store lacks, if there are any."""
    left = followed.remaining()
    if not left:
        return
    log.warning(
        "missing in MLflow (%s): %s; to upload them, run: %s",
        store_name(followed.uri),
        left,
        followed.sync_command(),
    )
