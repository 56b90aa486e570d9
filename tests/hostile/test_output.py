"""What a function prints: too much of it, in one line, or in millions of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from engine.telemetry import logs
from tests.hostile.kit import Attackers, Neighbour

pytest_plugins = ("tests.support.sandbox_fixtures",)

PRINT = """
def attack(event):
    began = time.monotonic()
    return event and [subprocess.run(["./prints", *event]).returncode, time.monotonic() - began]
"""


@pytest.mark.parametrize(("what", "mib"), [("lines", 200), ("one", 200), ("junk", 20), ("empty", 1)])
async def test_output_without_end_slows_down_nobody_but_its_writer(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, with_programs: Path, what: str, mib: int
) -> None:
    """A part of the 10 GB that one could print: memory is as constant over 10 MB as over 10 GB.

    `GROWTH` in the kit is less than what is printed here, and three times what is kept.
    """
    function = await attackers.make(PRINT, package=with_programs, memory_mb=1769, timeout_s=40)
    await function.invoke(None)
    quiet = await neighbour.quiet()
    async with neighbour.watched() as seen:
        code, seconds = (await function.invoke([what, str(mib)])).json()
    assert code == 0, "it was slowed down, not cut off"
    assert len(seen.seconds) >= min(10.0, 5 * seconds), "the neighbour is served all the while"
    assert seen.latency < 20 * quiet + 0.05
    assert neighbour.lines() == list(range(neighbour.lines()[0], neighbour.calls + 1))
    records = engine.log("attacker").records()
    assert len(records) <= logs.MAX_RECORDS + 2
    assert sum(len(record.message) for record in records) <= logs.MAX_BYTES + (1 << 20)
    assert max(len(record.message) for record in records) <= 262_144


async def test_the_tail_of_a_long_log_takes_no_memory(
    attackers: Attackers, neighbour: Neighbour, with_programs: Path
) -> None:
    """A caller may ask for the last 4 KB of it (LogType=Tail): no reason to keep the rest."""
    function = await attackers.make(PRINT, package=with_programs, memory_mb=1769, timeout_s=40)
    await function.invoke(None)
    async with neighbour.watched():
        result = await function.invoke(["lines", "100"], tail=True)
    assert result.json()[0] == 0
    assert len(result.log_tail.encode()) == logs.TAIL_BYTES
    assert result.log_tail.splitlines()[-1].startswith("REPORT ")
