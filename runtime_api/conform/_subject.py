"""What is judged: something that can be started against a Runtime API, over and over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["LocalSubject", "Started", "Subject"]


class Started(Protocol):
    """A runtime process that runs."""

    listener: socket.socket
    """The bound, listening socket that it was told as AWS_LAMBDA_RUNTIME_API; not ours to close."""

    async def ended(self) -> str:
        """Wait for its end: ``exit status 1`` or ``signal: killed``."""
        ...

    def signal(self, signum: int) -> None:
        """Send it a signal; nothing when it has ended."""
        ...

    def output(self) -> str:
        """The end of what it has printed so far."""
        ...


class Subject(Protocol):
    """A bootstrap with its function."""

    name: str

    def start(self, variables: Mapping[str, str]) -> AbstractAsyncContextManager[Started]:
        """Run it, in an environment like Lambda's with these variables on top, until the block ends.

        Raises:
            OSError: it cannot be executed; the message says what was tried.
        """
        ...


class LocalSubject:
    """A program of this machine, run as a plain process on a loopback port of its own: no isolation.

    Args:
        name: for the report.
        argv: the program and its arguments.
        folder: its working directory and LAMBDA_TASK_ROOT.
        env: variables on top of those that Lambda sets.
    """

    def __init__(self, name: str, argv: Sequence[str], folder: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._argv = tuple(argv)
        self._folder = folder
        self._env = dict(env or {})

    @contextlib.asynccontextmanager
    async def start(self, variables: Mapping[str, str]) -> AsyncIterator[Started]:
        """Run it until the block ends."""
        with (
            socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
            tempfile.TemporaryFile() as output,
        ):
            env = {
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "en_US.UTF-8",
                "TZ": ":UTC",
                "_HANDLER": "app.handler",
                "AWS_LAMBDA_FUNCTION_NAME": "conform",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/conform",
                "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef",
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1",
                "LAMBDA_TASK_ROOT": self._folder,
                "LAMBDA_RUNTIME_DIR": "/var/runtime",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{listener.getsockname()[1]}",
                **self._env,
                **variables,
            }
            process = await asyncio.create_subprocess_exec(
                *self._argv, cwd=self._folder, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                yield _LocalProcess(listener, process, output.fileno())
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


class _LocalProcess:
    def __init__(self, listener: socket.socket, process: asyncio.subprocess.Process, output: int) -> None:
        self.listener = listener
        self._process = process
        self._output = output

    async def ended(self) -> str:
        code = await self._process.wait()
        return f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name}"

    def signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signum)

    def output(self) -> str:
        size = os.fstat(self._output).st_size
        return os.pread(self._output, 4096, max(0, size - 4096)).decode("utf-8", "replace")
