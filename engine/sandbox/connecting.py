"""Reaching what listens inside a sandbox that shares the host's network.

Such a sandbox has a loopback address of its own, that of its Runtime API. But a socket of the host, or of another
sandbox, that listens at every address is reached there, too. So the kernel is asked whose socket it is: before, and
again when connected.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from .peers import PeerUsers


async def connect(host: str, port: int, user: int | None, peers: PeerUsers | None) -> socket.socket:
    """A connection to a port of a loopback address, non-blocking; the caller's.

    Args:
        host: the address.
        port: the port.
        user: whose the listening socket must be; None: anybody's, where users do not tell sandboxes apart.
        peers: who tells; None likewise.

    Raises:
        ConnectionRefusedError: nobody listens there, or somebody else.
    """
    check = peers is not None and user is not None
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if check:
            _own(host, port, user, peers)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        if check:
            _own(host, port, user, peers)
    except BaseException:
        sock.close()
        raise
    return sock


async def connected(sock: socket.socket) -> None:
    """Wait until a socket that was told to connect is connected.

    Raises:
        OSError: it was refused.
    """
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not writable.done():
            writable.set_result(None)

    loop.add_writer(sock.fileno(), ready)
    try:
        await writable
    finally:
        loop.remove_writer(sock.fileno())
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _own(host: str, port: int, user: int | None, peers: PeerUsers | None) -> None:
    assert peers is not None
    owner = peers.uid_of_listener(host, port)
    if owner != user:
        who = "nobody" if owner is None else f"user {owner}"
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"{who} listens at {host}:{port}, not the sandbox's {user}")
