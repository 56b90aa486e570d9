"""Suites of this project, run again where cgroup v2 is all there is. What runs is a table: `INSIDE`."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.machine import PROJECT, Machine, Place

PYTHON = PROJECT / ".venv/bin/python"
#: Where the guest finds compiled what it imports: an emulated processor takes half a minute to compile it.
BYTECODE = PROJECT / ".tools/vm/bytecode"
#: Everything that these suites need of pytest's plugins; the others cost an emulated machine seconds.
PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "anyio.pytest_plugin,pytest_timeout"}
#: About how much slower than with KVM an emulated machine is, on a host that has other things to do.
EMULATED = 8


@dataclass(frozen=True)
class Inside:
    """One line of the table: files of tests, and where they run in the guest, by one pytest."""

    name: str
    files: tuple[str, ...]
    place: Place
    """As root in a `service`'s cgroup, as a user in a `delegated` one, as root in the `root` cgroup (guest.py)."""
    at_least: int
    """So many tests must pass: a suite that skips everything proves nothing."""
    select: str = ""
    """What of it to run: pytest's -k."""
    emulated: str | None = None
    """The same where the machine is emulated and slow; None: nothing there, unless LAMBENT_VM=all asks for everything."""
    limit: float = 60
    """Seconds, with KVM; an emulated machine gets `EMULATED` times that."""
    plugins: str = ""
    """More of pytest's plugins, each with a comma before its module."""


_CGROUPS = ("tests/integration/test_cgroups.py", "tests/integration/test_cgroups_leaving.py")

#: Where emulated, each part runs in one of the two places only.
INSIDE = (
    Inside(
        "cgroups",
        _CGROUPS,
        "service",
        at_least=5,
        select="not v1",
        emulated="not v1 and (TestMemory or TestDelegation)",
    ),
    Inside(
        "cgroups",
        _CGROUPS,
        "delegated",
        at_least=5,
        select="not v1",
        emulated="not v1 and (TestCpu or TestProcesses or TestFreezing)",
    ),
    Inside(
        "sandbox mode",
        ("tests/integration/test_sandbox_namespaces.py",),
        "service",
        at_least=15,
        select="",
    ),
    Inside(
        "sandbox mode",
        ("tests/integration/test_sandbox_namespaces.py",),
        "delegated",
        at_least=3,
        select="",
        emulated="asyncio-own and (memory_is or user_is or frozen_sandbox_can)",
    ),
    Inside(
        "snapshots",
        ("tests/integration/test_snapshot.py",),
        "service",
        at_least=2,
        select="asyncio and (init_ran or unique or rights or network)",
        emulated="asyncio and (init_ran or rights)",
    ),
)


@pytest.fixture(scope="session")
def bytecode() -> dict[str, str]:
    """The environment with which Python finds the modules compiled."""
    env = {"PYTHONPYCACHEPREFIX": str(BYTECODE)}
    files = sorted({file for one in INSIDE for file in one.files})
    here = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    collect: list[str | Path] = [PYTHON, "-m", "pytest", "--collect-only", "-q", *files]
    # Its only purpose is the files that Python leaves in passing; should it fail, the suite in the guest says why.
    subprocess.run(collect, cwd=PROJECT, env={**here, **env}, capture_output=True, timeout=120, check=False)
    return env


@pytest.mark.slow
@pytest.mark.timeout(1200)  # The guest's own limit ends it much earlier.
@pytest.mark.parametrize("inside", INSIDE, ids=lambda one: f"{one.name}-{one.place}")
def test_suite_passes_on_cgroup_v2(inside: Inside, machine: Machine, bytecode: dict[str, str]) -> None:
    select, limit = inside.select, inside.limit
    if machine.accelerator == "tcg":
        limit *= EMULATED
        if os.environ.get("LAMBENT_VM") != "all":
            if inside.emulated is None:
                pytest.skip("the machine is emulated, and slow: LAMBENT_VM=all runs this too")
            select = inside.emulated
    plugins = {**PLUGINS, "PYTEST_PLUGINS": PLUGINS["PYTEST_PLUGINS"] + inside.plugins}
    shown = machine.run(
        # The guest ends the whole; a test's own limit is for machines that are not emulated.
        [PYTHON, "-m", "pytest", "-q", "-rfEs", "--timeout", str(limit), "-k", select, *inside.files],
        place=inside.place,
        limit=limit,
        env={**bytecode, **plugins},
        echo=lambda text: print(text, end="", flush=True),
    )
    assert not shown.timed_out, f"not done within {limit:g} s"
    assert shown.code == 0, f"pytest in the guest ended with {shown.code}; its output is above"
    passed = re.search(r"(\d+) passed", shown.output)
    assert passed is not None, "nothing passed"
    assert int(passed[1]) >= inside.at_least, f"only {passed[0]} of at least {inside.at_least}, the others were skipped"
    assert shown.left_behind == ()
