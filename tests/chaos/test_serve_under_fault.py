"""`lambent serve` as a process: stopped, killed, started twice, on a full disk. Real signals, real boto3."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from engine.store import pack_folder
from tests.support.functions import bootstrap

READY = "lambent: ready on "
pytestmark = pytest.mark.timeout(120)


class Served:
    """A server process and a boto3 client of it."""

    def __init__(self, data: Path, *, expect_ready: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve", "--port", "0", "--data-dir", str(data), "--drain", "20"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if not expect_ready:
            return
        line = self.process.stdout.readline()
        assert line.startswith(READY), (line, self.process.stderr.read() if self.process.stderr else "")
        self.url = line.removeprefix(READY).split()[0]
        self.client = boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def create(self, name: str, folder: Path, timeout: int = 30) -> None:
        self.client.create_function(
            FunctionName=name,
            Runtime="provided.al2023",
            Role="arn:aws:iam::000000000000:role/r",
            Handler="bootstrap",
            Timeout=timeout,
            Code={"ZipFile": pack_folder(folder)},
        )

    def invoke(self, name: str, payload: bytes) -> Any:
        reply = self.client.invoke(FunctionName=name, Payload=payload)
        return reply["Payload"].read()

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lambent-chaos-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def serve(data: Path) -> Iterator[Any]:
    started: list[Served] = []

    def start(**options: Any) -> Served:
        started.append(Served(data, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate(timeout=60)


def until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after a while; none, we hope."""
    return psutil.wait_procs(processes, timeout=30)[1]


SLEEPER = """
while True:
    request_id, event, _ = take()
    time.sleep(event)
    give(request_id, "slept")
"""


def test_sigterm_lets_a_running_invocation_finish_then_stops_and_leaves_nothing(serve, tmp_path, data):
    server = serve()
    server.create("sleeper", bootstrap(tmp_path / "f", SLEEPER))
    assert server.invoke("sleeper", b"0") == b'"slept"'
    processes = server.tree()
    answers: list[bytes] = []
    running = threading.Thread(target=lambda: answers.append(server.invoke("sleeper", b"1.5")))
    running.start()
    with contextlib.closing(_admin(server)) as admin:
        while not admin.get("/_lambent/info")["in_flight"]:
            pass
    server.process.send_signal(signal.SIGTERM)
    code, output = server.end()
    running.join(timeout=30)
    assert answers == [b'"slept"']
    assert code == 0, output
    assert "Traceback" not in output
    assert until_gone(processes) == []
    assert list((data / "run" / "tmp").iterdir()) == []


def test_a_second_sigterm_stops_at_once(serve, tmp_path):
    server = serve()
    server.create("sleeper", bootstrap(tmp_path / "f", SLEEPER))
    server.invoke("sleeper", b"0")
    processes = server.tree()

    def call() -> None:
        with contextlib.suppress(Exception):
            server.invoke("sleeper", b"25")

    running = threading.Thread(target=call)
    running.start()
    with contextlib.closing(_admin(server)) as admin:
        while not admin.get("/_lambent/info")["in_flight"]:
            pass
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if "finishing what runs" in line:
            break
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code, output = server.end()
    assert code == 1, output
    assert time.monotonic() - began < 20  # it did not wait for the 25 s
    running.join(timeout=30)
    assert until_gone(processes) == []


def test_after_sigkill_no_process_is_left_and_the_functions_are_there_again(serve, tmp_path, data):
    server = serve()
    server.create("sleeper", bootstrap(tmp_path / "f", SLEEPER))
    server.create("other", bootstrap(tmp_path / "g", SLEEPER))
    server.client.tag_resource(Resource="arn:aws:lambda:us-east-1:000000000000:function:other", Tags={"kept": "yes"})
    server.invoke("sleeper", b"0")
    server.invoke("other", b"0")
    processes = server.tree()
    assert len(processes) >= 3
    server.process.kill()
    server.end()
    assert until_gone(processes) == []
    again = serve()
    assert {one["FunctionName"] for one in again.client.list_functions()["Functions"]} == {"sleeper", "other"}
    assert again.client.get_function(FunctionName="other")["Tags"] == {"kept": "yes"}
    assert again.invoke("sleeper", b"0") == b'"slept"'


def test_when_engine_and_spawner_are_both_killed_the_next_engine_cleans_up(serve, tmp_path, data):
    server = serve()
    daemon = bootstrap(
        tmp_path / "f",
        """
        import subprocess
        while True:
            request_id, event, _ = take()
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=-3, stderr=-3)
            give(request_id, child.pid)
        """,
    )
    server.create("daemon", daemon)
    server.invoke("daemon", b"1")
    children = server.tree()
    assert any(child.name() == "sleep" for child in children)
    spawner = psutil.Process(server.process.pid).children()
    os.kill(server.process.pid, signal.SIGSTOP)
    for one in spawner:
        one.kill()
    server.process.kill()
    server.end()
    again = serve()
    assert until_gone(children) == []
    assert again.invoke("daemon", b"1").isdigit()


def test_a_data_directory_in_use_is_refused_with_the_holders_pid(serve, data):
    first = serve()
    second = serve(expect_ready=False)
    code, output = second.end()
    assert code != 0
    assert str(first.process.pid) in output
    assert str(data) in output
    assert "Traceback" not in output
    assert first.client.list_functions()["Functions"] == []


def test_a_port_in_use_is_refused_in_one_sentence(serve, data):
    first = serve()
    port = first.url.rsplit(":", 1)[1]
    with tempfile.TemporaryDirectory() as other:
        Path(other).chmod(0o755)
        ended = subprocess.run(
            [sys.executable, "-m", "engine", "serve", "--port", port, "--data-dir", other],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode != 0
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_refuses_new_code_clearly_and_corrupts_nothing(tmp_path):
    disk = Path(tempfile.mkdtemp(prefix="lambent-disk-"))
    disk.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "lambent-test", str(disk)], check=True)
    server = None
    try:
        server = Served(disk)
        server.create("small", bootstrap(tmp_path / "f", SLEEPER))
        big = bootstrap(tmp_path / "g", SLEEPER)
        (big / "ballast").write_bytes(os.urandom(12 << 20))
        with pytest.raises(ClientError) as refused:
            server.create("big", big)
        assert refused.value.response["Error"]["Code"] in {"CodeStorageExceededException", "ServiceException"}
        assert refused.value.response["Error"]["Message"]
        assert [one["FunctionName"] for one in server.client.list_functions()["Functions"]] == ["small"]
        assert server.invoke("small", b"0") == b'"slept"'
        server.process.send_signal(signal.SIGTERM)
        code, output = server.end()
        assert code == 0, output
        server = Served(disk)
        assert server.invoke("small", b"0") == b'"slept"'
    finally:
        if server is not None:
            server.process.kill()
            server.end()
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


class _Admin:
    """The admin API on one connection."""

    def __init__(self, url: str) -> None:
        import http.client

        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)

    def get(self, path: str) -> Any:
        import json

        self._connection.request("GET", path)
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        self._connection.close()


def _admin(server: Served) -> _Admin:
    return _Admin(server.url)
