"""A web server on this machine that can break in the ways servers break, for tests of downloads."""

from __future__ import annotations

import http.server
import re
import threading
from contextlib import contextmanager
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, knows ranges, keeps a record of requests, and misbehaves as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: list[int] = []  # of the next replies, before any file is served
        self.cuts: list[int] = []  # bytes after which the next replies break off
        self.ranges = True
        self.content_type = "text/csv"
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.seen.append((self.path, asked))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        tag, start = f'"{hash(content)}"', 0
        if server.ranges and asked and self.headers.get("If-Range") == tag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(content[start : start + server.cuts.pop(0)] if server.cuts else content[start:])

    def log_message(self, *_):
        """Keep the tests' output clean."""


@contextmanager
def running(server: Server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kept(folder: Path) -> list[str]:
    """Names in a folder of downloads but for locks and notes on where a part came from."""
    return [file.name for file in folder.iterdir() if file.suffix not in (".lock", ".from")]
