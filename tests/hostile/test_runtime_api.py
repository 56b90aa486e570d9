"""The Runtime API: of others, and one's own, treated badly. And what else a shared network leads to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from engine import Engine
from runtime_api._limits import MAX_CONNECTIONS
from tests.hostile.kit import MIB, Attackers, Neighbour, until
from tests.support.functions import bootstrap

pytest_plugins = ("tests.support.sandbox_fixtures",)

NETWORKS = [("sandbox", "host"), ("sandbox", "own"), ("process", "host")]

#: Everything that one can say to a Runtime API that is not one's own; what came back.
MEDDLE = """
def attack(event):
    host, port, request_id = event
    out = []
    for method, path, body in (
        ("GET", "/invocation/next", b""),
        ("POST", f"/invocation/{request_id}/response", b'"stolen"'),
        ("POST", f"/invocation/{request_id}/error", b'{"errorType": "stolen"}'),
        ("POST", "/init/error", b'{"errorType": "stolen"}'),
    ):
        for source in (None, "127.0.0.1", host):
            try:
                peer = socket.socket()
                peer.settimeout(2)
                if source:
                    peer.bind((source, 0))
                peer.connect((host, port))
                peer.sendall(f"{method} {BASE}{path} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n".encode() + body)
                out.append(peer.recv(4096).decode())
            except OSError as error:
                out.append(errno.errorcode.get(error.errno, "no answer"))
            finally:
                peer.close()
    return out
"""
VICTIM = """
while True:
    request_id, event, _ = take()
    time.sleep(event)
    status = give(request_id, "mine")[0]
"""


@pytest.mark.parametrize(("mode", "network"), [("sandbox", "host"), ("process", "host")])
async def test_nobody_else_can_poll_or_answer(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, tmp_path: Path
) -> None:
    """With everything that there is to know: the address, and the id of the invocation that is running."""
    victim = await engine.create_function("victim", code=bootstrap(tmp_path / "victim", VICTIM), timeout_s=30)
    await victim.invoke(0)
    function = await attackers.make(MEDDLE)
    await function.invoke(["127.0.0.1", 1, ""])
    running = asyncio.create_task(victim.invoke(1.5))

    def invocation() -> dict[str, str]:
        return next(one for one in engine.dispatcher.listing() if one["function"] == "victim")

    await until(lambda: invocation()["request_id"] is not None, "it runs")
    found = invocation()
    host, port = engine.provider.sandboxes[found["id"]].api_address.rsplit(":", 1)
    async with neighbour.watched():
        answers = (await function.invoke([host, int(port), found["request_id"]])).json()
    assert not running.done(), "it was answered while the victim slept"
    assert set(answers) <= {"", "ECONNRESET", "EPIPE"}, answers
    assert (await running).json() == "mine"
    assert (await victim.invoke(0)).json() == "mine"


@pytest.mark.parametrize(("mode", "network"), [("sandbox", "own")])
async def test_in_a_network_of_its_own_a_function_reaches_its_runtime_api_and_nothing_else(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = await attackers.run(
        """
        def attack(port):
            out = {"host's": tried(socket.create_connection, ("127.0.0.1", port), 2)}
            out["another's"] = tried(socket.create_connection, ("127.1.2.3", 9001), 2)
            out["outside"] = tried(socket.create_connection, ("192.0.2.1", 80), 2)
            found = []
            for candidate in [9001, *range(1, 20000, 37)]:
                probe = socket.socket()
                if tried(probe.connect, ("127.0.0.1", candidate)) == "ok":
                    found.append(candidate)
                probe.close()
            out["found"] = found
            out["interfaces"] = sorted(name for _, name in socket.if_nameindex())
            out["unix"] = open("/proc/net/unix").read().count("\\n")
            return out
        """,
        port,
    )
    server.close()
    assert seen["host's"] == "ECONNREFUSED"
    assert seen["another's"] == "ECONNREFUSED"
    assert seen["outside"] == "ENETUNREACH"
    assert seen["found"] == [9001]
    assert seen["interfaces"] == ["lo"]
    assert seen["unix"] == 1, "no socket but the heading"


@pytest.mark.parametrize(("mode", "network"), NETWORKS)
async def test_abstract_sockets_belong_to_the_network(
    engine: Engine, network: str, attackers: Attackers, neighbour: Neighbour, tmp_path: Path
) -> None:
    """Who shares the host's network shares its abstract Unix sockets, whatever the files: SECURITY.md says so."""
    name = f"\0hostile-{os.getpid()}"
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), name)
    connect = """
    def attack(name):
        return tried(socket.socket(socket.AF_UNIX).connect, name)
    """
    seen = await attackers.run(connect, name)
    server.close()
    assert seen == ("ECONNREFUSED" if network == "own" else "ok")


