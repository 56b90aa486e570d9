"""What happened to one environment, in order: its story and its log, for tests of sequences."""

from __future__ import annotations

import re
from pathlib import Path

import anyio

from engine import Engine
from engine.lifecycle.environment import Environment


async def environment_of(engine: Engine) -> Environment:
    """The engine's only environment, as soon as there is one."""
    with anyio.fail_after(20):
        while not engine.dispatcher.environments:
            await anyio.sleep(0.002)
    (environment,) = engine.dispatcher.environments.values()
    return environment


def story(environment: Environment) -> list[str]:
    """Its story so far, without pids."""
    return [re.sub(r": pid \d+$", "", text) for _, text in environment.transitions()]


def log(environment: Environment) -> list[str]:
    """The lines in its function's log, without ids and figures."""
    messages = [re.sub(r'^\{"time":"[^"]*",', "{", one.message) for one in environment.deployment.log.records()]
    return [re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", message) for message in messages]


def in_order(happened: list[str], *wanted: str) -> None:
    """Assert that each of these happened, in this order; other things may have happened between them."""
    rest = iter(happened)
    for one in wanted:
        assert any(text.startswith(one) for text in rest), f"{one!r} not, or not in its place, in\n" + "\n".join(
            happened
        )


async def told(environment: Environment, text: str) -> None:
    """Wait until its story has this."""
    with anyio.fail_after(20):
        while not any(one.startswith(text) for one in story(environment)):
            await anyio.sleep(0.002)


async def printed(environment: Environment, text: str) -> None:
    """Wait until its function's log has this line."""
    with anyio.fail_after(20):
        while text not in log(environment):
            await anyio.sleep(0.002)


def open_gate(environment: Environment, name: str) -> None:
    """Let what waits for this gate go on (see `tests.support.extensions.GATE`)."""
    sandbox = environment._sandbox
    assert sandbox is not None
    Path(sandbox.tmp_dir, name).touch()
