"""Which command runs a managed runtime, and where its bootstrap lies so that functions can read it.

The bootstraps are copied into the data directory at start: the engine's own installation may well be in a place that
the users whom functions run as cannot reach (a virtual environment under /root, say), and must stay so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

import bootstraps
from engine.dispatch.deployment import EntrypointMissing


class Runtimes:
    """The managed runtimes of one engine."""

    def __init__(self, folder: Path, seen: str, reachable: Callable[[str], str | None]) -> None:
        """Describe them.

        Args:
            folder: ours to fill.
            seen: where functions see it.
            reachable: names what keeps functions from a path, None when nothing does.
        """
        self.folder = folder
        self._seen = seen
        self._reachable = reachable
        self._commands: dict[str, Sequence[str] | None] = {}
        self._looking = anyio.Lock()

    def install(self) -> None:
        """Copy the bootstraps. Blocking. Raises OSError."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        for language, about in bootstraps.LANGUAGES.items():
            target = self.folder / language
            target.mkdir()
            for name in about.files:
                _copy(bootstraps.here(language) / name, target / name)
            for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
                folder.chmod(0o755)

    async def command(self, runtime: str) -> Sequence[str] | None:
        """The command that runs `runtime`; None for ``provided.*``, whose bootstrap is in the package.

        Raises:
            EntrypointMissing: there is no interpreter for it here; says what to install.
        """
        if runtime in self._commands:
            return self._commands[runtime]
        async with self._looking:
            if runtime not in self._commands:
                try:
                    command = await anyio.to_thread.run_sync(self._find, runtime)
                except bootstraps.RuntimeNotFoundError as error:
                    raise EntrypointMissing(str(error)) from None
                self._commands[runtime] = command
        return self._commands[runtime]

    def _find(self, runtime: str) -> Sequence[str] | None:
        return bootstraps.command(runtime, self._seen, self._reachable, self.folder)

    async def prepare(self, runtime: str) -> None:
        """Look for the interpreter ahead of the first cold start; a missing one is told when it is needed."""
        with suppress(EntrypointMissing):
            await self.command(runtime)


def _copy(source: Path, target: Path) -> None:
    """A file, readable for all, or a folder of them; what has not been made yet is left out."""
    if source.is_dir():
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)
