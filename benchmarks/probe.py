"""The function that tests its own limits; it is packed as ``app.py`` and runs inside an environment.

The event says what to ``do``; see `ACTIONS`. Standard library only.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from typing import Any

MB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


def spin(event: dict[str, Any]) -> dict[str, float]:
    """Keep `workers` processes busy for `seconds`; how much CPU time they got of how much wall time."""
    began = time.monotonic()
    until = began + event["seconds"]
    children: list[int] = []
    for _ in range(event["workers"] - 1):
        child = os.fork()
        if not child:
            _burn(until)
            os._exit(0)
        children.append(child)
    start = time.process_time()
    _burn(until)
    cpu = time.process_time() - start
    for child in children:
        used = os.wait4(child, 0)[2]
        cpu += used.ru_utime + used.ru_stime
    return {"cpu_s": cpu, "wall_s": time.monotonic() - began}


def _burn(until: float) -> None:
    while time.monotonic() < until:
        for _ in range(2000):
            pass


def touch(event: dict[str, Any]) -> dict[str, int]:
    """Use one MB after the other and say so on standard error, until killed or at `most_mb`.

    `own` is resident memory without pages of files, which others may have been charged with (proc(5), statm).
    """
    held: list[bytearray] = []
    for count in range(1, event["most_mb"] + 1):
        held.append(bytearray(b"x") * MB)
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - nothing more than needed is imported here
            resident, shared = file.read().split()[1:3]
        own = (int(resident) - int(shared)) * _PAGE // MB
        os.write(2, f"touched {count} own {own}\n".encode())
    return {"touched_mb": len(held)}


def hang(event: dict[str, Any]) -> None:
    """Never answer: asleep, spinning, or as a family of processes that ignore SIGTERM."""
    if event["how"] == "family":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(5):
            if not os.fork():
                break
    while True:
        if event["how"] == "spinning":
            _burn(time.monotonic() + 60)
        time.sleep(60)


def fill(event: dict[str, Any]) -> dict[str, Any]:
    """Write a file in /tmp until it is full or has `most_mb`; how many MB, and the error."""
    path = "/tmp/fill"
    written = 0
    name = ""
    block = b"x" * MB
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while written < event["most_mb"] * MB:
            written += os.write(descriptor, block)
            if written % (16 * MB) == 0:
                os.write(2, f"written {written // MB}\n".encode())
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
    finally:
        os.close(descriptor)
        os.unlink(path)  # noqa: PTH108 - nothing more than needed is imported here
    return {"written_mb": written / MB, "error": name}


def background(_event: dict[str, Any]) -> dict[str, float]:
    """Leave a thread behind that never rests, and answer."""
    threading.Thread(target=_burn, args=(float("inf"),), daemon=True).start()
    return {"cpu_s": time.process_time()}


def nothing(_event: dict[str, Any]) -> dict[str, str]:
    """Answer."""
    return {"python": sys.version}


ACTIONS = {
    "spin": spin,
    "touch": touch,
    "hang": hang,
    "fill": fill,
    "background": background,
    "nothing": nothing,
}


def handler(event: dict[str, Any], _context: object) -> Any:
    """Does what the event says."""
    return ACTIONS[event["do"]](event)
