"""Cold starts of Python functions in sandbox mode, one way or the other, as the test wants it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine
from engine.sandbox import NamespaceProvider, namespaces
from engine.sandbox.namespaces import container

#: What a function's runtime is executed with when nothing else is set, and so what the first zygote is made for.
RUNTIME = "python3.11"


def need_sandboxes() -> None:
    """Skip where no interpreter is preloaded. Blocking."""
    if os.geteuid() != 0:
        pytest.skip("interpreters are preloaded by an engine that is root only")
    if reason := namespaces.why_not():
        pytest.skip(f"no sandboxes of namespaces here: {reason}")


def never_preloaded(patch: pytest.MonkeyPatch) -> None:
    """Every function is executed."""
    patch.setattr(container, "key_of", lambda _spec: None)


async def until_ready(provider: Any, zygotes: int = 1) -> None:
    """Wait until so many zygotes run, and each blank has a process of each."""
    assert isinstance(provider, NamespaceProvider)
    assert provider.zygotes is not None
    with anyio.fail_after(30):
        while not (
            len(warm := provider.zygotes.warm(time.monotonic())) >= zygotes
            and provider.blanks
            and all(set(warm) <= set(blank._preloaded) for blank in provider._blanks)
        ):
            await anyio.sleep(0.01)


async def warm_up(engine: Engine, folder: Path) -> None:
    """Have a Python function started once, which is executed, and wait until the next will not be."""
    code = folder / "first"
    code.mkdir()
    (code / "app.py").write_text("def handler(event, context): return event\n")
    function = await engine.create_function("first", code=code, runtime=RUNTIME, handler="app.handler", memory_mb=128)
    result = await function.invoke({})
    assert result.function_error is None, result.payload
    await until_ready(engine.provider)


def started_by(engine: Engine, result: Any) -> str | None:
    """How the environment that gave this result came to be."""
    return engine.dispatcher.environments[result.environment_id].started_by
