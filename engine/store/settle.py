"""Work that must not be left half done, whoever cancels its caller and however."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def settle(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, and only then let a cancellation of the caller through.

    A shielded scope keeps anyio's cancellation out, but not asyncio's own (``task.cancel()``, ``asyncio.timeout``):
    that would leave a commit running in its thread and memory behind it. So `work` gets a task of its own, which this
    one waits for whatever comes. For short work: a commit, a rename.

    Returns:
        the result of `work`.

    Raises:
        asyncio.CancelledError: the caller was cancelled meanwhile; `work` has ended, well or badly.
        Exception: whatever `work` raised.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        task.exception()  # looked at, so that asyncio does not report it as lost
        raise cancelled
    return task.result()
