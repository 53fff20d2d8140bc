"""A proxy before a real S3 server that lets chosen requests fail and passes on all others as they are."""

from __future__ import annotations

import http.client
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>on purpose</Message></Error>'
RESPONSES = {"error in 200": (200, "InternalError"), "403": (403, "AccessDenied"), "gone": (404, "NoSuchUpload")}
HOP_BY_HOP = ("connection", "expect", "transfer-encoding")


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests of a method whose path and query contain `text`.

    Kinds: "silent" (neither read nor answered), "drip" (answered with 1 kB a second), "reset" (the connection ends
    unanswered), "lost" (carried out, its answer never sent), "error in 200" (not carried out, with status 200 and the
    error in its body), "flip" (carried out, one bit of the answer's body turned over), "short" (its body breaks off in
    the middle), "403" (access denied), "gone" (no such upload, as some servers answer when an earlier attempt has
    completed it).
    """

    kind: str
    method: str
    text: str = ""
    times: int = 1


class FakeFaultyProxy:
    """Listens on loopback between a client and the server at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.upstream = urlsplit(endpoint).netloc
        self.closed = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FakeFaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def num_requests(self, method: str, text: str = "") -> int:
        """Count the requests of a method whose path and query contain `text`."""
        return sum(request.startswith(f"{method} ") and text in request for request in self.requests)

    def record(self, method: str, path: str) -> str:
        """Record a request; the kind of its fault, "" for none."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.text in path:
                    fault.times -= 1
                    return fault.kind
        return ""


class _Handler(BaseHTTPRequestHandler):
    proxy: ClassVar[FakeFaultyProxy]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fault = self.proxy.record(self.command, self.path)
        if fault in ("silent", "reset"):
            self.proxy.closed.wait(600 if fault == "silent" else 0)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault in RESPONSES:
            status, code = RESPONSES[fault]
            self._answer(status, {"Content-Type": "application/xml"}, ERROR.format(code).encode())
            return
        status, headers, answer = self._pass_on(body)
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "flip":
            answer = bytes([answer[0] ^ 1]) + answer[1:]
        self._answer(status, headers, answer, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        server.request(self.command, self.path, body, headers)
        with server.getresponse() as response:
            content = response.read()
            passed = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
            return response.status, passed, content

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: str = "") -> None:
        has_body = self.command != "HEAD" and status != 204
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or not has_body:
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "short":
            self.close_connection = True
            body = body[: len(body) // 2]
        with suppress(OSError):  # the client has gone
            self._send(body if has_body else b"", slowly=fault == "drip")

    def _send(self, body: bytes, *, slowly: bool) -> None:
        step = 100 if slowly else len(body) or 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if slowly and self.proxy.closed.wait(0.1):
                return
