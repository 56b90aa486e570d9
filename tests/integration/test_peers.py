"""Whose process is at the other end: real clients of different users, and the tricks that one could try."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.sandbox import peers
from engine.sandbox.peers import PeerUsers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="loopback peers are looked up on Linux only")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

ONE, OTHER = 1_899_990_000, 1_899_990_002
NO_HANDLER = 254  # a protocol that the kernel has no diagnostics for: what a missing module looks like

# A client of some user: connects as told, line by line, and tells its port.
CLIENT = """
import os, socket, struct, sys
user = int(sys.argv[1])
if user != os.geteuid():
    os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
sockets = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "connect":
        family, host, port, source = rest
        sockets.append(socket.socket(int(family)))
        if int(source):
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets[-1].bind(("127.0.0.1", int(source)))
        sockets[-1].connect((host, int(port)))
    elif word == "send":
        sockets[-1].sendall(b"request")
    elif word == "shut":
        sockets[-1].shutdown(socket.SHUT_WR)
    elif word == "reset":
        sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sockets.pop().close()
    elif word == "close":
        sockets.pop().close()
    elif word == "become":
        os.setresuid(*[int(rest[0])] * 3)
    print("done", flush=True)
"""


class Client:
    """A process of a user, doing one thing at a time."""

    def __init__(self, user: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CLIENT, str(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def do(self, *words: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(*words, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def connect(self, to: socket.socket, host: str = "", family: int | None = None, source: int = 0) -> socket.socket:
        """The accepted end of a new connection."""
        address = to.getsockname()
        self.do("connect", int(to.family if family is None else family), host or address[0], address[1], source)
        return to.accept()[0]

    def end(self) -> None:
        with self._process:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def client() -> Iterator[Callable[[int], Client]]:
    """Makes clients, and ends them."""
    made: list[Client] = []

    def make(user: int) -> Client:
        made.append(Client(user))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(params=["netlink", "proc"])
def users(request, monkeypatch) -> Iterator[PeerUsers]:
    """Both ways to find out."""
    if request.param == "proc":
        monkeypatch.setattr(peers, "_TCP", NO_HANDLER)
    with contextlib.closing(PeerUsers()) as users:
        assert users.available() == (request.param == "netlink"), users.why_not()
        yield users


def listener(host: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, 0))
    sock.listen(16)
    sock.settimeout(10)
    return sock


INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
WAYS = [
    pytest.param("127.0.0.1", INET, "127.0.0.1", INET, id="IPv4"),
    pytest.param("127.64.3.9", INET, "127.64.3.9", INET, id="an address of its own"),
    pytest.param("::1", INET6, "::1", INET6, id="IPv6"),
    pytest.param("127.0.0.1", INET, "::ffff:127.0.0.1", INET6, id="IPv4 from an IPv6 socket"),
    pytest.param("::", INET6, "127.0.0.1", INET, id="IPv4 to an IPv6 socket"),
    pytest.param("::", INET6, "::ffff:127.0.0.1", INET6, id="IPv4 between IPv6 sockets"),
]


@as_root
@pytest.mark.parametrize(("host", "family", "to", "own_family"), WAYS)
def test_each_client_is_told_by_its_user(users, client, host, family, to, own_family):
    if INET6 in {family, own_family} and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with listener(host, family) as server:
        for user in (ONE, OTHER, 0, ONE):
            with client(user).connect(server, to, own_family) as accepted:
                assert users.uid_of(accepted.getsockname(), accepted.getpeername()) == user
                assert users.uid_of_connection(accepted) == user


@as_root
def test_many_connections_of_several_users_are_kept_apart(users, client):
    with listener() as server, contextlib.ExitStack() as stack:
        clients = {user: client(user) for user in (ONE, OTHER, 0)}
        accepted = [
            (user, stack.enter_context(clients[user].connect(server))) for _ in range(10) for user in (ONE, OTHER, 0)
        ]
        assert [users.uid_of_connection(sock) for _, sock in accepted] == [user for user, _ in accepted]


@as_root
def test_a_connection_stays_its_makers_when_the_process_changes_user(users, client):
    with listener() as server:
        one = client(0)
        with one.connect(server) as first:
            one.do("become", ONE)
            with one.connect(server) as second:
                assert (users.uid_of_connection(first), users.uid_of_connection(second)) == (0, ONE)


@as_root
def test_a_client_that_has_closed_is_itself_until_it_is_forgotten_and_never_another(users, client):
    with listener() as server:
        one = client(ONE)
        with one.connect(server) as accepted:
            one.do("send")
            one.do("close")
            assert accepted.recv(100) == b"request"
            assert accepted.recv(100) == b""
            # Linux keeps the socket until its last packet is acknowledged, 40 ms at most, then a memory without a user.
            until = time.monotonic() + 10
            while (user := users.uid_of_connection(accepted)) is not None and time.monotonic() < until:
                assert user == ONE
            assert user is None


def test_a_client_that_has_only_said_all_is_still_somebody(users, client):
    with listener() as server:
        one = client(os.geteuid())
        with one.connect(server) as accepted:
            one.do("send")
            one.do("shut")
            assert accepted.recv(100) == b"request"
            assert accepted.recv(100) == b""
            assert users.uid_of_connection(accepted) == os.geteuid()


def test_a_client_that_has_reset_is_nobody(users, client):
    with listener() as server:
        one = client(os.geteuid())
        with one.connect(server) as accepted:
            one.do("reset")
            assert users.uid_of_connection(accepted) is None


@as_root
def test_a_request_left_behind_is_not_taken_for_that_of_the_next_client_on_the_port(users, client):
    """The attack: send, reset, and have the victim's connection get the same addresses before anyone has looked."""
    with listener() as server:
        attacker, victim = client(ONE), client(OTHER)
        with attacker.connect(server) as stale:
            pair = stale.getsockname(), stale.getpeername()
            attacker.do("send")
            attacker.do("reset")
            with victim.connect(server, source=pair[1][1]) as fresh:
                assert (fresh.getsockname(), fresh.getpeername()) == pair
                assert stale.recv(100) == b"request"  # it can still be read, which is what makes it an attack
                assert users.uid_of(*pair) == OTHER
                assert users.uid_of_connection(stale) is None
                assert users.uid_of_connection(fresh) == OTHER


