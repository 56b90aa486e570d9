"""Telemetry on its way to a subscriber that is a real process in a real sandbox, over HTTP and TCP."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.sandbox import NamespaceProvider, ProcessProvider, namespaces, users
from engine.telemetry import delivery, events
from engine.telemetry.delivery import Delivery
from engine.telemetry.relay import FELL_BEHIND, TelemetryRelay
from runtime_api import LOGS_API, TELEMETRY_API, Buffer, Subscription
from tests.support.functions import PYTHON
from tests.support.sandboxes import LIMITS, Run, run, shell

pytest_plugins = ("tests.support.sandbox_fixtures",)

#: Listens, and prints each request's body, or each line, as it comes. What it answers is told by its arguments.
LISTENER = """
import http.server, json, os, socket, socketserver, sys, time
host, protocol, *behaviour = sys.argv[1:]
if host == "sandbox.localdomain":
    assert socket.gethostbyname("sandbox") == socket.gethostbyname(host)
count = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        global count
        body = self.rfile.read(int(self.headers["Content-Length"]))
        how = behaviour[min(count, len(behaviour) - 1)] if behaviour else "200"
        count += 1
        head = {"path": self.path, "method": self.command, "host": self.headers["Host"],
                "type": self.headers["Content-Type"], "peer": self.client_address[1]}
        print(json.dumps({"how": how, **head, "events": json.loads(body)}), flush=True)
        if how == "hang":
            time.sleep(1000)
        if how == "junk":
            self.wfile.write(b"\\x00 this is not HTTP\\r\\n\\r\\n")
        elif how == "huge":
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n" + b"FFFF\\r\\n" + b"x" * 65535 + b"\\r\\n" * 3)
        elif how == "slam":
            self.close_connection = True
        else:
            self.send_response(int(how))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")
    do_PUT = do_POST
    def log_message(self, *args):
        pass
    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True
class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            print(json.dumps({"peer": self.client_address[1], "events": [json.loads(line)]}), flush=True)
if protocol == "HTTP":
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
else:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
    server = Server((host, 0), Lines)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
"""


@dataclass
class Subscriber:
    """A listener in a sandbox, and the relay whose events it gets."""

    relay: TelemetryRelay
    sandbox: Any
    port: int
    listener: Run | None
    couriers: list[asyncio.Task[None]] = field(default_factory=list)
    made: list[Delivery] = field(default_factory=list)

    def requests(self) -> list[dict[str, Any]]:
        assert self.listener is not None
        lines = self.listener.output.decode().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def heard(self) -> list[dict[str, Any]]:
        return [event for request in self.requests() for event in request["events"]]

    async def until(self, condition: Callable[[], Any]) -> None:
        assert self.listener is not None
        with anyio.fail_after(20):
            while not condition():
                assert not self.listener.ended.is_set(), bytes(self.listener.output)
                self.listener.arrived.clear()
                await self.listener.arrived.wait()

    def subscribe(self, protocol: str, *, api: str = TELEMETRY_API, types: tuple[str, ...] = ("platform", "function"), **members: Any) -> None:  # fmt: skip
        where = (
            {"URI": f"http://sandbox.localdomain:{self.port}/here?a=b"} if protocol == "HTTP" else {"port": self.port}
        )
        body = {
            "schemaVersion": "2022-12-13" if api == TELEMETRY_API else "2021-03-18",
            "types": list(types),
            "destination": {"protocol": protocol, **where, **members},
            "buffering": {"timeoutMs": 25},
        }
        answer = self.relay.subscriptions.subscribe("id", "recorder", api, json.dumps(body).encode())
        assert answer == (200, b'"OK"')


@pytest.fixture(params=["process", "host", "own"])
def mode(request: pytest.FixtureRequest) -> str:
    """Ordinary processes, or sandboxes with the host's network or one of their own."""
    reason = users.why_not() if request.param == "process" else namespaces.why_not(own_network=request.param == "own")
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.fixture
async def sandbox(mode: str, no_leaks: None, open_folder: Path) -> AsyncIterator[Any]:
    provider: Any
    if mode == "process":
        provider = ProcessProvider(open_folder / "run")
    else:
        runtimes = open_folder / "runtimes"
        runtimes.mkdir()
        provider = await asyncio.to_thread(NamespaceProvider, open_folder / "run", runtimes, own_network=mode == "own")
    await provider.start()
    try:
        yield await provider.acquire("one", LIMITS)
    finally:
        await provider.stop()


Make = Callable[..., Awaitable[Subscriber]]


