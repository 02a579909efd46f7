"""Opens the MLflow store that the `tracking.*` flags specify, and creates a missing local store."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, cast

from lenet_exp.addresses import (
    hide_password,
    is_database,
    missing_database,
    sqlite_path,
    sqlite_uri,
    store_name,
    store_uri,
)
from lenet_exp.config.schema import StoreAddress
from lenet_exp.errors import StoreError, first_line
from lenet_exp.files import open_lock
from lenet_exp.outputs import outputs_dir
from lenet_exp.tracking.stores.database import open_database, version_error
from lenet_exp.tracking.stores.refused import why_refused
from lenet_exp.tracking.stores.time_limit import CallLimit, LimitedClient
from lenet_exp.tracking.stores.usable import check_artifacts, check_store, open_sqlite

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Run  # also for removal/, which does not import mlflow

# timeout for a request, so that the wait for a server that does not respond is less than 10 s
REQUEST_SECONDS = 6
# number of seconds for which a write is retried if permission is denied
GRANT_SECONDS = 5
BUSY_SECONDS = 8  # maximum wait for another process that is writing to the same SQLite database

PAGE = 1000  # maximum number of runs that one query returns
WRITTEN_BY = "lenet_exp"  # tag of an experiment, written to check for permission

T = TypeVar("T")


class StoreUnavailable(Exception):
    """Raised when a store cannot be reached.

    The results are in the run folders and can be uploaded later.
    """


@dataclass(frozen=True)
class Store:
    """An open MLflow store.

    Attributes:
        uri: address of the store.
        client: MLflow client for the store.
        experiment_id: ID of the experiment that contains the runs.
        outputs: the outputs folder that contains the runs.
        seen: IDs of MLflow runs that are known to exist in the store.
        denied: names of registered models that this user is not allowed to change.
    """

    uri: str
    client: MlflowClient
    experiment_id: str
    outputs: Path
    seen: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The address of the store, without secrets."""
        return store_name(self.uri)


def open_store(
    tracking: StoreAddress, outputs: Path | None = None, limit: CallLimit | None = None
) -> Store:
    """Connect to a store, and create its database and experiment if they do not exist.

    Without an MLflow server, the artifacts of a new experiment are saved in `mlartifacts`, in the
    folder of the SQLite file or, for a database server, in the outputs folder.

    Args:
        tracking: address of the store and name of the experiment.
        outputs: the outputs folder; by default, this process's outputs folder.
        limit: time limit for calls to the store; None for no limit.

    Raises:
        StoreError: the store cannot be used, it belongs to a different MLflow version, or the
            experiment was deleted.
        StoreUnavailable: the store does not respond.
    """
    outputs = outputs or outputs_dir()
    uri = store_uri(tracking.uri, outputs)
    check_store(uri)

    database = sqlite_path(uri)
    with _explained(uri):
        if database is not None:
            _create_sqlite(database)
        client = _limited_client(uri, outputs, limit)
        experiment_id = _experiment_id(client, tracking.experiment, uri, outputs)
        return Store(uri, client, experiment_id, outputs)


def connect(uri: str) -> MlflowClient:
    """Connect to an existing store.

    Raises:
        StoreError: the database was not found, belongs to a different MLflow version, or does not
            respond.
    """
    database = missing_database(uri)
    if database is not None:
        raise StoreError(
            f"MLflow database {database}: not found; set tracking.uri or LENET_EXP_OUTPUTS"
        )

    check_store(uri, write=False)
    with answering(uri):
        client = _client(uri, outputs_dir())
        client.search_experiments(max_results=1)
        return client


def _client(uri: str, outputs: Path) -> MlflowClient:
    mlflow = import_mlflow()
    if is_database(uri):
        open_database(uri, _artifacts_uri(outputs), _request_seconds())
    return cast("MlflowClient", mlflow.MlflowClient(tracking_uri=uri))


def _limited_client(uri: str, outputs: Path, limit: CallLimit | None) -> MlflowClient:
    """Return a client whose calls have a time limit, which also applies to its creation.

    If the user has set a longer time limit for MLflow's requests, the limit is longer by the same
    factor.

    Args:
        uri: address of the store.
        outputs: the outputs folder.
        limit: time limit for each call; None for no limit.
    """
    if limit is None:
        return _client(uri, outputs)

    limit.patience = max(1.0, _request_seconds() / REQUEST_SECONDS)
    with limit.call():
        client = _client(uri, outputs)
    return cast("MlflowClient", LimitedClient(client, limit))


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Convert errors from requests to a StoreError for the duration of a `with` block.

    This context manager is for commands that require a response from the store.

    Raises:
        StoreError: the store does not respond or is not an MLflow store.
    """
    try:
        with _explained(uri):
            yield
    except StoreUnavailable as e:
        raise StoreError(
            f"tracking.uri={hide_password(uri)}: unreachable ({hide_password(str(e))})"
        ) from e


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Convert MLflow's errors to StoreUnavailable or StoreError in a `with` block."""
    import_mlflow()
    # ParseError is raised if the server is not an MLflow server.
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, ParseError, SQLAlchemyError, OSError, ImportError) as e:
        text = str(e)
        if "out-of-date database schema" in text or "Can't locate revision" in text:
            raise version_error(uri) from e

        reason = why_refused(uri, e)
        if reason is not None:
            raise StoreError(f"tracking.uri={hide_password(uri)}: {reason}") from e

        # The message of SQLAlchemy's own error begins with a class name.
        cause = getattr(e, "orig", None) or e
        raise StoreUnavailable(first_line(cause)) from e
    except ValueError as e:
        # MLflow's message names the environment variable that has an invalid value.
        if "MLFLOW_" not in str(e):
            raise
        raise StoreError(first_line(e)) from e


