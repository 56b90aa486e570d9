"""Which isolation modes this machine offers; those are measured side by side in one run."""

from __future__ import annotations

from collections.abc import Callable

from engine.sandbox.namespaces import why_not

MODES = ("sandbox", "process")


def offered(say: Callable[[str], None]) -> tuple[str, ...]:
    """Those of `MODES` that are possible here; says why for the others."""
    reason = why_not()
    if reason is None:
        return MODES
    say(f"skipped: sandbox mode: {reason}")
    return tuple(mode for mode in MODES if mode != "sandbox")
