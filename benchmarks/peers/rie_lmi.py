"""AWS's Runtime Interface Emulator, multi-concurrency core (Lambda Managed Instances): many pollers in one environment.

The core insists on /opt/bootstrap, /var/task and /var/runtime, so it runs in a mount namespace of its own (root only).
Its bootstrap is a shell that starts one native bootstrap per poller, which is what makes it fast. It answers 400 when
every poller is busy; four pollers per client keep that rare; what remains is listed as errors.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.functions import Function, Missing
from benchmarks.load import LoadError, Target, run
from benchmarks.peers import binary
from benchmarks.subjects import INVOKE, START_SECONDS, Processes, free_port, wait_for_port

POLLERS_PER_CLIENT = 4
ENTRY = """#!/bin/sh
i=0
while [ $i -lt {pollers} ]; do
  /opt/function &
  i=$((i + 1))
done
wait
"""
NAMESPACE = """
mount --bind "$0" /opt
mount -t tmpfs tmpfs /var
mkdir -p /var/task /var/runtime
exec "$@"
"""


class RieManagedInstances:
    """One emulator process with many native bootstraps."""

    name = "rie lmi"

    @contextlib.contextmanager
    def start(self, function: Function, environments: int) -> Iterator[Target]:
        """See `subjects.Subject`."""
        emulator = binary("aws-lambda-rie")
        if function.name != "native":
            raise Missing("measured with the native bootstrap only")
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            raise Missing("needs root and unshare: its core insists on folders under /opt and /var")
        pollers = max(4, POLLERS_PER_CLIENT * environments)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="lambent-rie-")))
            folder.chmod(0o755)
            (folder / "function").write_bytes(function.files["bootstrap"])
            (folder / "bootstrap").write_text(ENTRY.format(pollers=pollers))
            for name in ("function", "bootstrap"):
                (folder / name).chmod(0o755)
            front, runtime_api = free_port(), free_port()
            variables = function.variables("", folder)
            del variables["AWS_LAMBDA_RUNTIME_API"]
            variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(pollers)
            command = ["unshare", "-m", "sh", "-ec", NAMESPACE, str(folder), str(emulator), "--log-level", "error"]
            command += ["--runtime-interface-emulator-address", f"127.0.0.1:{front}"]
            command += ["--runtime-api-address", f"127.0.0.1:{runtime_api}", "/opt/bootstrap"]
            child = Processes(stack).start(command, environment=variables, cwd=folder)
            wait_for_port(front, child, self.name)
            target = Target(front, INVOKE.format("function"), child.pid)
            _wait_until_it_answers(target, self.name)
            yield target


def _wait_until_it_answers(target: Target, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(LoadError):
            if run(target, seconds=0.05, warmup=0.0).in_window:
                return
        time.sleep(0.05)
    raise LoadError(f"{name} did not answer within {START_SECONDS:g} s")
