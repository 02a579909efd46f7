"""An HTTP proxy between a client and a real MLflow server that fails as networks and servers do.
Its modes:

pass          every request is answered
drop          the connection closes before the request reaches the server
half          the server executes the request, and only half of its response arrives
hang          the request is accepted and never answered
slow          every request takes five seconds
a number      the response has this status
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.tools.servers import answering, send

HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class FaultyProxy:
    """Attributes:
    asked: method and path of every received request.
    choose: a function that returns the mode of the next request and overrides `set`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.asked: list[str] = []
        self.choose: Callable[[], str] | None = None
        self._mode = "pass"
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._port = 0
        self._listen()
        self.address = f"http://127.0.0.1:{self._port}"

    def set(self, mode: str) -> None:
        """Set the mode, and drop requests that hang."""
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def wait_for_requests(self, count: int) -> None:
        """Wait for this number of further requests."""
        with self._changed:
            expected = len(self.asked) + count
            have_arrived = self._changed.wait_for(lambda: len(self.asked) >= expected, 60)
            assert have_arrived, "no requests arrived"

    def _listen(self) -> None:
        proxy = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass

            def process_request(self, request, client_address):  # type: ignore[no-untyped-def]
                proxy._open.add(request)
                super().process_request(request, client_address)

        self._server = Server(("127.0.0.1", self._port), answering(self._answer, "HTTP/1.1"))
        self._port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening, and drop requests that hang."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = request.path.partition("?")[0]
        with self._changed:
            self.asked.append(f"{request.command} {path}")
            self._changed.notify_all()
            mode = self.choose() if self.choose is not None else self._mode
        if mode == "hang":
            self._hang(request)
        elif mode == "drop":
            request.close_connection = True
        elif mode.isdigit():
            send(request, int(mode), {}, b"")
        else:
            if mode == "slow":
                time.sleep(5)
            self._forward(request, body, mode)

    def _hang(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with self._changed:
            if self.choose is None:
                self._changed.wait_for(lambda: not self._mode.startswith("hang"))
            else:  # the client gives up first
                self._changed.wait(3)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes, mode: str) -> None:
        server = http.client.HTTPConnection(self.upstream)
        forwarded = {"Host": self.upstream}
        for name, value in request.headers.items():
            if name.lower() not in {"connection", "host"}:
                forwarded[name] = value
        with contextlib.closing(server):
            server.request(request.command, request.path, body, forwarded)
            answer = server.getresponse()
            content = answer.read()

        headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
        if mode == "half":
            half = content[: len(content) // 2]
            send(request, answer.status, headers, half, len(content) or 1)
            request.close_connection = True
        else:
            send(request, answer.status, headers, content)
