"""Addresses of MLflow stores: which one is meant, and how it may be shown and kept."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lenet_exp.outputs import outputs_dir

SQLITE = "sqlite:///"


def store_uri(uri: str | None, outputs: Path | None = None) -> str:
    """`uri`, which is `tracking.uri` (by default MLFLOW_TRACKING_URI), else mlflow.db in the outputs folder."""
    return uri or f"{SQLITE}{(outputs or outputs_dir()) / 'mlflow.db'}"


def default_uri() -> str:
    """Where commands that are no Hydra apps look: MLFLOW_TRACKING_URI, else mlflow.db in the outputs folder."""
    return store_uri(os.environ.get("MLFLOW_TRACKING_URI"))


def frozen_uri(uri: str | None) -> str | None:
    """A store's address as it may be kept: good in any directory, without a password."""
    if uri is not None and uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"
    return None if uri is None else hide_password(uri)


def hide_password(uri: str) -> str:
    """The address, or a text with addresses in it, without the passwords they may carry; for logs and records."""
    text = re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1:***@", uri)
    return re.sub(r"([?&](?:password|sslpassword)=)[^&\s]*", r"\1***", text)
