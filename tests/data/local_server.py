"""A server on 127.0.0.1 that gives files as well as badly: what downloads are tested against."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ETAG = '"first"'


@dataclass
class Behaviour:
    """What the server has and how it goes wrong; each request's headers are kept in ``asked``."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = ETAG
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)  # bytes, one for each request in turn
    says_longer_by: int = 0
    length_said: bool = True
    status: list[int] = field(default_factory=list)  # answers of the first requests
    retry_after: str = ""
    redirect: str = ""  # for paths below /moved
    pause: float = 0.0  # seconds between two kilobytes
    silence: float = 0.0  # seconds before it answers
    wrong_start: int = 0  # the part begins so much later than asked for
    encoding: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    base: str = ""


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The server's address, for the length of a block."""

    class Handler(_Handler):
        does = behaviour

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may hang up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    behaviour.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield behaviour.base
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    does: Behaviour
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        does = self.does
        time.sleep(does.silence)
        does.asked.append({"path": self.path, **dict(self.headers.items())})
        self.close_connection = True
        path = self.path.partition("?")[0]
        if does.status:
            self._empty(does.status.pop(0))
        elif does.redirect and path.startswith("/moved"):
            self._empty(302, location=does.redirect)
        elif path in does.files:
            self._file(does.files[path])
        else:
            self._empty(404)

    def _empty(self, status: int, *, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        if self.does.retry_after:
            self.send_header("Retry-After", self.does.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, content: bytes) -> None:
        does, total, first = self.does, len(content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, does.etag)
        if asked and does.ranges and same:
            first = int(asked[1]) + does.wrong_start
            if first >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if does.length_said:
            self.send_header("Content-Length", str(total - first + does.says_longer_by))
        if does.encoding:
            self.send_header("Content-Encoding", does.encoding)
        if does.etag:
            self.send_header("ETag", does.etag)
        self.end_headers()
        self._send(content[first:])

    def _send(self, rest: bytes) -> None:
        end = self.does.break_after.pop(0) if self.does.break_after else len(rest)
        for start in range(0, min(end, len(rest)), 1024):
            self.wfile.write(rest[start : min(start + 1024, end)])
            self.wfile.flush()
            time.sleep(self.does.pause)
