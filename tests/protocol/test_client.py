"""The reference client against our server, and against servers that are not what they should be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio import to_thread

from runtime_api import ClientError, Invocation, RuntimeClient
from tests.protocol.wire import endpoint, invocation


async def test_the_client_runs_invocations_over_one_connection():
    async with endpoint() as api:
        fields = {
            "invocation_id": "a-1",
            "function_arn": "arn:x",
            "trace_id": "Root=1",
            "client_context": '{"ü":1}',
            "cognito_identity": "{}",
            "tenant_id": "t",
            "payload": bytes(range(256)) * 4096,
            "content_type": "text/plain",
        }
        numbers = iter(range(1, 4))
        api.host.on_next = lambda: api.server.deliver(invocation(f"id-{next(numbers)}", **fields))

        def runtime() -> Invocation:
            with RuntimeClient(api.address, timeout_s=20) as client:
                first = client.next()
                client.response(first, first.payload, content_type="text/plain")
                second = client.next()
                client.error(second, "no", "Oops", stack_trace=["a"], header_type="Function.Oops")
                assert client.next().request_id == client.next().request_id == "id-3"
                with pytest.raises(ClientError, match="403") as refused:
                    client.init_error("too late")
                assert refused.value.status == 403
                with pytest.raises(ClientError) as refused:
                    client.response("id-1", b"old")
                assert (refused.value.status, b"InvalidRequestID" in refused.value.body) == (400, True)
                with pytest.raises(ClientError) as refused:
                    client.response("id-3", b"x" * 6_291_557)
                assert refused.value.status == 413
                return first

        first = await to_thread.run_sync(runtime)
        assert {name: getattr(first, name) for name in fields} == fields
        assert first.deadline_ms == 1_700_000_000_000
        error = b'{"errorMessage": "no", "errorType": "Oops", "stackTrace": ["a"]}'
        assert api.host.calls[1] == ("response", "id-1", fields["payload"], b"text/plain")
        assert api.host.calls[3] == ("error", "id-2", error, "Function.Oops", None)
        assert api.host.calls[5][:3] == ("fault", "id-3", "Function.ResponseSizeTooLarge")


async def test_the_client_reports_a_failed_init(monkeypatch):
    async with endpoint() as api:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", api.address)

        def runtime() -> None:
            with RuntimeClient(timeout_s=20) as client:
                client.init_error("no module", "Runtime.ImportModuleError")

        await to_thread.run_sync(runtime)
        assert api.host.calls[0][2] == "Runtime.ImportModuleError"


@contextmanager
def server_that_says(*answers: bytes) -> Iterator[str]:
    """Accepts one connection per answer, reads a request, sends the answer and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(20)


def test_chunked_answers_and_interim_ones_are_understood():
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Lambda-Runtime-Aws-Request-Id: i\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n"
    )
    with server_that_says(answer) as address, RuntimeClient(address, timeout_s=20) as client:
        got = client.next()
        assert (got.request_id, got.payload) == ("i", b"abcde")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "closed the connection"),
        (b"hello\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "no Lambda-Runtime-Aws-Request-Id"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad", "answered 500, not 200: b'bad'"),
    ],
)
def test_a_broken_answer_is_an_error_that_says_what_came(answer, text):
    with (
        server_that_says(answer) as address,
        RuntimeClient(address, timeout_s=20) as client,
        pytest.raises(ClientError, match=text),
    ):
        client.next()


def test_after_a_broken_connection_the_client_connects_anew():
    good = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    with server_that_says(b"", good) as address, RuntimeClient(address, timeout_s=20) as client:
        with pytest.raises(ClientError):
            client.response("i", b"")
        client.response("i", b"")
