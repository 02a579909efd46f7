"""Faulty servers on loopback: silent, slow, endless, or always failing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


@contextlib.contextmanager
def flooding_server(chunk: bytes, pause: float) -> Iterator[str]:
    """Run a server that answers every request with an endless repetition of `chunk`, with pauses."""

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
    """Run a server that answers every request with this status and this JSON body."""

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