@pytest.fixture
async def make(mode: str, sandbox: Any) -> AsyncIterator[Make]:
    """Starts a listener, and a relay into its sandbox."""
    made: list[Subscriber] = []

    async def start(
        *behaviour: str, protocol: str = "HTTP", listen: bool = True, attempt_s: float = 20.0
    ) -> Subscriber:
        host = sandbox.api_address.partition(":")[0] if mode == "process" else "sandbox.localdomain"
        port, listener = 9, None
        if listen:
            listener = await run(sandbox, PYTHON, "-S", "-c", LISTENER, host, protocol, *behaviour)
            await listener.until(b"listening")
            await listener.until(b"\n")
            port = int(listener.output.split()[1])

        def send(subscription: Subscription, buffer: Buffer) -> Delivery:
            courier = Delivery(subscription, buffer, sandbox.connect, attempt_s=attempt_s, pauses_s=(0.01, 0.02))
            subscriber.couriers.append(asyncio.ensure_future(courier.run()))
            subscriber.made.append(courier)
            return courier

        subscriber = Subscriber(TelemetryRelay(send, lambda record: subscriber.relay.event(now_ms(), record)), sandbox, port, listener)  # fmt: skip
        made.append(subscriber)
        return subscriber

    yield start
    for one in made:
        one.relay.stop()
        with anyio.fail_after(5):
            await asyncio.gather(*one.couriers)
        await sandbox.kill()
        if one.listener is not None:
            await one.listener.all()


def now_ms() -> float:
    return time.time() * 1000


def lines(subscriber: Subscriber) -> list[str]:
    return [event["record"] for event in subscriber.heard() if event["type"] == "function"]


async def test_http_batches_arrive_in_order_on_one_connection_with_what_was_said_before(make: Make) -> None:
    to = await make()
    to.relay.event(now_ms(), events.Start(request_id="early"))
    to.relay.line(now_ms(), "function", "one")
    to.relay.line(now_ms(), "extension", "not subscribed to")
    to.subscribe("HTTP")
    await to.until(lambda: len(to.heard()) == 3)
    to.relay.line(now_ms(), "function", "two")
    to.relay.event(now_ms(), events.End(request_id="not of this API"))
    await to.until(lambda: len(to.heard()) == 4)
    assert [event["type"] for event in to.heard()] == [
        "platform.start", "function", "platform.telemetrySubscription", "function",
    ]  # fmt: skip
    assert to.heard()[2]["record"] == {"name": "recorder", "state": "Subscribed", "types": ["platform", "function"]}
    first, *others = to.requests()
    assert others
    assert {request["peer"] for request in others} == {first["peer"]}, "kept alive"
    assert (first["method"], first["path"], first["type"]) == ("POST", "/here?a=b", "application/json")
    assert first["host"] == f"sandbox.localdomain:{to.port}"


async def test_tcp_gets_one_event_per_line(make: Make) -> None:
    to = await make(protocol="TCP")
    to.relay.line(now_ms(), "function", '{"level":"INFO",\n"message":"one"}', is_object=True)
    to.subscribe("TCP")
    for number in range(500):
        to.relay.line(now_ms(), "function", f"line {number}\nand more")
    await to.until(lambda: len(to.heard()) == 502)
    assert lines(to) == [{"level": "INFO", "message": "one"}, *(f"line {number}\nand more" for number in range(500))]
    assert len({request["peer"] for request in to.requests()}) == 1


async def test_the_logs_api_delivers_by_put_and_knows_ends(make: Make) -> None:
    to = await make()
    to.subscribe("HTTP", api=LOGS_API, method="PUT")
    to.relay.event(now_ms(), events.End(request_id="rid"))
    to.relay.line(now_ms(), "function", '{"a": 1}', is_object=True)
    await to.until(lambda: len(to.heard()) == 3)
    assert [(event["type"], event["record"]) for event in to.heard()] == [
        ("platform.logsSubscription", {"name": "recorder", "state": "Subscribed", "types": ["platform", "function"]}),
        ("platform.end", {"requestId": "rid"}),
        ("function", '{"a": 1}'),
    ]
    assert to.requests()[0]["method"] == "PUT"


@pytest.mark.parametrize("behaviour", [("500", "404", "200"), ("slam", "200"), ("junk", "200"), ("huge", "200")])
async def test_a_batch_that_was_not_accepted_is_sent_again(make: Make, behaviour: tuple[str, ...]) -> None:
    to = await make(*behaviour)
    to.subscribe("HTTP", types=("function",))
    to.relay.line(now_ms(), "function", "once")
    await to.until(lambda: any(request["how"] == "200" for request in to.requests()))
    assert [request["how"] for request in to.requests()] == list(behaviour)
    assert {json.dumps(request["events"]) for request in to.requests()} == {json.dumps(to.requests()[0]["events"])}


async def test_a_subscriber_that_lost_a_batch_is_told(make: Make) -> None:
    to = await make("500", "500", "500", "200")
    to.subscribe("HTTP", types=("platform",))
    await to.until(lambda: len(to.requests()) == 4)
    told = to.requests()[3]["events"][-1]
    assert told["type"] == "platform.logsDropped"
    assert told["record"]["droppedRecords"] == 1
    assert told["record"]["reason"] == FELL_BEHIND


