"""What is put under load: the floor and the engine (peers are in `peers/`). Each runs as processes of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, Protocol

import msgspec

from benchmarks.client import Client
from benchmarks.functions import ROOT, Function
from benchmarks.load import LoadError, Target
from engine.scheduler.stats import SchedulerStats

INVOKE = "/2015-03-31/functions/{}/invocations"
FUNCTIONS = "/2015-03-31/functions"
START_SECONDS = 20.0
STOP_SECONDS = 30.0
BUDGET_MB = 1_000_000
"""Memory budget out of reach: nothing is evicted while something else is measured."""
STEADY_LOOKS = 4
"""So many looks, 10 ms apart, must see the same number of blanks: refilling begins 10 ms after one was taken."""
WHOLE_CPU_MB = 1769
"""Warm functions get a whole core, as the peers' have; with 128 MB, 0.07 of a core would be what is measured."""


class Subject(Protocol):
    """Something that serves invocations."""

    name: str

    def start(self, function: Function, environments: int) -> contextlib.AbstractContextManager[Target]:
        """Serves `function` with so many environments until the context ends. Raises `functions.Missing`."""
        ...


class Processes:
    """Child processes, all in sessions of their own, ended together."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def start(
        self,
        command: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        cwd: Path = ROOT,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Starts one; it is ended, with what it started, when the stack unwinds."""
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self._stack.callback(self._end, child)
        return child

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        if child.stdin:
            child.stdin.close()
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        # What it left behind, or the child itself when it does not listen.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago (for programs that cannot choose one themselves)."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, child: subprocess.Popen[bytes], what: str) -> None:
    """Returns when something listens on the port. Raises LoadError when `child` ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise LoadError(f"{what} ended with status {child.returncode} before it listened on port {port}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.002)
    raise LoadError(f"{what} did not listen on port {port} within {START_SECONDS:g} s")


class FloorSubject:
    """The floor (`floor.py`) with one bootstrap per environment."""

    name = "floor"

    @contextlib.contextmanager
    def start(self, function: Function, environments: int) -> Iterator[Target]:
        """See `Subject`."""
        with contextlib.ExitStack() as stack:
            processes = Processes(stack)
            folder = function.unpack(Path(stack.enter_context(TemporaryDirectory(prefix="lambent-floor-"))))
            command = [sys.executable, "-m", "benchmarks.floor", "--environments", str(environments)]
            floor = processes.start(command, stdout=subprocess.PIPE)
            assert floor.stdout
            ports = json.loads(floor.stdout.readline())
            for port in ports["runtime_api"]:
                variables = function.variables(f"127.0.0.1:{port}", folder)
                processes.start(function.command(folder), environment=variables, cwd=folder)
            yield Target(ports["invoke"], INVOKE.format(function.name), floor.pid)


class EngineSubject:
    """`python -m engine serve`, functions made by plain AWS requests.

    Args:
        isolation: its mode.
        name: how tables name it.
        options: more of `serve`.
        pool: False for an engine that keeps no blank sandboxes (`poolless`).
    """

    def __init__(
        self, isolation: str = "process", *, name: str = "lambent", options: Sequence[str] = (), pool: bool = True
    ) -> None:
        self.isolation = isolation
        self.name = name
        self._options = options
        self._module = "engine" if pool else "benchmarks.poolless"

    @contextlib.contextmanager
    def serve(self, *options: str) -> Iterator[Server]:
        """The server without functions."""
        with contextlib.ExitStack() as stack:
            data = stack.enter_context(TemporaryDirectory(prefix="lambent-bench-"))
            Path(data).chmod(0o711)  # an engine that is root runs functions as users of their own
            errors = stack.enter_context(TemporaryFile())
            command = [sys.executable, "-m", self._module, "serve", "--host", "127.0.0.1", "--port", "0"]
            command += ["--data-dir", data, "--isolation", self.isolation, *self._options, *options]
            engine = Processes(stack).start(command, stdout=subprocess.PIPE, stderr=errors)
            assert engine.stdout
            line = engine.stdout.readline().decode()
            match = re.search(r"http://[^:]+:(\d+)", line)
            if match is None:
                errors.seek(0)
                problem = errors.read().decode(errors="replace").strip()[-800:]
                raise LoadError(f"{' '.join(command)}: no ready line, but {line!r}; standard error: {problem}")
            yield Server(int(match[1]), engine.pid)

    @contextlib.contextmanager
    def start(self, function: Function, environments: int) -> Iterator[Target]:
        """See `Subject`. The engine makes its environments as the load asks for them."""
        with self.serve("--memory-budget", str(BUDGET_MB)) as server:
            server.create(function, function.name, memory_mb=WHOLE_CPU_MB)
            yield server.target(function.name)


class Server:
    """A running engine."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def target(self, name: str) -> Target:
        """Where to invoke the function."""
        return Target(self.port, INVOKE.format(name), self.pid, self.environments)

    def request(self, method: str, path: str, body: object = None) -> object:
        """One JSON request. Raises urllib's errors."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def create(
        self, function: Function, *names: str, memory_mb: int = 128, timeout_s: int = 30, storage_mb: int = 512
    ) -> None:
        """CreateFunction under each of the names, and waits until all are Active.

        Raises:
            LoadError: one was refused, or does not become Active.
        """
        body = {
            "Runtime": function.runtime,
            "Handler": function.handler,
            "Role": "arn:aws:iam::000000000000:role/benchmark",
            "Code": {"ZipFile": base64.b64encode(function.package()).decode()},
            "MemorySize": memory_mb,
            "Timeout": timeout_s,
            "EphemeralStorage": {"Size": storage_mb},
        }
        with Client(self.port) as client:
            for name in names:
                made = client.request("POST", FUNCTIONS, json.dumps({"FunctionName": name, **body}).encode())
                if made.status != 201:
                    raise LoadError(f"function {name} is refused with status {made.status}: {made.body[:300]!r}")
            deadline = time.monotonic() + START_SECONDS
            for name in names:
                path = f"{FUNCTIONS}/{name}/configuration"
                while json.loads(client.request("GET", path).body).get("State") != "Active":
                    if time.monotonic() > deadline:
                        raise LoadError(f"function {name} is not Active after {START_SECONDS:g} s")
                    time.sleep(0.01)

    def info(self) -> dict[str, Any]:
        """What the admin API tells of the engine."""
        answer = self.request("GET", "/_lambent/info")
        assert isinstance(answer, dict)
        return answer

    def launches(self) -> int:
        """How many environments the engine has started so far."""
        return msgspec.convert(self.info()["scheduler"], SchedulerStats).launches

    def wait_for_blanks(self, least: int = 1) -> None:
        """Returns when the engine has blank sandboxes at hand and makes no more.

        Raises:
            LoadError: it has none for ten seconds.
        """
        deadline = time.monotonic() + 10.0
        before, same = -1, 0
        with Client(self.port) as client:
            while time.monotonic() < deadline:
                blanks = int(json.loads(client.request("GET", "/_lambent/info").body)["blanks"])
                same = same + 1 if blanks == before and blanks >= least else 0
                before = blanks
                if same == STEADY_LOOKS:
                    return
                time.sleep(0.01)
        raise LoadError(f"the engine has {before} blank sandboxes after ten seconds, not {least}")

    def listing(self) -> list[dict[str, Any]]:
        """The environments that the engine has now."""
        answer = self.request("GET", "/_lambent/environments")
        assert isinstance(answer, dict)
        found: list[dict[str, Any]] = answer["environments"]
        return found

    def environments(self) -> int:
        """How many environments the engine has now."""
        return len(self.listing())
