"""The Runtime API endpoint of a sandbox that shares the host's network.

On Linux all of 127.0.0.0/8 is loopback without any set-up, so each sandbox listens on port 9001, as inside AWS, at an
address of its own in 127.64.0.0/10: four million of them, taken in a circle from a random start, so that an address
comes back late and two engines rarely try the same one. Elsewhere only 127.0.0.1 exists, and the port differs.
"""

from __future__ import annotations

import errno
import random
import socket
import sys

from engine.errors import SandboxError

PORT = 9001
BACKLOG = 128

_FIRST = 127 << 24 | 64 << 16
_COUNT = 1 << 22
_TRIES = 64


class Endpoints:
    """Hands out listening sockets."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = random.randrange(_COUNT)

    def listen(self) -> tuple[socket.socket, str]:
        """A listening, non-blocking socket and its ``host:port``.

        Raises:
            SandboxError: no address could be listened on.
        """
        if sys.platform != "linux":
            return _listen("127.0.0.1", 0)
        for _ in range(_TRIES):
            host = self._advance()
            try:
                return _listen(host, PORT)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise SandboxError(f"cannot listen on {host}:{PORT} for the Runtime API: {error}") from error
        # Some other program listens on port 9001 of every address: take whatever port is free.
        host = self._advance()
        try:
            return _listen(host, 0)
        except OSError as error:
            raise SandboxError(f"cannot listen on any port of {host} for the Runtime API: {error}") from error

    def _advance(self) -> str:
        self._next = (self._next + 1) % _COUNT
        number = _FIRST + self._next
        return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _listen(host: str, port: int) -> tuple[socket.socket, str]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return sock, f"{host}:{sock.getsockname()[1]}"
    except BaseException:
        sock.close()
        raise
