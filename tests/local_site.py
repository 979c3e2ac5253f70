"""A small HTTPS site on this machine that plays the FLAME site and Google Drive, with a certificate of its own."""

import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trustme


@dataclass
class Asked:
    """One request, as the site saw it."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    range_start: int


@dataclass
class Answer:
    """What the site sends; `cut_after` breaks the connection after so many bytes, `pause_s` waits before each block."""

    content: bytes = b""
    status: int = 200
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    pause_s: float = 0.0
    ranges: bool = True


def page(text: str, status: int = 200) -> Answer:
    return Answer(f"<!DOCTYPE html><html><body>{text}</body></html>".encode(), status, "text/html")


Route = Callable[[Asked], Answer]


@dataclass
class Site:
    """Routes by path; every request is kept in `asked`."""

    address: str
    authority: Path  # the certificate that makes the site trustworthy
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._reply({name: values[0] for name, values in parse_qs(body).items()})

    def _reply(self, form: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, query, form, int(found[1]) if found else 0)
        self.site.asked.append(asked)
        route = self.site.routes.get(parts.path)
        answer = route(asked) if route else Answer(b"not here", 404, "text/plain")
        with contextlib.suppress(OSError):  # the client may leave at any time
            self._send(asked, answer)

    def _send(self, asked: Asked, answer: Answer) -> None:
        start = asked.range_start if answer.ranges and answer.status == 200 else 0
        if start and start >= len(answer.content):
            self.send_error(416)
            return
        content = answer.content[start:]
        self.send_response(206 if start else answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(content)))
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(answer.content) - 1}/{len(answer.content)}"
            )
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = len(content) if answer.cut_after is None else answer.cut_after
        for place in range(0, end, 65536):
            time.sleep(answer.pause_s)
            self.wfile.write(content[place : min(place + 65536, end)])
        self.wfile.flush()
        if answer.cut_after is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Start a site on a free port; its authority's certificate is written into the folder."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("localhost", 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    certificate = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    handler.site = Site(f"https://localhost:{server.server_address[1]}", certificate)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield handler.site
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def running_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that passes encrypted connections on; its address, and where it was asked to connect to."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline().split()
            while self.rfile.readline().strip():
                pass  # the rest of the head
            asked.append(words[1].decode())
            host, port = asked[-1].rsplit(":", 1)
            with socket.create_connection((host, int(port))) as far:
                self.wfile.write(b"HTTP/1.1 200 connected\r\n\r\n")
                there = threading.Thread(target=_pump, args=(self.connection, far), daemon=True)
                there.start()
                _pump(far, self.connection)

    with socketserver.ThreadingTCPServer(("localhost", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://localhost:{server.server_address[1]}", asked
        finally:
            server.shutdown()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
