"""A Runtime API of the tests' own: blocking, in a thread, independent of `runtime_api`, and it keeps what it was sent.

It is deliberately plain, so that a bootstrap is judged by the wire alone::

    with ScriptedRuntimeApi() as api, api.start(["sh", "bootstrap"], cwd=folder) as runtime:
        answer = api.invoke(b'{"a": 1}')
        assert answer.path.endswith("/response")
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = "/2018-06-01/runtime/"
PATIENCE_S = 30.0


@dataclass
class Request:
    """What a runtime sent. Header and trailer names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    trailers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Runtime:
    """A runtime process under test."""

    process: subprocess.Popen[bytes]
    _output: Any = field(repr=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def output(self) -> str:
        """Everything that it has printed so far, stdout and stderr as one stream."""
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def lines(self) -> list[str]:
        """The printed lines, cut at newlines only (a record holds carriage returns)."""
        return self.output().split("\n")[:-1]

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        return self.process.wait(PATIENCE_S)


class ScriptedRuntimeApi:
    """Serves one runtime. `invoke` gives it an invocation and returns what it posted for it."""

    def __init__(self, *, answers: Mapping[str, int] | None = None, chunked: bool = False, close: bool = False) -> None:
        """Listen on a free loopback port.

        Args:
            answers: the status for posts to a path that ends with the key, in place of 202.
            chunked: send invocations with Transfer-Encoding: chunked.
            close: close the connection after each answer to a post.
        """
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self._answers = dict(answers or {})
        self._chunked = chunked
        self._close = close
        self._invocations: queue.Queue[tuple[dict[str, str], bytes] | None] = queue.Queue()
        self._posts: queue.Queue[Request] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._invocations.put(None)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for connection in self._connections:
            connection.close()

    def variables(self, task_root: Path) -> dict[str, str]:
        """An environment like Lambda's."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": self.address,
            "AWS_LAMBDA_FUNCTION_NAME": "fn",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef",
            "LAMBDA_TASK_ROOT": str(task_root),
            "_HANDLER": "app.handler",
        }

    def seen(self, folder: Path) -> str:
        """Where the function has the package that lies in `folder`."""
        return str(folder)

    @contextmanager
    def start(
        self, argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> Iterator[Runtime]:
        """Run a bootstrap against this API, in an environment like Lambda's, and end it with the block."""
        variables = {**self.variables(cwd), **(env or {})}
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [str(part) for part in argv], cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, pass_fds=fds, start_new_session=True,
            )  # fmt: skip
            try:
                yield Runtime(process, output)
            finally:
                process.kill()
                process.wait(PATIENCE_S)

    def invoke(self, payload: bytes = b"{}", *, request_id: str | None = None, **headers: str | None) -> Request:
        """Give the runtime one invocation, wait, and return what it posted.

        `headers`: ``deadline_ms="…"`` and so on; None leaves one out.
        """
        self.send(payload, request_id=request_id, **headers)
        return self.posted()

    def send(self, payload: bytes = b"{}", *, request_id: str | None = None, **headers: str | None) -> None:
        """Give the runtime one invocation and do not wait."""
        given = {
            "Lambda-Runtime-Aws-Request-Id": request_id or str(uuid.uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 3000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:fn",
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000001;Parent=0000000000000001;Sampled=0",
            "Content-Type": "application/json",
        }
        for name, value in headers.items():
            title = "-".join(part.capitalize() for part in name.split("_"))
            key = title if title == "Content-Type" else "Lambda-Runtime-" + title
            if value is None:
                given.pop(key, None)
            else:
                given[key] = value
        self._invocations.put((given, payload))

    def posted(self) -> Request:
        """The next post of the runtime: response, error or init/error."""
        return self._posts.get(timeout=PATIENCE_S)

    # The server.

    def _spawn(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            self._spawn(self._serve, connection, number)
            number += 1

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError, EOFError), connection.makefile("rb") as reader:
            while (request := self._read(reader, number)) is not None:
                self.requests.append(request)
                if request.path == ROOT + "invocation/next":
                    invocation = self._invocations.get()
                    if invocation is None:
                        return
                    connection.sendall(self._render(*invocation))
                    continue
                status = next((s for end, s in self._answers.items() if request.path.endswith(end)), 202)
                self._posts.put(request)
                body = b'{"status":"OK"}\n'
                last = b"Connection: close\r\n" if self._close else b""
                head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), last)
                connection.sendall(head + body)
                if self._close:
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    def _render(self, headers: dict[str, str], payload: bytes) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if not self._chunked:
            return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(payload)}\r\n\r\n".encode() + payload
        out = [f"HTTP/1.1 200 OK\r\n{lines}Transfer-Encoding: chunked\r\n\r\n".encode()]
        for at in range(0, len(payload), 1000):
            part = payload[at : at + 1000]
            out.append(b"%x\r\n%s\r\n" % (len(part), part))
        out.append(b"0\r\n\r\n")
        return b"".join(out)

    @staticmethod
    def _read(reader: Any, number: int) -> Request | None:
        line = reader.readline()
        if not line:
            return None
        method, path, _ = line.decode().split(" ")
        headers, trailers = ScriptedRuntimeApi._fields(reader), {}
        if "chunked" in headers.get("transfer-encoding", ""):
            parts = []
            while size := int(reader.readline().partition(b";")[0], 16):
                parts.append(reader.read(size))
                reader.readline()
            trailers = ScriptedRuntimeApi._fields(reader)
            body = b"".join(parts)
        else:
            body = reader.read(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body, number, trailers)

    @staticmethod
    def _fields(reader: Any) -> dict[str, str]:
        fields: dict[str, str] = {}
        while (line := reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("utf-8").partition(":")
            name, value = name.lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields
