"""Faulty servers on loopback: silent, slow, endless, or always failing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextlib.contextmanager
def silent_server(port: int = 0) -> Iterator[str]:
    """Run a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listening:
        kept: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(listening.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for connection in kept:
                connection.close()


def answering(
    answer: Callable[[Any], object], version: str = "HTTP/1.0"
) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers every request with a function of the handler."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = version
        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = lambda self: answer(self)  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Answers


def send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    size: int = -1,
) -> None:
    """Send a response, with another size in its header than that of the body if `size` is not
    negative.
    """
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if size < 0 else size))
    request.end_headers()
    request.wfile.write(body)
    request.wfile.flush()


@contextlib.contextmanager
def flooding_server(chunk: bytes, pause: float) -> Iterator[str]:
    """Run a server that answers every request with an endless repetition of `chunk`, with
    pauses.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(chunk)
                time.sleep(pause)

    with served(answering(answer)) as address:
        yield address


@contextlib.contextmanager
def erring_server(status: int = 500, port: int = 0, body: bytes = b"") -> Iterator[str]:
    """Run a server that answers every request with this status and this JSON body."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        send(request, status, {"Content-Type": "application/json"}, body)

    with served(answering(answer), port) as address:
        yield address


@contextlib.contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Run a server with a handler, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.block_on_close = False
        server.daemon_threads = True
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
