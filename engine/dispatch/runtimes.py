"""Which command runs a managed runtime, and where its bootstrap lies so that functions can read it.

The bootstraps are copied into the data directory at start: the engine's own installation may well be in a place that
the users whom functions run as cannot reach (a virtual environment under /root, say), and must stay so.
"""

from __future__ import annotations

import shutil
import subprocess
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
        for language, name in (("python", "bootstrap.py"), ("nodejs", "bootstrap.js")):
            source = bootstraps.path(language) / name
            target = self.folder / language
            target.mkdir()
            target.chmod(0o755)
            shutil.copyfile(source, target / name)
            (target / name).chmod(0o644)

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
        command = bootstraps.command(runtime, self._seen, self._reachable)
        if command is not None and runtime.startswith("python"):
            # A function may not write beside its bootstrap, so the interpreter's compiled form is made now: 10 ms less
            # for each cold start. One that cannot be made is no harm.
            with suppress(OSError, subprocess.SubprocessError):
                source = self.folder / "python" / "bootstrap.py"
                subprocess.run([command[0], "-I", "-m", "py_compile", source], check=False, timeout=30)
        return command

    async def prepare(self, runtime: str) -> None:
        """Look for the interpreter ahead of the first cold start; a missing one is told when it is needed."""
        with suppress(EntrypointMissing):
            await self.command(runtime)
