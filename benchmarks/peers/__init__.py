"""Peers that run without Docker, one adapter each, at their best settings; `scripts/setup-peers.sh` fetches them.

They get the same load from the same generator and run the same native bootstrap. None of them isolates a function,
keeps its logs apart or watches its memory; that is theirs to gain here.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.functions import ROOT, Missing

FOLDER = ROOT / ".tools/peers"


def binary(name: str) -> Path:
    """A fetched peer. Raises Missing."""
    path = FOLDER / name
    if not os.access(path, os.X_OK):
        raise Missing(f"{name} is not installed: scripts/setup-peers.sh fetches it")
    return path


def versions() -> str:
    """What was fetched, on one line."""
    try:
        return ", ".join((FOLDER / "VERSIONS").read_text().split("\n")).strip(", ")
    except OSError:
        return "none"
