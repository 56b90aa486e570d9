"""Fixtures for tests with real sandboxes.

A test module names this as a plugin and does not import it::

    pytest_plugins = ("tests.support.sandbox_fixtures",)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.sandbox import ProcessProvider, users
from tests.support.leaks import leak_check


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """The test, with all fixtures that depend on this one, leaves nothing behind."""
    with leak_check():
        yield


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that users of sandboxes can reach (pytest's own tmp_path is closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["private-user", "shared-user"])
def user_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sandboxes with users of their own (an engine that is root), and without (any other)."""
    if request.param == "private-user" and (reason := users.why_not()):
        pytest.skip(f"sandboxes cannot have users of their own: {reason}")
    if request.param == "shared-user":
        monkeypatch.setattr(users, "why_not", lambda: "the test wants it so")
    return request.param


@pytest.fixture
async def provider(no_leaks: None, open_folder: Path, user_mode: str) -> AsyncIterator[ProcessProvider]:
    """A started provider; stopped after the test, which must leave nothing."""
    provider = ProcessProvider(open_folder / "run")
    await provider.start()
    yield provider
    await provider.stop()
    assert not list((open_folder / "run" / "tmp").iterdir())
