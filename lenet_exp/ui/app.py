"""The app that `lenet-ui` serves: MLflow's app with basic authentication, restricted to one origin.

MLflow accepts requests that pages from other ports of this machine send through the browser, which
adds the password. Other users can run servers on these ports.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import entry_points
from typing import Any

APP_NAME = "lenet-ui"  # the entry point in pyproject.toml, for `mlflow server --app-name`

# the types of an ASGI application: https://asgi.readthedocs.io/en/latest/specs/main.html
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class OneOrigin:
    """An ASGI application that refuses requests from the pages of other origins with status 403.

    Args:
        app: the application that answers all other requests.
        origin: the accepted value of the Origin header, such as `http://127.0.0.1:5001`. Requests
            without this header are accepted, because browsers add it to all requests that could
            change something.
    """

    def __init__(self, app: App, origin: str) -> None:
        self._app = app
        self._origin = origin.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        origins = [value for name, value in scope.get("headers", []) if name == b"origin"]
        if all(origin == self._origin for origin in origins):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            body = b"Requests from other origins are refused."
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": body})


def create_app() -> App:
    """Return the app for `mlflow server`.

    Its option `--cors-allowed-origins` must be a single origin.
    """
    # A package that sys.path contains twice has each of its entry points twice.
    basic_authentication = next(iter(entry_points(group="mlflow.app", name="basic-auth")))
    create_mlflow_app = basic_authentication.load()
    mlflow_app = create_mlflow_app()
    return OneOrigin(mlflow_app, os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"])
