"""Digests of records, histories, and jobs, for the detection of corruption and edits.

Digests protect against accidents but not against forgery, because anyone who edits a record can
also compute its digest. Files from older releases have no digest and are accepted. A history
contains its own digest until the run's record is written. From then on, the record contains the
digest of the history.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lenet_exp.files import read_json
from lenet_exp.folders.damage import damage_error
from lenet_exp.folders.stored import without_secrets

RETRAIN_ADVICE = "to retrain the run, rerun the lenet-train command that started it"


def record_with_digests(value: Any, history: Path) -> Any:
    """Return the content of record.json: a record with the history's digest and its own digest.

    Args:
        value: the record as a JSON value.
        history: path of history.json.
    """
    return with_digest(value | {"history_digest": _history_digest(history)})


def with_digest(value: Any) -> Any:
    """Return a JSON object with the key `digest`, which contains a digest of all other keys."""
    return value | {"digest": _digest(value, "digest")}


def redacted(value: Any) -> Any:
    """Return a JSON value without secrets (see `without_secrets`).

    If the value was changed and its digest was valid, the result has a new digest.
    """
    clean = without_secrets(value)
    if clean == value:
        return clean

    had_valid_digest = _has_digest(value) and digest_error(value) is None
    return with_digest(clean) if had_valid_digest else clean


def verified(value: Any) -> Any:
    """Check the digest of a JSON value, and return the value; a value without a digest is accepted.

    Raises:
        ValueError: the digest does not match.
    """
    error = digest_error(value)
    if error is not None:
        raise ValueError(error)
    return value


def verified_with_history(value: Any, record: Path) -> Any:
    """Check the digests of a record and of its history, and return the content of record.json.

    Another process can restart the run in the meantime: then the new content is checked. The result
    is None if record.json was removed.

    Args:
        value: content of record.json as a JSON value.
        record: path of record.json.

    Raises:
        ValueError: the record does not match its digest.
        DamagedError: the history does not match its digest.
    """
    history = record.with_name("history.json")
    while _has_digest(value):
        record_error = digest_error(value)
        history_error = _history_error(value, history)
        if record_error is None and history_error is None:
            return value

        current_value = read_json(record)
        if current_value == value:
            if history_error is not None and record_error is None:
                raise damage_error(history, history_error, RETRAIN_ADVICE)
            raise ValueError(record_error)
        value = current_value
    return value


def digest_error(value: Any) -> str | None:
    """Return the reason why a JSON value does not match its digest, or None if it matches."""
    if not isinstance(value, dict) or value.get("digest") in (None, _digest(value, "digest")):
        return None
    return "it was changed after it was written"


def _has_digest(value: Any) -> bool:
    return isinstance(value, dict) and value.get("digest") is not None


def _history_error(value: Any, path: Path) -> str | Exception | None:
    """Return the reason why a history does not match the digest in its record.

    The result is None if it matches.

    Args:
        value: the record as a JSON value.
        path: path of history.json.
    """
    try:
        matches = value.get("history_digest") == _history_digest(path)
    except (ValueError, OSError) as e:
        return e
    return None if matches else "it does not match record.json"


def _history_digest(path: Path) -> str | None:
    """Return the digest of a history, or None if the history is missing.

    The digest does not cover the history's checkpoints, which are removed once the record is
    written.
    """
    value = read_json(path)
    return None if value is None else _digest(value, "commits")


def _digest(value: Any, without: str) -> str:
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key != without}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
