"""Explains server errors that persist until the user fixes their cause."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from lenet_exp.addresses import hide_password
from lenet_exp.errors import first_line, printable

REFUSALS = {"PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "INVALID_PARAMETER_VALUE"}
LOGIN = (
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, add them to ~/.mlflow/credentials, "
    "or include them in MLFLOW_TRACKING_URI"
)
CERTIFICATE = "MLFLOW_TRACKING_SERVER_CERT_PATH"


def why_refused(uri: str, error: Exception) -> str | None:
    """Return why the store at an address cannot be used, or None if it may be only unavailable.

    Args:
        uri: address of the store.
        error: error that a request to the store raised.
    """
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        return _login_problem(uri)
    if code == "PERMISSION_DENIED":
        user = _user(uri)
        who = f"user {user}" if user else "anonymous users"
        return f"permission denied for {who} ({_server_message(error)})"
    if code in REFUSALS:
        return hide_password(first_line(error))
    return _tls_problem(str(error))


def _login_problem(uri: str) -> str:
    user = _user(uri)
    if user is None and not os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"authentication required; set {LOGIN}"
    who = f"user {user}" if user else "MLFLOW_TRACKING_TOKEN"
    return f"authentication failed for {who}; set {LOGIN}"


def _user(uri: str) -> str | None:
    """Return the user name that requests to a store use, or None if they use no user name.

    The name comes from the address, which may contain a token instead, or from MLflow's
    credentials.
    """
    from mlflow.utils.credentials import read_mlflow_creds

    if urlsplit(uri).username:
        return "in the store's URI"
    return read_mlflow_creds().username


def _server_message(error: Exception) -> str:
    """Return the message from a server's response, without the text that MLflow adds.

    For example, it is `not yours` if MLflow's message is `API request failed with error code 403
    != 200. Response body: 'not yours'`.
    """
    body = str(error).partition("Response body: '")[2].strip().removesuffix("'")
    message = body or str(error)
    line = message.strip().splitlines()[0]
    return hide_password(printable(line)) or "403"


def _tls_problem(message: str) -> str | None:
    """Return why an encrypted connection was not possible, or None if that was not the problem.

    Args:
        message: text of an error of MLflow, which contains those of OpenSSL, requests, or a server.
    """
    if "invalid path: " in message and "CA certificate" in message:
        path = message.rpartition("invalid path: ")[2].strip()
        return f"certificate file {path} not found; check {CERTIFICATE} and REQUESTS_CA_BUNDLE"

    if "CERTIFICATE_VERIFY_FAILED" in message:
        openssl_reason = message.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        reason = openssl_reason or "no reason given"
        return (
            f"its certificate is not trusted ({reason}); "
            f"set {CERTIFICATE} to the certificate file of its authority"
        )

    if "WRONG_VERSION_NUMBER" in message or "RECORD_LAYER_FAILURE" in message:
        return "the server does not use TLS; use http://"

    # the messages of nginx and of Go's HTTP server
    if "plain HTTP request was sent to HTTPS port" in message:
        return "the server uses TLS; use https://"
    if "HTTP request to an HTTPS server" in message:
        return "the server uses TLS; use https://"
    return None
