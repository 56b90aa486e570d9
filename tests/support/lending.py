"""Connections that aiohttp keeps once it has them, so that tests reach what it serves of Invoke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from engine.invoke.lent import LentConnection


@contextmanager
def kept_by_aiohttp() -> Iterator[None]:
    """As if aiohttp were never done with what came before."""
    with patch.object(LentConnection, "_idle", lambda _self: False):
        yield
