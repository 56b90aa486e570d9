"""SIGKILL of the engine, at random points of 200 cold starts, again and again on one data directory.

The points are drawn from a seed, which a failure shows; ``LAMBENT_CHAOS_SEED`` repeats one. When the engine alone is
killed its spawner ends what there is; when both are, the next engine does, before it is ready.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.sandbox import namespaces, users
from engine.store import pack_folder
from tests.support.cli import start
from tests.support.functions import bootstrap
from tests.support.leaks import eventually, host_objects_of
from tests.support.require import unavailable

pytestmark = pytest.mark.timeout(240)

ROUNDS, AT_ONCE = 10, 20
ROOT = "/2015-03-31/functions"

#: Leaves a file and a process that has left its session behind, as functions do.
LEAVES = """
import subprocess
with open("/tmp/left", "wb") as file:
    file.write(bytes(1 << 20))
while True:
    request_id, event, _ = take()
    subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=-3, stderr=-3)
    give(request_id, event)
"""


class Serving:
    """A server as a process, and the plain HTTP that is asked of it."""

    def __init__(self, data: Path) -> None:
        self.process = start("serve", "--port", "0", "--data-dir", str(data), "--isolation", "sandbox")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "ready on http://" not in line:
            self.process.kill()
            pytest.fail(f"serve did not start: {line!r} {self.process.communicate()[1]}")
        self.address = line.partition("http://")[2].split()[0]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer; an `OSError` or `HTTPException` when the server is killed meanwhile."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        assert reply.status < 300, (reply.status, text)
        assert "x-amz-function-error" not in {name.lower() for name in reply.headers}, text
        return json.loads(text) if text else None

    def spawners(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        self.process.terminate()
        self.gone()

    def gone(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    if reason := namespaces.why_not():
        unavailable(f"no sandboxes of namespaces here: {reason}")
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


@pytest.fixture
def serve(data: Path) -> Iterator[Callable[[], Serving]]:
    started: list[Serving] = []

    def another() -> Serving:
        started.append(Serving(data))
        return started[-1]

    yield another
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.gone()


class Load:
    """One cold start of each function at once, and somebody who writes down how far he has come, as tags."""

    def __init__(self, server: Serving, names: list[str], written: int) -> None:
        self.written = written
        self.answered = 0
        self.wrong: list[Any] = []
        self._server = server
        self._over = False
        self._turn = threading.Condition()
        self._threads = [threading.Thread(target=self._invoke, args=(name,)) for name in names]
        self._threads.append(threading.Thread(target=self._write))
        for thread in self._threads:
            thread.start()

    def wait_for(self, answers: int) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self.answered >= answers or self.wrong, 60), "no answers come"

    def end(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(60)

    def _invoke(self, name: str) -> None:
        try:
            answer = self._server.ask("POST", f"{ROOT}/{name}/invocations", name)
        except (OSError, http.client.HTTPException, ValueError):
            if not self._over:
                raise
            return
        except AssertionError as error:
            answer = error
        with self._turn:
            if answer != name:
                self.wrong.append(answer)
            self.answered += 1
            self._turn.notify_all()

    def _write(self) -> None:
        tags = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f0"
        while not self._over:
            try:
                self._server.ask("POST", tags, {"Tags": {"written": str(self.written + 1)}})
            except (OSError, http.client.HTTPException):
                return
            self.written += 1

    def killed(self) -> None:
        """From now on no answer is no wonder."""
        self._over = True


def groups(run: Path) -> set[int]:
    """The inodes of the control groups of the engine with this runtime directory."""
    noted = run / "cgroups"
    found = set()
    for directory in noted.read_text().splitlines() if noted.exists() else []:
        for at, _, _ in os.walk(directory):
            found.add(os.stat(at).st_ino)  # noqa: PTH116
    return found


def of_functions(run: Path, before: float) -> list[str]:
    """Processes of this engine's functions that were started before that moment."""
    base = int((run / "users").read_text()) if (run / "users").exists() else 0
    found = []
    for process in psutil.process_iter(["pid", "uids", "create_time", "cmdline"]):
        info = process.info
        if (
            base
            and info["uids"]
            and info["uids"].real in range(base, base + users.BLOCK)
            and info["create_time"] < before
        ):
            found.append(f"{info['pid']} {info['cmdline']}")
    return found


def files(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*")}


def test_whenever_the_engine_is_killed_the_next_one_finds_and_removes_everything_and_no_data_is_lost(
    serve: Callable[[], Serving], data: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LAMBENT_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"LAMBENT_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    names = [f"f{number}" for number in range(AT_ONCE)]
    run = data / "run"
    server = serve()
    package = pack_folder(bootstrap(tmp_path / "f", LEAVES))
    for name in names:
        server.ask(
            "POST",
            ROOT,
            {
                "FunctionName": name,
                "Runtime": "provided.al2023",
                "Role": "arn:aws:iam::000000000000:role/r",
                "Handler": "bootstrap",
                "Timeout": 30,
                "Code": {"ZipFile": base64.b64encode(package).decode()},
            },
        )
    known = server.ask("GET", f"{ROOT}/")["Functions"]
    server.stop()
    at_rest = files(run)
    server = serve()

    answered = written = 0
    found = {"processes": 0, "of functions": 0, "control groups": 0}
    for number in range(ROUNDS):
        load = Load(server, names, written)
        load.wait_for(chance.randrange(AT_ONCE))
        time.sleep(chance.uniform(0, 0.04))
        left, groups_left = server.tree(), groups(run)
        found["processes"] += len(left)
        found["of functions"] += len(of_functions(run, math.inf))
        found["control groups"] += len(groups_left)
        load.killed()
        if number % 2:
            os.kill(server.process.pid, signal.SIGSTOP)
            for spawner in server.spawners():
                spawner.kill()
        server.process.kill()
        server.gone()
        load.end()
        assert load.wrong == []
        answered, written = answered + load.answered, load.written

        killed_at = time.time()
        server = serve()
        where = f"round {number}, LAMBENT_CHAOS_SEED={seed}"
        eventually(lambda: not [one for one in left if one.is_running() and one.status() != "zombie"], f"gone, {where}")  # noqa: B023
        eventually(lambda: not of_functions(run, killed_at), f"no process of a function is left, {where}")  # noqa: B023
        assert not groups(run) & groups_left, where
        assert server.ask("GET", f"{ROOT}/")["Functions"] == known, where
        now = int(server.ask("GET", f"{ROOT}/f0")["Tags"].get("written", 0))
        assert now >= written, f"what was acknowledged is lost, {where}"
        written = now

    assert 0 < answered < ROUNDS * AT_ONCE
    assert min(found.values()) > ROUNDS, f"this test has seen hardly anything that could have been left: {found}"
    for name in names:
        assert server.ask("POST", f"{ROOT}/{name}/invocations", name) == name
    server.stop()
    eventually(lambda: host_objects_of(run) == [], f"control groups, loop devices or mounts are left, seed {seed}")
    assert of_functions(run, math.inf) == []
    assert files(run) == at_rest
