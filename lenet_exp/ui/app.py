"""MLflow's pages as `lenet-ui` serves them: without its assistant (`mlflow server --app-name lenet-ui`).

MLflow's assistant runs shell commands on the server's machine for anybody who reaches the server from that machine, and
who may also choose the language model that asks for them. On a machine that several people use, the pages that one of
them looks at would be a shell of his for all others.
"""

from __future__ import annotations

from mlflow.server.assistant.api import assistant_router
from mlflow.server.fastapi_app import app as mlflows
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Without:
    """An ASGI application that knows nothing below a path, behind whatever prefix."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self.path, self.app = path, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.path in scope["path"]:
            await PlainTextResponse("lenet-ui has no assistant", status_code=404)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


app = Without(assistant_router.prefix, mlflows)
