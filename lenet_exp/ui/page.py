"""MLflow's page with a script of ours before its own: no assistant, and a run's charts begin with its curves.

How the script does that is in ui_page.js.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = Path(__file__).with_suffix(".js")
# The button that opens the panel, and the panel.
STYLE = '[data-assistant-ui="true"] { display: none !important; }'
# A browser that kept the page without the script would be told that it is still good.
OF_A_KEPT_PAGE = (b"if-none-match", b"if-modified-since", b"range")


class WithScript:
    """An ASGI application whose page is given the script; whatever else it answers is left alone.

    Args:
        curves: the metrics whose charts come first.
    """

    def __init__(self, app: ASGIApp, curves: Sequence[str]) -> None:
        self.app = app
        script = SCRIPT.read_text(encoding="utf-8")
        self.added = f'<style>{STYLE}</style><script data-curves="{" ".join(curves)}">{script}</script>'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The page's address ends so behind any prefix, too.
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith("/"):
            await self.app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in OF_A_KEPT_PAGE]
        begun: Message = {}
        body = bytearray()

        async def send_whole(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                answer = self._with_script(begun, bytes(body))
                await send(begun)
                await send({"type": "http.response.body", "body": answer})

        await self.app({**scope, "headers": headers}, receive, send_whole)

    def _with_script(self, begun: Message, body: bytes) -> bytes:
        """The body to send, and its length in the headers of `begun`."""
        headers = MutableHeaders(raw=begun["headers"])
        if begun["status"] != 200 or not headers.get("content-type", "").startswith("text/html"):
            return body
        body = body.replace(b"<script", self.added + b"<script", 1)  # behind its charset, before what MLflow runs
        headers["content-length"] = str(len(body))
        del headers["etag"], headers["last-modified"]
        return body
