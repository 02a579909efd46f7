"""MLflow's web application as `lenet-ui` serves it: without MLflow's assistant (`mlflow server --app-name lenet-ui`).

MLflow's assistant runs shell commands on the server's machine for every user who connects from that machine. These
users can also choose the language model. On a shared machine, any user could therefore run commands with the
permissions of the user who started the server.

If `lenet-ui` passes a token in the environment, every request must contain the token. Without a token, every user of
the machine could connect to the server at its loopback address.
"""

from __future__ import annotations

import os
import re
import secrets

from mlflow.server.assistant.api import assistant_router
from mlflow.server.fastapi_app import app as mlflows
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from lenet_exp.tracking.stores.refused import TOKEN_REQUIRED
from lenet_exp.ui.server import TOKEN

POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class PathHidden:
    """An ASGI application that responds with status 404 to requests whose path contains a given path."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self.path, self.app = path, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.path in scope["path"]:
            await PlainTextResponse("lenet-ui has no MLflow assistant", status_code=404)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class TokenRequired:
    """An ASGI application that requires a token, in a link or in the header `Authorization: Bearer`.

    After a request with the token from a link, the browser sends a cookie instead. The cookie has its own random value,
    because browsers send a host's cookies to all of its ports. Its SameSite attribute is Lax, so that links in an
    exported report (a different site) work.
    """

    def __init__(self, token: str, app: ASGIApp) -> None:
        self.token, self.cookie, self.app = token, secrets.token_urlsafe(), app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        # Servers on other ports, including tunneled ones, must not replace the cookie.
        name = f"lenet-ui-{re.sub(r'[^0-9]', '', request.headers.get('host', '').rpartition(':')[2])}"
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        bearer = f"{scheme.lower()} {given}"
        if scope.get("method") == "GET" and _equal(request.query_params.get("token", ""), self.token):
            answer: Response = RedirectResponse(request.url.remove_query_params("token"), status_code=303)
            answer.set_cookie(name, self.cookie, httponly=True, samesite="lax")
            await answer(scope, receive, send)
        elif _equal(request.cookies.get(name, ""), self.cookie) or _equal(bearer, f"bearer {self.token}"):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(POLICY_VIOLATION)(scope, receive, send)
        else:
            await PlainTextResponse(TOKEN_REQUIRED, status_code=403)(scope, receive, send)


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def protected(token: str) -> ASGIApp:
    """Return MLflow's web application, with access restricted by a token unless the token is empty."""
    served = PathHidden(assistant_router.prefix, mlflows)
    return TokenRequired(token, served) if token else served


app = protected(os.environ.get(TOKEN, ""))
