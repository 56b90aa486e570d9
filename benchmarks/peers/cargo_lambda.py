"""`cargo lambda watch --only-lambda-apis`: serves the Runtime API to bootstraps that are started beside it.

Several bootstraps poll the one Runtime API, each taking the next invocation: its best setting. A cold start of its own
is a `cargo run`, which compiles when anything changed; it is not measured here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.functions import Function
from benchmarks.load import Target
from benchmarks.peers import binary
from benchmarks.subjects import INVOKE, Processes, free_port, wait_for_port

MANIFEST = """[package]
name = "peer"
version = "0.1.0"
edition = "2021"

[[bin]]
name = "peer"
path = "main.rs"

[workspace]
"""
POLLERS_PER_CLIENT = 2


class CargoLambda:
    """One server and several bootstraps."""

    name = "cargo-lambda"

    @contextlib.contextmanager
    def start(self, function: Function, environments: int) -> Iterator[Target]:
        """See `subjects.Subject`."""
        command = [str(binary("cargo-lambda")), "lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1"]
        with contextlib.ExitStack() as stack:
            base = Path(stack.enter_context(TemporaryDirectory(prefix="lambent-cargo-")))
            (base / "Cargo.toml").write_text(MANIFEST)
            (base / "main.rs").write_text("fn main() {}\n")
            folder = function.unpack(base / "function")
            port = free_port()
            processes = Processes(stack)
            child = processes.start([*command, "-P", str(port)], environment=dict(os.environ), cwd=base)
            wait_for_port(port, child, self.name)
            variables = function.variables(f"127.0.0.1:{port}/.rt", folder)
            for _ in range(max(1, POLLERS_PER_CLIENT * environments)):
                processes.start(function.command(folder), environment=variables, cwd=folder)
            yield Target(port, INVOKE.format("_"), child.pid)
