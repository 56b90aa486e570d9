"""The order to become a program, as blanks and stems read it."""

from __future__ import annotations

import os

from engine.errors import SandboxError

from .api import ProcessSpec


def encode(spec: ProcessSpec, user: str, limits: str) -> bytes:
    """User, limits, working directory, arguments and environment as the payload of a SPAWN order.

    Args:
        spec: the program.
        user: the id to become, empty to stay.
        limits: from `rlimits.encode`.

    Raises:
        SandboxError: it holds what no process can be given.
    """
    strings = [user, limits, spec.cwd, str(len(spec.argv)), *spec.argv]
    for name, value in spec.env.items():
        if not name or "=" in name:
            raise SandboxError(f"an environment variable for {spec.argv[0]} has the name {name!r}, which cannot be")
        strings.append(f"{name}={value}")
    payload = os.fsencode("\0".join(strings))
    if payload.count(b"\0") != len(strings) - 1:
        raise SandboxError(f"an argument or environment variable for {spec.argv[0]} contains a NUL byte")
    return payload
