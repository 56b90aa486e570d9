"""Whether interpreters stand by in blanks (`engine.sandbox.namespaces.standby`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import psutil

from engine.sandbox.namespaces.standby import Key


def started(engine: Any) -> list[int]:
    """The process ids of those in blanks."""
    return [
        blank.pid for one in engine.provider._blanks for key, (_, blank) in one._preloaded.items() if type(key) is Key
    ]


def _reads(pid: int) -> bool:
    """Whether it has come to where it waits: its standard input is a socket, and it sleeps."""
    try:
        socket = str(Path(f"/proc/{pid}/fd/0").readlink()).startswith("socket:")
        return socket and psutil.Process(pid).status() == psutil.STATUS_SLEEPING and _call(pid) == 0
    except (OSError, psutil.Error):
        return False


def _call(pid: int) -> int:
    """The number of the system call that it is in; 0 is read(2) on x86-64."""
    word = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return {"63": 0}.get(word, int(word)) if word.isdigit() else -1


async def until_standing_by(engine: Any) -> None:
    """Wait until each blank has one, and that waits for its order."""
    blanks = engine.provider._blanks
    with anyio.fail_after(30):
        while not (blanks and len(pids := started(engine)) == len(blanks) and all(_reads(pid) for pid in pids)):
            await anyio.sleep(0.01)
