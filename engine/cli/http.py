"""A small client of a running server: AWS-shaped requests and the admin API, on the standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from engine.cli.console import CommandError
from engine.invoke.eventstream import Decoder, Frame, FrameError

FUNCTIONS = "/2015-03-31/functions"
ADMIN = "/_lambent"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 960.0
"""Longer than any function may run."""


class Answer(NamedTuple):
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body) if self.body else None


class RefusedError(CommandError):
    """The server answered with an AWS error.

    Attributes:
        code: ``ResourceNotFoundException`` …
        status: the HTTP status.
        reason: the server's own words.
    """

    def __init__(self, text: str, code: str, status: int, reason: str) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.reason = reason


class Client:
    """One server, one connection per request.

    Args:
        url: ``http://host:port``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise CommandError(f"{url} is not the address of a server: {error}.") from None

    def request(
        self,
        what: str,
        method: str,
        path: str,
        *,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its whole answer.

        Args:
            what: what is tried, for an error's text: ``"invoke function 'hello'"``.
            method: the HTTP method.
            path: quoted already.
            body: bytes as they are, a mapping as JSON.
            headers: beside Content-Type.
            query: the parameters behind the path.

        Raises:
            RefusedError: on any status of 400 and above.
            CommandError: when the server cannot be reached or breaks off.
        """
        connection, response = self._send(what, method, path, body=body, headers=headers, query=query)
        try:
            data = response.read()
        except (OSError, HTTPException) as error:
            raise self._lost(what, error) from error
        finally:
            connection.close()
        answer = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, data)
        if answer.status >= 400:
            raise self._refused(what, path, answer)
        return answer

    def lines(self, what: str, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        """Newline-delimited JSON, each record as it comes; ends when the server ends it."""
        connection, response = self._send(what, "GET", path, query=query)
        try:
            if response.status >= 400:
                headers = {key.lower(): value for key, value in response.getheaders()}
                raise self._refused(what, path, Answer(response.status, headers, response.read()))
            if connection.sock is not None:
                connection.sock.settimeout(None)  # a quiet function may say nothing for hours
            for line in iter(response.readline, b""):
                if line.strip():
                    yield json.loads(line)
        except (OSError, HTTPException, ValueError) as error:
            raise self._lost(what, error) from error
        finally:
            connection.close()

    def events(
        self, what: str, path: str, *, body: bytes, headers: Mapping[str, str], query: Mapping[str, str] | None
    ) -> Iterator[Frame]:
        """The frames of an event stream, each as it comes; the last is InvokeComplete. None when nothing was invoked.

        Raises:
            RefusedError: on any status of 400 and above.
            CommandError: when the server cannot be reached, or breaks off before the last frame.
        """
        connection, response = self._send(what, "POST", path, body=body, headers=headers, query=query)
        try:
            if response.status >= 400:
                names = {key.lower(): value for key, value in response.getheaders()}
                raise self._refused(what, path, Answer(response.status, names, response.read()))
            if response.status == 204:
                return
            decoder = Decoder()
            complete = False
            while data := response.read1(65_536):
                for frame in decoder.feed(data):
                    complete = frame.headers.get(":event-type") == "InvokeComplete"
                    yield frame
            if not complete:
                raise self._lost(what, HTTPException("the stream ended without its last frame"))
        except (OSError, HTTPException, FrameError) as error:
            raise self._lost(what, error) from error
        finally:
            connection.close()

    def _send(
        self,
        what: str,
        method: str,
        path: str,
        *,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        target = f"{path}?{urlencode(query)}" if query else path
        connection = self._kind(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise CommandError(
                f"cannot {what}: no Lambent server answers at {self.url} ({error.strerror or error}). "
                "Start one with 'lambent serve', or name another with --endpoint-url or LAMBENT_ENDPOINT_URL."
            ) from error
        try:
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            connection.request(method, target, body=data, headers=sent)
            return connection, connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._lost(what, error) from error

    def _lost(self, what: str, error: Exception) -> CommandError:
        cause = str(error) or type(error).__name__
        return CommandError(
            f"cannot {what}: {self.url} broke off ({cause}). "
            "Is it a Lambent server, and is it still running? See its own output."
        )

    def _refused(self, what: str, path: str, answer: Answer) -> RefusedError:
        code = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
        try:
            document = json.loads(answer.body)
            reason = document.get("message") or document.get("Message") or ""
        except (ValueError, AttributeError):
            reason = answer.body[:200].decode("utf-8", "replace").strip()
        if path.startswith(ADMIN) and answer.headers.get("content-type", "").startswith("application/json"):
            text = f"cannot {what}: {reason.rstrip('.')}."
        elif not code:
            text = (
                f"cannot {what}: {self.url} answered HTTP {answer.status} {reason}".rstrip()
                + ", which is not the answer of a Lambent server. Check --endpoint-url."
            )
        else:
            said = f"{code} (HTTP {answer.status}): {reason.rstrip('.')}."
            text = f"cannot {what}: {self.url} answered {said}{_advice(code, answer)}"
        return RefusedError(text, code, answer.status, reason)


def function_path(name: str, rest: str = "") -> str:
    """The path of a function; `name` may be an ARN."""
    return f"{FUNCTIONS}/{quote(name, safe='')}{rest}"


def stream_path(name: str) -> str:
    """The path of InvokeWithResponseStream."""
    return f"/2021-11-15/functions/{quote(name, safe='')}/response-streaming-invocations"


def _advice(code: str, answer: Answer) -> str:
    if code == "ResourceNotFoundException":
        return " 'lambent deploy PATH --name NAME' creates a function."
    if code == "TooManyRequestsException":
        return f" Retry in {answer.headers.get('retry-after', '1')} s."
    return ""