def test_a_listener_at_the_clients_address_is_not_taken_for_the_client(users):
    with listener("0.0.0.0") as server, listener("0.0.0.0") as someone:
        client_address = ("127.0.0.1", someone.getsockname()[1])
        assert users.uid_of(("127.0.0.1", server.getsockname()[1]), client_address) is None


@as_root
def test_it_is_the_clients_end_that_counts_not_the_accepted_one(users, client):
    with listener() as server, client(ONE).connect(server) as accepted:
        assert users.uid_of(accepted.getsockname(), accepted.getpeername()) == ONE
        assert users.uid_of(accepted.getpeername(), accepted.getsockname()) == os.geteuid()


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 2)),
        (("::1", 1, 0, 0), ("::1", 2, 0, 0)),
        (("fe80::1%lo", 1, 0, 1), ("fe80::2%lo", 2, 0, 1)),
        (("127.0.0.1", 1), ("::1", 2, 0, 0)),
        (("localhost", 1), ("localhost", 2)),
        (("", 0), ("", 0)),
    ],
)
def test_addresses_without_a_connection_are_nobodys(users, local, remote):
    assert users.uid_of(local, remote) is None


def test_a_missing_module_is_told_and_worked_around(monkeypatch):
    monkeypatch.setattr(peers, "_TCP", NO_HANDLER)
    with contextlib.closing(PeerUsers()) as users:
        assert not users.available()
        assert "load the modules inet_diag, tcp_diag" in (users.why_not() or "")
        with listener() as server, socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
            assert users.uid_of_connection(accepted) == os.geteuid()


def test_a_failing_question_is_answered_the_other_way(monkeypatch):
    with contextlib.closing(PeerUsers()) as users:
        monkeypatch.setattr(PeerUsers, "_ask", lambda *_: (_ for _ in ()).throw(OSError("no memory")))
        with listener() as server, socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
            assert users.uid_of_connection(accepted) == os.geteuid()


def test_a_late_answer_to_an_earlier_question_is_passed_over():
    with (
        contextlib.closing(PeerUsers()) as users,
        listener() as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        assert users._netlink is not None
        head = struct.pack("=IHHIIBBBBI", 72, 20, 1, 0xFFFFFFF0, 0, INET, 6, 0, 0, 0xFFFFFFFF)
        users._netlink.send(head + bytes(36) + struct.pack("=III", 1, 0xFFFFFFFF, 0xFFFFFFFF))
        assert users.uid_of_connection(accepted) == os.geteuid()


def test_nothing_is_left_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    users = PeerUsers()
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    users.close()
    users.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_on_the_event_loop_a_connection_is_judged_as_it_is_made():
    """Both loops' view of a socket will do, and nothing blocks."""
    judged: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    with contextlib.closing(PeerUsers()) as users:

        class Judge(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                judged.set_result(users.uid_of_connection(transport.get_extra_info("socket")))

        server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", 0)
        try:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await asyncio.wait_for(judged, 10) == os.geteuid()
            writer.close()
            await writer.wait_closed()
        finally:
            server.close()


def test_a_question_costs_microseconds():
    took = []
    with (
        contextlib.closing(PeerUsers()) as users,
        listener() as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as accepted,
    ):
        for _ in range(500):
            start = time.perf_counter()
            users.uid_of_connection(accepted)
            took.append(time.perf_counter() - start)
    assert statistics.median(took) < 0.0005  # 14 us on a quiet machine
