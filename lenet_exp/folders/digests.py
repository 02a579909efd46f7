"""Digests of what a run or a job is and came to, so that damage and edits are noticed.

They guard against accidents, not against forgery: whoever edits a record can compute them, too. Files of older releases
have none and are believed. That of a history is in the run's record once that is written; until then in itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lenet_exp.errors import first_line
from lenet_exp.files import read_json
from lenet_exp.folders.damage import damage_error
from lenet_exp.folders.stored import without_secrets

AGAIN = "the run is trained again when it is asked for"


def record_with_digests(value: Any, history: Path) -> Any:
    """The content of record.json: a record with the digest of its history and a digest of the whole."""
    return with_digest(value | {"history_digest": _history_digest(history)})


def with_digest(value: Any) -> Any:
    """Add a digest of the whole value."""
    return value | {"digest": _digest(value, "digest")}


def redacted(value: Any) -> Any:
    """Remove secrets (`without_secrets`), with a new digest if the old one was right."""
    clean = without_secrets(value)
    had_one = isinstance(value, dict) and value.get("digest") is not None
    return with_digest(clean) if clean != value and had_one and digest_error(value) is None else clean


def verified(value: Any) -> Any:
    """The value, if it is what its digest says; one without a digest is believed.

    Raises:
        ValueError: it is not.
    """
    why = digest_error(value)
    if why is not None:
        raise ValueError(why)
    return value


def verified_with_history(value: Any, record: Path) -> Any:
    """The value of a record.json, if it and its history are what was written; None where it is gone meanwhile.

    Raises:
        ValueError: the record is not.
        DamagedError: the history is not.
    """
    history = record.with_name("history.json")
    while isinstance(value, dict) and value.get("digest") is not None:
        changed, other = digest_error(value), _other_history(value, history)
        if changed is None and other is None:
            return value
        again = read_json(record)  # another process may have begun the run anew
        if again == value:
            raise ValueError(changed) if changed is not None else damage_error(history, str(other), AGAIN)
        value = again
    return value


def digest_error(value: Any) -> str | None:
    """Why a value by itself can't be believed; None where it can."""
    if not isinstance(value, dict) or value.get("digest") in (None, _digest(value, "digest")):
        return None
    return "it was changed after it had been written"


def _other_history(value: Any, path: Path) -> str | None:
    """Why the history is not that of a record; None where it is."""
    try:
        same = value.get("history_digest") == _history_digest(path)
    except (ValueError, OSError) as e:
        return first_line(e)
    return None if same else "it is not the one of record.json"


def _history_digest(path: Path) -> str | None:
    """The digest of a history without its checkpoints, which are removed once the record is written."""
    value = read_json(path)
    return None if value is None else _digest(value, "commits")


def _digest(value: Any, without: str) -> str:
    if isinstance(value, dict):
        value = {k: v for k, v in value.items() if k != without}
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
