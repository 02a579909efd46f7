"""Servers on loopback that do not behave: silent, slow or endless ones, and one that only has errors."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def silent_server(port: int = 0) -> Iterator[str]:
    """Accepts every connection, and never says a word."""
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


@contextlib.contextmanager
def flooding_server(chunk: bytes, pause: float) -> Iterator[str]:
    """Answers every request with the same bytes again and again, after a pause each."""

    class Floods(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(chunk)
                    time.sleep(pause)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with _served(Floods) as address:
        yield address


@contextlib.contextmanager
def erring_server(status: int = 500, port: int = 0, body: bytes = b"") -> Iterator[str]:
    """Answers every request with this status, and this as JSON."""

    class Errs(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with _served(Errs, port) as address:
        yield address


@contextlib.contextmanager
def _served(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.block_on_close = False
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
