"""The native part of the sandbox: a small static program in C (`main.c` says what it can be told to be).

An interpreter that waits to become another program costs milliseconds when its memory is taken down, and megabytes
while it waits. ``make setup`` and the building of a wheel compile it (`build.sh`); it needs a C compiler and the static
C library, nothing else. Without it the engine works as before, slower: in process mode forks of the spawner take the
place of its blanks, and there is no sandbox mode.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROGRAM = Path(__file__).parent / "lambent-native"
_RESTORER = Path(__file__).parent / "lambent-restore"


def native_program() -> str | None:
    """The path of the compiled program, None when there is none for this machine. Blocking."""
    return str(_PROGRAM) if os.access(_PROGRAM, os.X_OK) else None


def restorer_program() -> str | None:
    """The path of the program that becomes the copy of a process (`image.h`); None where there is none. Blocking."""
    return str(_RESTORER) if os.access(_RESTORER, os.X_OK) else None


def why_not() -> str | None:
    """Why there is no compiled program, or None when there is."""
    if native_program() is not None:
        return None
    return (
        f"{_PROGRAM} is not compiled: run {_PROGRAM.parent}/build.sh (it needs a C compiler and libc's static library)"
    )
