"""A small reference client of the Runtime API: what a bootstrap does, in one readable file.

Standard library only and blocking, like a runtime's loop. It keeps the connection, sends each request in one write with
TCP_NODELAY, and waits for `next` without a time limit. It is exact rather than forgiving: an answer that the API does
not promise is a `ClientError` with the status and body in it, which is what tests and authors of new bootstraps want.

Example::

    client = RuntimeClient()                      # AWS_LAMBDA_RUNTIME_API
    while True:
        event = client.next()
        try:
            result = handler(json.loads(event.payload))
        except Exception as error:
            client.error(event, str(error), type(error).__name__)
        else:
            client.response(event, json.dumps(result).encode())
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ._errors import ClientError
from ._events import Invocation
from ._limits import API_VERSION

__all__ = ["RuntimeClient"]


class RuntimeClient:
    """One connection to a Runtime API endpoint. Not thread-safe: use one per thread.

    Args:
        address: ``host:port``; by default the environment variable AWS_LAMBDA_RUNTIME_API.
        timeout_s: seconds to wait for an answer; None (the default, and right for a runtime) waits for ever.
    """

    def __init__(self, address: str | None = None, *, timeout_s: float | None = None) -> None:
        self.address = address if address is not None else os.environ["AWS_LAMBDA_RUNTIME_API"]
        self.timeout_s = timeout_s
        self._sock: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the API -------------------------------------------------------------------------------------------------

    def next(self) -> Invocation:
        """Wait for the next invocation.

        Raises:
            ClientError: the answer was not 200, or had no request id.
        """
        status, headers, body = self.request("GET", "/runtime/invocation/next")
        if status != 200:
            raise _unexpected("GET next", 200, status, body)
        request_id = headers.get("lambda-runtime-aws-request-id")
        if not request_id:
            raise ClientError("the answer to next has no Lambda-Runtime-Aws-Request-Id", status, body)
        return Invocation(
            request_id,
            deadline_ms=int(headers.get("lambda-runtime-deadline-ms", "0")),
            function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
            payload=body,
            invocation_id=headers.get("lambda-runtime-invocation-id", ""),
            content_type=headers.get("content-type", ""),
            trace_id=headers.get("lambda-runtime-trace-id", ""),
            client_context=headers.get("lambda-runtime-client-context", ""),
            cognito_identity=headers.get("lambda-runtime-cognito-identity", ""),
            tenant_id=headers.get("lambda-runtime-aws-tenant-id", ""),
        )

    def response(self, invocation: Invocation | str, body: bytes, *, content_type: str = "application/json") -> None:
        """Send the result of `invocation` (or of the request id given).

        Raises:
            ClientError: not accepted; status 400 (wrong id), 403 (wrong state) or 413 (over 6 291 556 bytes).
        """
        self._post(f"/runtime/invocation/{_id(invocation)}/response", body, content_type, _echo(invocation))

    def error(
        self,
        invocation: Invocation | str,
        message: str,
        error_type: str = "Error",
        *,
        stack_trace: Sequence[str] = (),
        header_type: str = "",
    ) -> None:
        """Report that the handler failed.

        Args:
            invocation: which one, or its request id.
            message: ``errorMessage`` for the caller.
            error_type: ``errorType`` for the caller, usually the class name.
            stack_trace: ``stackTrace``, one line per frame.
            header_type: Lambda-Runtime-Function-Error-Type, for telemetry, e.g. ``Function.Unhandled``.

        Raises:
            ClientError: not accepted.
        """
        headers = dict(_echo(invocation))
        if header_type:
            headers["Lambda-Runtime-Function-Error-Type"] = header_type
        body = _error_json(message, error_type, stack_trace)
        self._post(f"/runtime/invocation/{_id(invocation)}/error", body, "application/json", headers)

    def init_error(
        self, message: str, error_type: str = "Runtime.InitError", *, stack_trace: Sequence[str] = ()
    ) -> None:
        """Report that the handler could not be loaded. The process is expected to exit with a code other than 0.

        Raises:
            ClientError: not accepted.
        """
        headers = {"Lambda-Runtime-Function-Error-Type": error_type}
        self._post("/runtime/init/error", _error_json(message, error_type, stack_trace), "application/json", headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Any request below ``/2018-06-01``; returns status, headers (lower-case names) and body, whatever they are.

        Raises:
            ClientError: the connection ended early, or the answer was not HTTP.
        """
        lines = [f"{method} /{API_VERSION}{path} HTTP/1.1", f"Host: {self.address}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        message = "\r\n".join([*lines, "", ""]).encode() + (body or b"")
        sock = self._connected()
        try:
            sock.sendall(message)
        except OSError as error:
            # The server may have refused the request before it was all sent; its answer says more than EPIPE.
            with contextlib.suppress(ClientError, OSError):
                return self._read()
            self.close()
            raise ClientError(f"{method} {path} to {self.address} could not be sent: {error}") from error
        try:
            return self._read()
        except (ClientError, OSError) as error:
            self.close()
            if isinstance(error, ClientError):
                raise
            raise ClientError(f"no answer to {method} {path} from {self.address}: {error}") from error

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        sock, self._sock = self._sock, None
        self._buffer = b""
        if sock is not None:
            sock.close()

    # ---- the wire ------------------------------------------------------------------------------------------------

    def _connected(self) -> socket.socket:
        if self._sock is None:
            host, _, port = self.address.rpartition(":")
            self._sock = socket.create_connection((host, int(port)), timeout=self.timeout_s)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._sock

    def _post(self, path: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        status, _, answer = self.request("POST", path, body, {"Content-Type": content_type, **headers})
        if status != 202:
            raise _unexpected(f"POST {path}", 202, status, answer)

    def _read(self) -> tuple[int, dict[str, str], bytes]:
        while True:
            head = self._until(b"\r\n\r\n").decode("utf-8", "replace")
            status_line, *lines = head.split("\r\n")
            parts = status_line.split(" ", 2)
            if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
                raise ClientError(f"not an HTTP answer: {status_line[:80]!r}")
            if parts[1] != "100":
                break
        fields = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        else:
            body = self._exactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(parts[1]), headers, body

    def _chunked(self) -> bytes:
        chunks = []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            chunks.append(self._exactly(size))
            self._exactly(2)
        while self._until(b"\r\n"):
            pass
        return b"".join(chunks)

    def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            self._buffer += self._receive()
        found, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return found

    def _exactly(self, size: int) -> bytes:
        chunks, have = [self._buffer], len(self._buffer)
        while have < size:
            chunks.append(self._receive())
            have += len(chunks[-1])
        data = b"".join(chunks)
        self._buffer = data[size:]
        return data[:size]

    def _receive(self) -> bytes:
        assert self._sock is not None
        data = self._sock.recv(262144)
        if not data:
            raise ClientError(f"{self.address} closed the connection before its answer was complete")
        return data


def _id(invocation: Invocation | str) -> str:
    return invocation if isinstance(invocation, str) else invocation.request_id


def _echo(invocation: Invocation | str) -> dict[str, str]:
    """The attempt's id goes back with the answer, so that a late answer to an earlier attempt is not taken for it."""
    if isinstance(invocation, str) or not invocation.invocation_id:
        return {}
    return {"Lambda-Runtime-Invocation-Id": invocation.invocation_id}


def _error_json(message: str, error_type: str, stack_trace: Sequence[str]) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": error_type, "stackTrace": list(stack_trace)}).encode()


def _unexpected(what: str, wanted: int, status: int, body: bytes) -> ClientError:
    return ClientError(f"{what} was answered {status}, not {wanted}: {body[:500]!r}", status, body)
