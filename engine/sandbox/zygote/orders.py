"""Receiving orders and answering them; the forms are in `spawner.wire`."""

from __future__ import annotations

import array
import os
import struct
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET, socket

from ..spawner import wire  # noqa: TID252 - not within `engine` where it runs

_MOST = 16


class Order:
    """One order: its kind, its payload, and the descriptors that came with it."""

    __slots__ = ("descriptors", "kind", "payload")

    def __init__(self, kind: int, payload: bytes, descriptors: list[int]) -> None:
        self.kind = kind
        self.payload = payload
        self.descriptors = descriptors

    def close(self) -> None:
        """Close what came with it."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


def receive(sock: socket) -> Order | None:
    """The next order, None when nobody will give any more."""
    data, descriptors = receive_with(sock, wire.ORDER.size)
    if not data:
        return None
    length, kind = wire.ORDER.unpack(data + _exactly(sock, wire.ORDER.size - len(data)))
    if length != wire.IN_FILE:
        return Order(kind, _exactly(sock, length), descriptors)
    file = descriptors.pop()
    try:
        payload = b""
        while len(payload) < os.fstat(file).st_size:
            payload += os.pread(file, 1 << 20, len(payload))
    finally:
        os.close(file)
    return Order(kind, payload, descriptors)


def receive_with(sock: socket, size: int) -> tuple[bytes, list[int]]:
    """Up to `size` bytes, and the descriptors that came with them."""
    data, ancillary, _, _ = sock.recvmsg(size, CMSG_SPACE(_MOST * 4), MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, rights in ancillary:
        descriptors.frombytes(rights[: len(rights) - len(rights) % 4])
    return data, list(descriptors)


def send_with(sock: socket, data: bytes, descriptors: list[int]) -> None:
    """Send a few bytes with descriptors. Raises BrokenPipeError when the other side is gone."""
    rights = struct.pack(f"{len(descriptors)}i", *descriptors)
    sock.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)] if descriptors else [], MSG_NOSIGNAL)


def done(sock: socket, number: int = 0, text: str = "", descriptors: list[int] | None = None) -> None:
    """Answer the engine's order: an errno or 0, and a text."""
    descriptors = descriptors or []
    payload = wire.ANSWER.pack(number, wire.STEP_SETUP) + os.fsencode(text)
    send_with(sock, wire.frame(wire.DONE, 0, payload, len(descriptors)), descriptors)


def _exactly(sock: socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError("the order was cut off")
        data += more
    return data
