"""The platform's log lines, word for word (facts §3.3): START, END, REPORT with its trailing TAB, INIT_REPORT."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from engine.model.invocation import Invocation

MIB = 1024 * 1024


def start_line(invocation: Invocation) -> str:
    """``START RequestId: … Version: …``."""
    return f"START RequestId: {invocation.request_id} Version: {invocation.route.function.version}"


def end_line(invocation: Invocation) -> str:
    """``END RequestId: …``."""
    return f"END RequestId: {invocation.request_id}"


def billed_ms(invocation: Invocation) -> int:
    """Whole milliseconds billed: Init and invocation together, rounded up (AWS bills Init since 2025-08-01)."""
    return max(1, ceil(round((invocation.ended - invocation.started + (invocation.init_s or 0.0)) * 1000, 3)))


def report_line(invocation: Invocation) -> str:
    """``REPORT RequestId: …`` with durations in ms and memory in MB; Status and Error Type when it failed."""
    function = invocation.route.function
    memory = invocation.max_memory
    line = (
        f"REPORT RequestId: {invocation.request_id}\t"
        f"Duration: {(invocation.ended - invocation.started) * 1000:.2f} ms\t"
        f"Billed Duration: {billed_ms(invocation)} ms\t"
        f"Memory Size: {function.memory_mb} MB\t"
        f"Max Memory Used: {ceil(memory / MIB) if memory else 0} MB\t"
    )
    if invocation.init_s is not None:
        line += f"Init Duration: {invocation.init_s * 1000:.2f} ms\t"
    if invocation.status == "timeout":
        line += "Status: timeout"
    elif invocation.error_type:
        line += f"Status: {invocation.status}\tError Type: {invocation.error_type}"
    return line


def init_report_line(seconds: float, phase: str, status: str, error_type: str) -> str:
    """``INIT_REPORT …`` for an Init that failed."""
    line = f"INIT_REPORT Init Duration: {seconds * 1000:.2f} ms\tPhase: {phase}\tStatus: {status}"
    return line if status == "timeout" else f"{line}\tError Type: {error_type}"


def extension_line(name: str, state: str, events: Sequence[str], error_type: str) -> str:
    """``EXTENSION …``, for each extension when an Init is over."""
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{', '.join(events)}]"
    return f"{line}\tError Type: {error_type}" if error_type else line


def init_start_line(runtime: str, region: str) -> str:
    """``INIT_START …``; the runtime version names Lambent, for there is no AWS runtime underneath."""
    return (
        f"INIT_START Runtime Version: {runtime}.lambent\t"
        f"Runtime Version ARN: arn:aws:lambda:{region}::runtime:lambent-{runtime}"
    )