@pytest.mark.parametrize(("mode", "network"), NETWORKS)
async def test_connections_without_end_cost_the_engine_few_descriptors(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    """For two seconds one after the other, then 3,000 at once, by four processes with 750 each.

    How many the first are depends on the kernel: it holds up for a second whoever connects faster than is accepted.
    """
    function = await attackers.make(
        """
        def attack(event):
            host, port = api.split(":")
            made, until = 0, time.monotonic() + 2
            while event == "churn" and time.monotonic() < until:
                made += tried(socket.create_connection((host, int(port)), 5).close) == "ok"
            if event == "hold":
                heads, tails = os.pipe()
                for _ in range(4):
                    if not os.fork():
                        kept = []
                        for _ in range(750):
                            kept.append(socket.socket())
                            kept[-1].settimeout(0.02)
                            tried(kept[-1].connect, (host, int(port)))
                        os.write(tails, b"x")
                        time.sleep(1000)
                for _ in range(4):
                    os.read(heads, 1)
            return made
        """,
        memory_mb=1769,
        timeout_s=40,
    )
    await function.invoke(None)
    process = psutil.Process()
    before = process.num_fds()
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, process.num_fds())
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    async with neighbour.watched():
        assert (await function.invoke("churn")).json() > 100
        assert (await function.invoke("hold")).json() == 0
        assert (await function.invoke(None)).json() == 0, "it can still use its own"
    counting.cancel()
    assert most <= before + MAX_CONNECTIONS + 32


@pytest.mark.parametrize(("mode", "network"), NETWORKS)
async def test_slow_and_oversized_requests_end_at_bounds(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    seen = await attackers.run(
        """
        def said(*pieces):
            peer = socket.create_connection((api.split(":")[0], int(api.split(":")[1])), 5)
            try:
                for piece in pieces:
                    peer.sendall(piece)
                return peer.recv(4096).decode().split("\\r\\n")[0]
            except OSError as error:
                return errno.errorcode.get(error.errno, "no answer")
            finally:
                peer.close()

        def attack(event):
            start = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n"
            slow = []
            for _ in range(100):  # a byte at a time, and never the end
                slow.append(socket.create_connection((api.split(":")[0], int(api.split(":")[1])), 5))
            for byte in start:
                for peer in slow:
                    peer.send(bytes([byte]))
            return [
                said(start, b"X: " + b"y" * (2 << 20) + b"\\r\\n\\r\\n"),
                said(start, b"".join(b"X-%d: y\\r\\n" % n for n in range(1000)), b"\\r\\n"),
                said(b"GET /" + b"a" * (2 << 20) + b" HTTP/1.1\\r\\n\\r\\n"),
                said(b"POST / HTTP/1.1\\r\\nContent-Length: 99999999999999\\r\\n\\r\\n", b"x" * (1 << 20)),
                said(b"POST / HTTP/1.1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n", b"FFFFFFFFFFFFFFFFF\\r\\n"),
                said(b"\\0" * 100_000),
            ]
        """
    )
    assert seen[0].startswith("HTTP/1.1 431") or seen[0] in {"ECONNRESET", "EPIPE"}
    assert seen[1].startswith("HTTP/1.1 431")
    assert seen[2].startswith("HTTP/1.1 431") or seen[2] in {"ECONNRESET", "EPIPE"}
    assert all(word.startswith("HTTP/1.1 4") or word in {"ECONNRESET", "EPIPE"} for word in seen[3:]), seen


@pytest.mark.parametrize("mode", ["sandbox"])
@pytest.mark.parametrize("what", ["bodies", "chunks", "heads", "answered", "polls"])
async def test_what_is_sent_on_many_connections_takes_little_memory_of_the_engine(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, what: str
) -> None:
    """On 60 of them 6 MB each: messages without their end, complete ones, and such as wait for an answer."""
    function = await attackers.make(
        """
        POST = b"POST /2018-06-01/runtime/invocation/none/response HTTP/1.1\\r\\n"
        NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n"
        LENGTH = b"Content-Length: %d\\r\\n\\r\\n" % (6 << 20)
        def attack(what):
            if not what:
                return "again"
            block = b"x" * ((6 << 20) - 1)
            message = {
                "bodies": POST + LENGTH + block,
                "chunks": POST + b"Transfer-Encoding: chunked\\r\\n\\r\\n600000\\r\\n" + block,
                "heads": NEXT + b"X: " + block[:1000000],
                "answered": POST + LENGTH + block + b"x",
                "polls": NEXT + LENGTH + block + b"x",
            }[what]
            kept = []
            for _ in range(60):
                peer = socket.create_connection((api.split(":")[0], int(api.split(":")[1])), 5)
                kept.append(peer)
                peer.settimeout(0.03)
                tried(peer.sendall, message)
                if what == "answered":
                    peer.settimeout(10)
                    tried(peer.recv, 4096)
            return "held"
        """,
        memory_mb=512,
    )
    await function.invoke(None)
    async with neighbour.watched() as seen:
        result = await function.invoke(what)
        if what != "polls":  # which take the next invocation, on a connection that nobody reads
            assert result.json() == "held"
            assert (await function.invoke(None)).json() == "again"
    assert max(seen.memory) - min(seen.memory) < 48 * MIB
