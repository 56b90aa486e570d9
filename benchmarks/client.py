"""One kept connection for samples that are taken one at a time, with everything that an answer carries.

Where many requests run at once the generator (`load.py`) is used. This client costs some 0.05 ms per request, and is
for figures in milliseconds.
"""

from __future__ import annotations

import base64
import binascii
import re
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from msgspec import Struct

from benchmarks.load import LoadError

_REPORT = re.compile(
    r"REPORT RequestId: \S+\s+Duration: ([\d.]+) ms\s.*?Memory Size: (\d+) MB\s+Max Memory Used: (\d+) MB", re.DOTALL
)


class Report(Struct, frozen=True):
    """What the engine's REPORT line says."""

    duration_ms: float
    memory_mb: int
    max_memory_mb: int


class Answer(Struct, frozen=True):
    """One answer.

    Attributes:
        headers: by lower-case name.
        ns: from the request handed to the kernel until the whole answer was here.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    ns: int

    @property
    def problem(self) -> str:
        """Empty for a good answer; otherwise its status or its kind of error."""
        if self.status != 200:
            return f"status {self.status}"
        return "function error" if "x-amz-function-error" in self.headers else ""

    @property
    def request_id(self) -> str:
        """As AWS names it."""
        return self.headers.get("x-amzn-requestid", "")

    @property
    def log(self) -> str:
        """The last 4 KB of the invocation's log; empty when it was not asked for."""
        try:
            return base64.b64decode(self.headers.get("x-amz-log-result", "")).decode(errors="replace")
        except binascii.Error:
            return ""

    @property
    def report(self) -> Report | None:
        """The REPORT line in the log."""
        return parse_report(self.log)


def parse_report(log: str) -> Report | None:
    """The last REPORT line of a log; None without one."""
    found = _REPORT.findall(log)
    if not found:
        return None
    duration, memory, used = found[-1]
    return Report(float(duration), int(memory), int(used))


class Client:
    """A connection to 127.0.0.1 that is kept; made anew when the server has closed it."""

    def __init__(self, port: int, *, timeout: float = 60.0) -> None:
        self._port = port
        self._timeout = timeout
        self._sock: socket.socket | None = None

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection. Idempotent."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def connect(self) -> None:
        """Connect now, so that the next request does not have to."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), self._timeout)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request; an underscore in the name of a header stands for a dash.

        Raises:
            LoadError: no answer, or none that is HTTP.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]
        data = "\r\n".join(lines).encode() + body
        try:
            self.connect()
            assert self._sock is not None
            began = time.monotonic_ns()
            self._sock.sendall(data)
            head, answer = self._receive(self._sock)
            took = time.monotonic_ns() - began
        except OSError as error:
            self.close()
            raise LoadError(f"{method} {path} on port {self._port}: {error}") from None
        status, *fields = head.decode("latin-1").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if found.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(status.split(" ", 2)[1]), found, answer, took)

    @staticmethod
    def _receive(sock: socket.socket) -> tuple[bytes, bytes]:
        data = bytearray()
        end = -1
        length = 0
        while end < 0 or len(data) < end + 4 + length:
            piece = sock.recv(262144)
            if not piece:
                raise ConnectionResetError("closed in the middle of an answer")
            data += piece
            if end < 0 and (end := data.find(b"\r\n\r\n")) >= 0:
                found = re.search(rb"\r\ncontent-length: *(\d+)", data[:end], re.IGNORECASE)
                length = int(found[1]) if found else 0
        return bytes(data[:end]), bytes(data[end + 4 :])
