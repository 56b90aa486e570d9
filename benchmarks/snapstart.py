"""``python -m benchmarks.snapstart``: cold starts of a Python function with SnapStart, and of the same without.

Its Init takes `--init` seconds of time and leaves some megabytes of data. Each sample is an invocation that finds no
environment: the engine keeps none for longer than a moment. *Whole* is what the client sees, *restore* what REPORT
says. A sample counts only if the function says that it has what the one Init made, and REPORT that there was a restore.
"""

from __future__ import annotations

import argparse
import json
import re
import time

from rich.console import Console
from rich.table import Table

from benchmarks.client import Client
from benchmarks.cold_start import Quantiles
from benchmarks.functions import PYTHON, Function
from benchmarks.load import LoadError
from benchmarks.subjects import FUNCTIONS, INVOKE, EngineSubject, Server

SOURCE = """
import os, time
data = bytearray(os.urandom(1 << 20)) * {megabytes}
time.sleep({init_s})
made = os.urandom(8).hex()
def handler(event, context):
    return [made, len(data)]
"""
_RESTORE = re.compile(r"(?<!Billed )Restore Duration: ([\d.]+) ms")


def _published(server: Server, name: str) -> None:
    server.request("PUT", f"{FUNCTIONS}/{name}/configuration", {"SnapStart": {"ApplyOn": "PublishedVersions"}})
    server.request("POST", f"{FUNCTIONS}/{name}/versions", {})
    deadline = time.monotonic() + 60
    while (state := _state(server, name)) == "Pending" and time.monotonic() < deadline:
        time.sleep(0.05)
    if state != "Active":
        raise LoadError(f"version 1 of {name} is {state}")


def _state(server: Server, name: str) -> str:
    configuration = server.request("GET", f"{FUNCTIONS}/{name}/configuration?Qualifier=1")
    assert isinstance(configuration, dict)
    return str(configuration["State"])


def _samples(server: Server, path: str, count: int) -> tuple[list[float], list[float], set[str]]:
    """Milliseconds of the whole, of the restore, and what the functions said that Init had made."""
    whole, restores, made = [], [], set()
    with Client(server.port) as client:
        for _ in range(count):
            while server.environments():
                time.sleep(0.01)
            server.wait_for_blanks()
            time.sleep(0.05)
            answer = client.request("POST", path, b"{}", X_Amz_Log_Type="Tail")
            if answer.problem:
                raise LoadError(f"{path}: {answer.problem}: {answer.body[:300]!r}")
            whole.append(answer.ns / 1e6)
            restores += [float(found) for found in _RESTORE.findall(answer.log.rpartition("REPORT ")[2])]
            made.add(json.loads(answer.body)[0])
    return whole, restores, made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapstart", description="Cold starts with SnapStart.")
    parser.add_argument("--init", type=float, default=2.0, help="seconds that Init takes")
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[1, 8, 64, 256])
    given = parser.parse_args()
    table = Table("function", "init", "restore", "whole, median", "p90", "low", "high", title="cold starts, ms")
    with EngineSubject("sandbox").serve("--keep-alive", "0.05") as server:
        for megabytes in given.megabytes:
            source = SOURCE.format(megabytes=megabytes, init_s=given.init)
            name = f"python-{megabytes}-mb"
            function = Function(name=name, runtime=PYTHON, handler="app.handler", files={"app.py": source.encode()})
            server.create(function, name, memory_mb=max(256, 3 * megabytes))
            _published(server, name)
            _row(table, name, given.init, _samples(server, INVOKE.format(name), 2), snapshot=False)
            path = INVOKE.format(name) + "?Qualifier=1"
            _row(table, f"{name}, SnapStart", given.init, _samples(server, path, given.samples), snapshot=True)
    Console().print(table)


def _row(
    table: Table, name: str, init_s: float, samples: tuple[list[float], list[float], set[str]], *, snapshot: bool
) -> None:
    whole, restores, made = samples
    if snapshot and (len(restores) != len(whole) or len(made) != 1):
        raise LoadError(f"{name}: {len(restores)} restores in {len(whole)} samples, {len(made)} different Inits")
    restore, total = Quantiles.of(restores), Quantiles.of(whole)
    assert total is not None
    figures = (restore.median if restore is not None else None, total.median, total.p90, total.low, total.high)
    table.add_row(name, f"{init_s:g} s", *("-" if one is None else f"{one:.1f}" for one in figures))


if __name__ == "__main__":
    main()