async def test_a_subscriber_that_hangs_delays_nobody_and_is_bounded(make: Make) -> None:
    to = await make("hang", attempt_s=0.05)
    to.subscribe("HTTP")
    began = time.perf_counter()
    for number in range(20_000):
        to.relay.line(now_ms(), "function", f"{number:0100}")
    assert time.perf_counter() - began < 5, "nothing waits for it"
    subscriber = next(iter(to.relay._subscribers.values()))
    assert subscriber.buffer.size <= 4 * 262_144
    assert subscriber.buffer.dropped_records > 0
    await to.until(lambda: any(event["type"] == "platform.logsDropped" for event in to.heard()))


async def test_nobody_listens(make: Make, sandbox: Any) -> None:
    to = await make(listen=False)
    to.subscribe("HTTP")
    subscriber = next(iter(to.relay._subscribers.values()))
    with anyio.fail_after(10):
        while not subscriber.buffer.dropped_records:
            await asyncio.sleep(0.01)
    with pytest.raises(OSError, match=r"refused|listens"):
        await sandbox.connect(9)


async def test_flush_delivers_what_is_not_due_yet(make: Make) -> None:
    to = await make()
    to.subscribe("HTTP", types=("function",))
    subscriber = next(iter(to.relay._subscribers.values()))
    subscriber.buffer._rules = subscriber.buffer._rules._replace(timeout_ms=30_000)
    to.relay.line(now_ms(), "function", "last words")
    with anyio.fail_after(10):
        await to.relay.flush()
    assert subscriber.buffer.idle
    await to.until(lambda: lines(to) == ["last words"])


async def test_a_frozen_subscriber_has_its_time_again(make: Make, sandbox: Any) -> None:
    """While its processes are stopped it cannot answer, and what it gets it gets once."""
    to = await make(attempt_s=0.1)
    to.subscribe("HTTP", types=("function",))
    to.relay.line(now_ms(), "function", "before")
    await to.until(lambda: lines(to) == ["before"])
    to.relay.pause()
    await sandbox.freeze()
    to.relay.line(now_ms(), "function", "meanwhile")
    await asyncio.sleep(0.5)  # five times what an attempt may take
    assert lines(to) == ["before"]
    await sandbox.thaw()
    to.relay.resume()
    await to.until(lambda: len(lines(to)) == 2)
    to.relay.line(now_ms(), "function", "after")
    await to.until(lambda: len(lines(to)) == 3)
    assert lines(to) == ["before", "meanwhile", "after"]


async def test_it_never_leads_out_of_the_sandbox(make: Make, sandbox: Any) -> None:
    """A socket of the host that listens at every address is reached at the sandbox's address too, by others."""
    with socket.socket() as hosts:
        hosts.bind(("0.0.0.0", 0))
        hosts.listen()
        hosts.setblocking(False)
        to = await make(listen=False)
        to.port = hosts.getsockname()[1]
        to.subscribe("HTTP")
        subscriber = next(iter(to.relay._subscribers.values()))
        with anyio.fail_after(10):
            while not subscriber.buffer.dropped_records:
                await asyncio.sleep(0.01)
        with pytest.raises(BlockingIOError):
            hosts.accept()


async def test_what_the_sandbox_listens_with_at_every_address_is_its_own(make: Make, mode: str, sandbox: Any) -> None:
    listener = await run(
        sandbox, PYTHON, "-S", "-c",
        "import socket, sys; s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen()\n"
        "print(s.getsockname()[1], flush=True); c, _ = s.accept(); print(c.recv(5).decode(), flush=True)",
    )  # fmt: skip
    await listener.until(b"\n")
    with await sandbox.connect(int(listener.output.split()[0])) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, b"hello")
        await listener.until(b"hello")
    await listener.all()


async def test_the_names_resolve_inside_and_the_hosts_own_are_kept(mode: str, sandbox: Any) -> None:
    if mode == "process":
        pytest.skip("nothing is mounted in process mode: names are the host's")
    how, output = await (await shell(sandbox, "getent hosts sandbox.localdomain; getent hosts localhost; cat /etc/hosts")).all()  # fmt: skip
    assert how.code == 0
    text = output.decode()
    address = sandbox.api_address.partition(":")[0]
    assert text.startswith(f"{address} ")
    if mode == "host":
        assert Path("/etc/hosts").read_text().strip() in text
    assert text.endswith(f"{address} sandbox.localdomain sandbox\n")


def test_pauses_are_bounded() -> None:
    assert len(delivery.PAUSES_S) < 10
    assert sum(delivery.PAUSES_S) < 5
