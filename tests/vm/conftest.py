"""One machine for all tests of this folder that do not need one of their own: booting takes the longest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.require import unavailable
from tests.vm import machine as machines


@pytest.fixture(scope="session")
def can_boot() -> None:
    """Skip where no machine can be booted; where only something is missing for it, CI fails."""
    if reason := machines.wrong_platform():
        pytest.skip(reason)
    if reason := machines.what_is_missing():
        unavailable(reason)
    assert shutil.which("setpriv"), "setpriv is part of util-linux, which every Debian has"


@pytest.fixture(scope="session")
def machine(can_boot: None) -> Iterator[machines.Machine]:
    """The shared machine: every command in it gets a cgroup of its own, but files in /tmp stay."""
    with machines.boot() as machine:
        print(f"Linux {machine.release}, {machine.accelerator}, booted in {machine.boot_seconds:.1f} s")
        yield machine