def import_mlflow() -> ModuleType:
    """Import mlflow without telemetry and with short timeouts.

    Requests to an unavailable store then fail quickly. MLflow's retries are disabled, because a
    retry after a late response would create the same run twice.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The URL would reveal the password.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Most files are only a few kB.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    import mlflow
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    for noisy in ("mlflow", "alembic", "alembic.runtime.migration", "psycopg"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # This logger prints tracebacks for errors that are also raised: more than 100 lines if SQLite
    # is locked.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

    if not event.contains(Engine, "before_cursor_execute", _wait_less):
        event.listen(Engine, "before_cursor_execute", _wait_less, retval=True)
    return mlflow


def _request_seconds() -> float:
    """Return the time limit for a request, in seconds.

    It is the user's setting for MLflow or, if there is no setting, `REQUEST_SECONDS`.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    return float(MLFLOW_HTTP_REQUEST_TIMEOUT.get() or REQUEST_SECONDS)


def _wait_less(
    _: object, __: object, statement: str, parameters: object, *___: object
) -> tuple[str, object]:
    """Shorten the time that SQLite waits for another writer.

    MLflow sets the time to 20 s with a statement at the start of each session. This function is
    called before each statement and replaces that one.
    """
    if statement.startswith("PRAGMA busy_timeout"):
        statement = f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS};"
    return statement, parameters


def _create_sqlite(path: Path) -> None:
    """Create a SQLite database atomically: under a temporary name and while holding a lock.

    The lock is required because MLflow creates its tables without a lock.
    """
    if path.exists():
        return

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with open_lock(path.with_name(f".{path.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return

        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        open_sqlite(sqlite_uri(path), temporary)
        SqlAlchemyStore(sqlite_uri(temporary), _artifacts_uri(path.parent)).engine.dispose()
        os.replace(temporary, path)


def _artifacts_uri(folder: Path) -> str:
    return (folder.absolute() / "mlartifacts").as_uri()


def _new_artifacts_uri(name: str, uri: str, outputs: Path) -> str | None:
    """Return the artifact location for a new experiment; None if the server chooses it."""
    database = sqlite_path(uri)
    if database is not None:
        return f"{_artifacts_uri(database.parent)}/{_path_safe(name)}"
    if is_database(uri):  # MLflow would choose a folder in the working directory
        return f"{_artifacts_uri(outputs)}/{_path_safe(name)}"
    return None


def _experiment_id(client: MlflowClient, name: str, uri: str, outputs: Path) -> str:
    """Return the ID of an experiment, which is created if it does not exist.

    Raises:
        StoreError: the experiment was deleted, or this user is not allowed to write to it.
        StoreUnavailable: the server is not an MLflow server.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = _new_artifacts_uri(name, uri, outputs)
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:
            # Another process may just have created it.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise

    if not experiment.experiment_id:
        raise StoreUnavailable("its response is not from an MLflow server")
    if experiment.lifecycle_stage != "active":
        raise StoreError(
            f"tracking.experiment={name}: this experiment was deleted; use another name, or run: "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    check_artifacts(name, experiment.artifact_location)
    is_server = sqlite_path(uri) is None and not is_database(uri)
    if is_server:
        _check_writable(client, name, uri, experiment.experiment_id)
    return experiment.experiment_id


def _check_writable(client: MlflowClient, name: str, uri: str, experiment_id: str) -> None:
    """Check that this user is allowed to write to an experiment by writing a tag.

    A server with user accounts does not report in advance who is allowed to write.
    """
    from mlflow.exceptions import MlflowException

    try:
        retry_until_granted(lambda: client.set_experiment_tag(experiment_id, WRITTEN_BY, "true"))
    except MlflowException as e:
        if e.error_code != "PERMISSION_DENIED":
            raise
        raise StoreError(
            f"tracking.uri={hide_password(uri)}: experiment {name} cannot be written: "
            f"{why_refused(uri, e)}; set tracking.experiment= to an experiment of your own"
        ) from e


def retry_until_granted(write: Callable[[], T]) -> T:
    """Call `write` and return its result, retrying for a few seconds if permission is denied.

    After creating an experiment or model, MLflow needs a moment to grant the user write permission.

    Raises:
        MlflowException: permission is still denied, or another error occurred.
    """
    for _ in range(GRANT_SECONDS):
        with ignored("PERMISSION_DENIED"):
            return write()
        time.sleep(1)
    return write()


@contextmanager
def ignored(*codes: str) -> Iterator[None]:
    """Ignore MLflow's errors with these codes in a `with` block, which then ends at the error.

    Raises:
        MlflowException: an error with a different code occurred.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as e:
        if e.error_code not in codes:
            raise


def pages(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """Yield the runs in an experiment that match a query, requesting a thousand runs at a time."""
    token = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def runs_by_id(
    client: MlflowClient, experiment_ids: list[str], ids: Iterable[str]
) -> dict[str, Run]:
    """Return the runs with the given IDs that exist and are not deleted, keyed by ID.

    Each query covers up to a thousand IDs.
    """
    distinct_ids = list(dict.fromkeys(ids))
    runs: dict[str, Run] = {}
    for start in range(0, len(distinct_ids), PAGE):
        quoted_ids = [f"'{run_id}'" for run_id in distinct_ids[start : start + PAGE]]
        query = f"attributes.run_id IN ({', '.join(quoted_ids)})"
        for run in client.search_runs(experiment_ids, query, max_results=PAGE):
            runs[str(run.info.run_id)] = run
    return runs


def _path_safe(name: str) -> str:
    """Convert a name to a single path component that is never `.` or `..`."""
    safe = re.sub(r"[^\w.-]", "_", name)
    has_only_dots = not safe.strip(".")
    if has_only_dots:
        return "_" * len(safe)
    return safe
