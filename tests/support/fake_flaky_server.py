"""A small S3 server that fails on request: each of its `faults` befalls one request, later ones succeed."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

ERROR = "<Error><Code>{code}</Code><Message>on purpose</Message></Error>"


class FakeFlakyServer:
    """GET (with Range), HEAD and PUT (with If-None-Match) of objects in memory.

    Faults: "503", "500", "403" (that answer instead), "reset" (the connection ends unanswered), "lost" (the request is
    carried out, its answer never sent), "short" (the answer's body breaks off in the middle).
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FakeFlakyServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


class _Handler(BaseHTTPRequestHandler):
    fake: ClassVar[FakeFlakyServer]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        key = self.path.partition("?")[0]
        self.fake.requests.append(f"{self.command} {key}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.fake.faults.pop(0) if self.fake.faults else ""
        if fault.isdigit():
            code = {"503": "ServiceUnavailable", "500": "InternalError", "403": "AccessDenied"}[fault]
            self._answer(int(fault), ERROR.format(code=code).encode())
            return
        status, answer = (0, b"") if fault == "reset" else self._carry_out(key, body)
        if fault in ("reset", "lost"):
            self.close_connection = True
        else:
            self._answer(status, answer, len(answer) // 2 if fault == "short" else None)

    def _carry_out(self, key: str, body: bytes) -> tuple[int, bytes]:
        objects = self.fake.objects
        if self.command == "PUT":
            if self.headers.get("If-None-Match") and key in objects:
                return 412, ERROR.format(code="PreconditionFailed").encode()
            objects[key] = body
            return 200, b""
        if key not in objects:
            return 404, ERROR.format(code="NoSuchKey").encode()
        if bounds := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            return 206, objects[key][int(bounds[1]) : int(bounds[2]) + 1 if bounds[2] else None]
        return 200, objects[key]

    def _answer(self, status: int, body: bytes, num_sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"fake"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:num_sent])
        self.close_connection = num_sent is not None
