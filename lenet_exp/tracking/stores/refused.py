"""Explains server errors that persist until the user fixes their cause."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from lenet_exp.addresses import hide_password
from lenet_exp.errors import first_line, printable

REFUSALS = {"PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "INVALID_PARAMETER_VALUE"}
LOGIN = (
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, add them to ~/.mlflow/credentials, or include them in "
    "MLFLOW_TRACKING_URI"
)
CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"


def why_refused(uri: str, error: Exception) -> str | None:
    """Return the reason why the store at `uri` cannot be used, or None if it could be only
    temporarily unavailable.

    Args:
        error: error that a request to the store raised.
    """
    code, text = getattr(error, "error_code", None), str(error)
    if code == "UNAUTHENTICATED":
        return _who(uri)
    if code == "PERMISSION_DENIED":
        user = _user(uri)
        return f"permission denied for {'user ' + user if user else 'anonymous users'} ({_words(error)})"
    if code in REFUSALS:
        return hide_password(first_line(error))
    if "invalid path: " in text and "CA certificate" in text:
        path = text.rpartition("invalid path: ")[2].strip()
        return f"certificate file {path} not found; check {CA} and REQUESTS_CA_BUNDLE"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        words = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        why = words or "no reason given"
        return f"its certificate is not trusted ({why}); set {CA} to the certificate file of its authority"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "the server does not use TLS; use http://"
    if (
        "plain HTTP request was sent to HTTPS port" in text
        or "HTTP request to an HTTPS server" in text
    ):
        return "the server uses TLS; use https://"
    return None


def _who(uri: str) -> str:
    user = _user(uri)
    if user is None and not os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"authentication required; set {LOGIN}"
    return f"authentication failed for {'user ' + user if user else 'MLFLOW_TRACKING_TOKEN'}; set {LOGIN}"


def _user(uri: str) -> str | None:
    """Return the user name that requests to a store use, or None if they use no user name.

    The name comes from the address, which may contain a token instead, or from MLflow's
    credentials.
    """
    from mlflow.utils.credentials import read_mlflow_creds

    return "in the store's URI" if urlsplit(uri).username else read_mlflow_creds().username


def _words(error: Exception) -> str:
    """Return the message from a server's response, without the text that MLflow adds."""
    body = str(error).partition("Response body: '")[2].strip().removesuffix("'")
    return hide_password(printable((body or str(error)).strip().splitlines()[0])) or "403"
