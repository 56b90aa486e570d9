"""An engine, a neighbour that must not notice anything, and a way to write attackers.

Test modules name `tests.support.sandbox_fixtures` as a plugin: `engine` depends on its leak check.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine import Engine
from engine.sandbox import namespaces, users
from tests.hostile.kit import Attackers, Neighbour
from tests.support.functions import bootstrap
from tests.support.require import requires

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One event loop, the one that we ship: what is tried here meets the kernel, not the loop."""
    return "asyncio", {"loop_factory": uvloop.new_event_loop}


@pytest.fixture(params=["sandbox", "process"])
def mode(request: pytest.FixtureRequest) -> str:
    """The isolation mode; a test that only one of them promises is parametrised with that one."""
    return request.param


@pytest.fixture
def network() -> str:
    """Whose network the environments have, in sandbox mode."""
    return "host"


@pytest.fixture
def possible(mode: str, network: str) -> None:
    """Skips what this host cannot offer."""
    if mode == "sandbox" and (reason := namespaces.why_not(own_network=network == "own")):
        pytest.skip(f"no sandboxes of namespaces here: {reason}")
    if mode == "process" and (reason := users.why_not()):
        pytest.skip(f"functions cannot have users of their own, and then process mode promises little: {reason}")


@pytest.fixture
async def engine(
    mode: str, network: str, possible: None, anyio_backend: tuple[str, Any], no_leaks: None, open_folder: Path
) -> AsyncIterator[Engine]:
    """An engine in that mode, which leaves nothing behind."""
    async with Engine(isolation=mode, network=network, data_dir=open_folder / "data") as running:
        yield running


@pytest.fixture
async def neighbour(engine: Engine, tmp_path: Path) -> AsyncIterator[Neighbour]:
    """Another tenant, before, during and after the attack."""
    neighbour = await Neighbour.start(engine, tmp_path / "neighbour")
    yield neighbour
    await neighbour.check()


@pytest.fixture
def attackers(engine: Engine, tmp_path: Path) -> Attackers:
    """Makes hostile functions."""
    return Attackers(engine, tmp_path)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attackers for which Python is too slow, compiled; a folder to be copied into packages."""
    requires("gcc", because="some attackers are written in C")
    built = tmp_path_factory.mktemp("programs")
    for source in PROGRAMS.glob("*.c"):
        subprocess.run(["gcc", "-O2", "-o", str(built / source.stem), str(source)], check=True, timeout=60)
    return built


@pytest.fixture
def with_programs(programs: Path, tmp_path: Path) -> Path:
    """A package folder with the compiled programs in it."""
    folder = tmp_path / "package"
    shutil.copytree(programs, folder)
    return bootstrap(folder)
