"""Lambent: AWS Lambda functions in any language, on one Linux machine, with no Docker and no cloud.

::

    from engine import Engine

    async with Engine() as engine:
        hello = await engine.create_function("hello", code="hello", handler="app.handler", runtime="python3.12")
        result = await hello.invoke({"name": "Ada"})
        print(result.json(), result.duration_ms)

This module is the promise of the package, together with `engine.errors` and `engine.testing`; everything else may move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine._version import __version__ as __version__

if TYPE_CHECKING:
    from engine.engine import Engine as Engine
    from engine.function import Function as Function
    from engine.invoke.result import InvocationResult as InvocationResult
    from engine.invoke.stream import InvocationStream as InvocationStream

__all__ = ["Engine", "Function", "InvocationResult", "InvocationStream", "__version__"]

_HOMES = {
    "Engine": "engine.engine",
    "Function": "engine.function",
    "InvocationResult": "engine.invoke.result",
    "InvocationStream": "engine.invoke.stream",
}


def __getattr__(name: str) -> object:
    """Load the engine when it is first named: the command line's `--help` must not wait for it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
