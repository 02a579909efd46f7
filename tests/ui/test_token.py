"""The server that `lenet-ui` starts requires its token for everything that MLflow can do, on any supported MLflow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from fastapi import routing
from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as mlflows
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lenet_exp.tracking.stores.refused import TOKEN_REQUIRED
from lenet_exp.ui.app import TokenRequired, protected

TOKEN = "a.token-of_its~own"
HOST = "127.0.0.1:5000"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def ask(app: ASGIApp, url: str, method: str = "GET", kind: str = "http", **headers: str) -> list[Message]:
    """Return the messages that the application sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    parts = urlsplit(url)
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": parts.path,
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), text.encode()) for name, text in ({"host": HOST} | headers).items()],
        "server": ("127.0.0.1", 5000),
    }
    if kind == "http":
        scope["method"] = method
    with ThreadPoolExecutor(1) as apart:  # browser tests have an event loop in this thread
        apart.submit(asyncio.run, app(scope, receive, send)).result()
    return sent


def headers_of(sent: list[Message]) -> dict[str, str]:
    return {name.decode().lower(): text.decode() for name, text in sent[0]["headers"]}


def routes() -> Iterator[tuple[str, str]]:
    """Yield method and path of every route of MLflow, with a value for each variable."""
    contexts = getattr(routing, "iter_route_contexts", iter)  # newer FastAPI keeps the routes of a router together
    for route in contexts(mlflows.routes):
        for method in getattr(route, "methods", None) or ("GET",):
            yield method, re.sub(r"\{[^}]*\}", "1", route.path) or "/"
    for rule in flask_app.url_map.iter_rules():
        for method in rule.methods or ():
            yield method, re.sub(r"<[^>]*>", "1", rule.rule)


def test_every_mlflow_route_requires_token():
    app, found = protected(TOKEN), sorted(set(routes()))
    assert {("PUT", "/api/2.0/mlflow-artifacts/artifacts/1"), ("POST", "/api/2.0/mlflow/runs/search")} <= set(found)
    assert {("GET", "/health"), ("GET", "/"), ("GET", "/get-artifact"), ("POST", "/v1/traces")} <= set(found)
    for method, path in found:
        start, body = ask(app, path, method)
        assert (start["status"], body["body"]) == (403, TOKEN_REQUIRED.encode()), (method, path)


def test_link_sets_cookie_and_redirects_without_token():
    app = protected(TOKEN)
    sent = ask(app, f"/version?a=1&token={TOKEN}&b=2")
    answer = headers_of(sent)
    assert (sent[0]["status"], answer["location"]) == (303, f"http://{HOST}/version?a=1&b=2")
    cookie, *attributes = answer["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=lax"} <= set(attributes)
    assert TOKEN not in cookie
    assert ask(app, "/version", cookie=f"other=1; {cookie}")[0]["status"] == 200
    for wrong in (cookie.replace("5000", "5001"), cookie[:-1], f"{cookie}x", cookie.partition("=")[0] + "="):
        assert ask(app, "/version", cookie=wrong)[0]["status"] == 403
    assert ask(app, "/version", cookie=cookie, host="127.0.0.1:6000")[0]["status"] == 403
    assert ask(protected(TOKEN), "/version", cookie=cookie)[0]["status"] == 403  # cookie of an earlier server


ACCEPTED = (f"Bearer {TOKEN}", f"bearer {TOKEN}")
REFUSED = (f"Basic {TOKEN}", TOKEN, "Bearer ", "Bearer ü", f"Bearer {TOKEN}x")


@pytest.mark.parametrize("authorization", [*ACCEPTED, *REFUSED])
def test_bearer_token_of_mlflow_client_is_accepted(authorization):
    status = 200 if authorization in ACCEPTED else 403
    assert ask(protected(TOKEN), "/version", authorization=authorization)[0]["status"] == status


@pytest.mark.parametrize(("method", "query"), [("POST", TOKEN), ("GET", ""), ("GET", TOKEN[:-1]), ("GET", "%ff%C3")])
def test_only_get_request_with_complete_token_is_link(method, query):
    assert ask(protected(TOKEN), f"/version?token={query}", method)[0]["status"] == 403


def test_web_sockets_require_token_but_lifespan_does_not():
    reached = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    app = TokenRequired(TOKEN, inside)
    assert [message["type"] for message in ask(app, "/live", kind="websocket")] == ["websocket.close"]
    assert [m["type"] for m in ask(app, f"/live?token={TOKEN}", kind="websocket")] == ["websocket.close"]
    assert reached == []
    ask(app, "/live", kind="websocket", **BEARER)
    ask(app, "", kind="lifespan")
    assert reached == ["websocket", "lifespan"]


def test_server_without_token_allows_access():
    assert ask(protected(""), "/version")[0]["status"] == 200
