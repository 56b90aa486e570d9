"""`lambent demo` and `lambent bench`, for real."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from engine.cli.demo_functions import examples
from tests.support.cli import environment, lambent


@pytest.mark.slow
def test_demo_on_a_terminal_is_a_table_in_which_everything_behaved():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm-256color"}),
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while piece := _read(ours):
            shown += piece
    finally:
        os.close(ours)
    text = shown.decode()
    assert process.wait() == 0, text
    final = text[text.rindex("╭") :]
    found, _ = examples()
    assert final.count("✔") == len(found)
    for example in found:
        assert example.how in final
    assert final.count("Sandbox.Timedout") == final.count("Runtime.ExitError") == len(found)
    assert f"all {len(found)} functions behaved" in final
    assert "lambent run PATH" in final


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the other side is closed
        return b""


@pytest.mark.slow
def test_embedded_bench_keeps_cold_and_warm_apart():
    done = lambent("bench", "--embedded", "--json", patience=55.0)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["functions"]:
        assert row["cold_samples"] >= 1
        assert row["warm_samples"] >= 2
        assert 0 < row["init_ms"] <= row["cold_worst_ms"]
        assert row["per_second"] > 0


@pytest.mark.parametrize("args", [["--embedded", "cold"], ["--embedded", "--out", "x"]])
def test_the_embedded_bench_has_neither_parts_nor_files(args):
    done = lambent("bench", *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert "lambent bench" in done.stderr


def test_bench_in_a_source_tree_is_its_benchmarks():
    done = lambent("bench", "--json")
    assert done.returncode == 2
    assert "--json goes with --embedded" in done.stderr
