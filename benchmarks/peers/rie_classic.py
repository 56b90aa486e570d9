"""AWS's Runtime Interface Emulator, classic core: one function, one invocation at a time.

It crashes on two overlapping requests (a nil pointer; its maintainers call it by design), so it is measured with one
client only. Its Runtime API listens before the first request, which then starts the bootstrap: a new emulator's first
answer is a cold start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.functions import Function, Missing
from benchmarks.load import Target
from benchmarks.peers import binary
from benchmarks.subjects import INVOKE, Processes, free_port, wait_for_port


class RieClassic:
    """One emulator process with one bootstrap."""

    name = "rie classic"

    @contextlib.contextmanager
    def start(self, function: Function, environments: int) -> Iterator[Target]:
        """See `subjects.Subject`."""
        if environments != 1:
            raise Missing("dies on overlapping requests, so it is measured with one client")
        emulator = binary("aws-lambda-rie")
        with contextlib.ExitStack() as stack:
            folder = function.unpack(Path(stack.enter_context(TemporaryDirectory(prefix="lambent-rie-"))))
            front, runtime_api = free_port(), free_port()
            command = [str(emulator), "--log-level", "error"]
            command += ["--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
            command += [
                "--runtime-api-address",
                f"127.0.0.1:{runtime_api}",
                *function.command(folder),
                function.handler,
            ]
            variables = function.variables("", folder)
            del variables["AWS_LAMBDA_RUNTIME_API"]
            child = Processes(stack).start(command, environment=variables, cwd=folder)
            wait_for_port(front, child, self.name)
            yield Target(front, INVOKE.format("function"), child.pid)
