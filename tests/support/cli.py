"""The `lambent` command as a person has it: a process of its own, or (for what needs none) called in this one."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a command that says nothing is stuck."""


_BYTECODE = tempfile.mkdtemp(prefix="lambent-test-bytecode-")
atexit.register(shutil.rmtree, _BYTECODE, ignore_errors=True)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without settings that a developer may have.

    Compiled modules are kept for the next command, as an installation keeps them, wherever tests may be told not to.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LAMBENT_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": _BYTECODE, **(extra or {})}


def start(
    *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """Start ``lambent args…``; its output can be read as text."""
    return subprocess.Popen(
        [sys.executable, "-m", "engine", *args],
        cwd=cwd,
        env=environment(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lambent(
    *args: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: str | None = None,
    patience: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run ``lambent args…`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "engine", *args],
        cwd=cwd,
        env=environment(env),
        input=given if given is not None else "",
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


@dataclass
class Served:
    """A running ``lambent serve``."""

    process: subprocess.Popen[str]
    url: str
    ready: str
    data: Path


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A temporary folder that functions' users can pass through (pytest's own cannot be), removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def serving(*args: str, data: Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """``lambent serve`` on a free port, ended at the end however it went."""
    process = start("serve", "--port", "0", "--data-dir", str(data), *args, env=env)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        found = re.search(r"ready on (http://\S+)", ready)
        if found is None:
            process.kill()
            raise AssertionError(f"serve did not start: {ready!r} {process.communicate()[1]}")
        yield Served(process, found[1], ready, data)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
        process.communicate()


def paragraphs(stderr: str) -> Sequence[str]:
    """The error paragraphs in what a command said on stderr."""
    return [line for line in stderr.splitlines() if line.startswith("lambent:")]
