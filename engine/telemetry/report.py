"""The platform's lines in text logs, word for word (facts §3.3), made of the records in `events`.

Words are separated by TABs; REPORT ends in one. A record that has no line in text logs is not in `text`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Final

from engine.telemetry import events
from engine.telemetry.events import Record

MIB = 1024 * 1024


def text(record: Record) -> str | None:
    """The line of a record in a text log, None when it has none there."""
    render = _LINES.get(record.type)
    return render(record) if render is not None else None


def runtime_version(runtime: str, region: str) -> tuple[str, str]:
    """The version of a runtime and its ARN; they name Lambent, for there is no AWS runtime underneath."""
    return f"{runtime}.lambent", f"arn:aws:lambda:{region}::runtime:lambent-{runtime}"


def billed_ms(seconds: float) -> int:
    """Whole milliseconds billed for so many seconds, Init included (AWS bills it since 2025-08-01): rounded up."""
    return max(1, ceil(round(seconds * 1000, 3)))


def init_start(record: events.InitStart) -> str:
    """``INIT_START …``."""
    return f"INIT_START {_version(record.runtime_version, record.runtime_version_arn)}"


def init_report(record: events.InitReport) -> str | None:
    """``INIT_REPORT …``: of an Init that failed, or that no REPORT will tell of."""
    if record.status == "success" and record.initialization_type == "on-demand":
        return None
    return (
        f"INIT_REPORT Init Duration: {record.metrics.duration_ms:.2f} ms\tPhase: {record.phase}\t"
        f"Status: {record.status}{_error(record.status, record.error_type)}"
    )


def restore_start(record: events.RestoreStart) -> str:
    """``RESTORE_START …``."""
    return f"RESTORE_START {_version(record.runtime_version, record.runtime_version_arn)}"


def restore_report(record: events.RestoreReport) -> str:
    """``RESTORE_REPORT …``; Status and Error Type when it failed."""
    line = f"RESTORE_REPORT Restore Duration: {record.metrics.duration_ms:.2f} ms"
    if record.status == "success":
        return line
    return f"{line}\tStatus: {record.status}{_error(record.status, record.error_type)}"


def start(record: events.Start) -> str:
    """``START RequestId: … Version: …``."""
    return f"START RequestId: {record.request_id} Version: {record.version}"


def end(record: events.End) -> str:
    """``END RequestId: …``."""
    return f"END RequestId: {record.request_id}"


def report(record: events.Report) -> str:
    """``REPORT RequestId: …``; Status and Error Type when it failed, and X-Ray's line when it was sampled."""
    metrics = record.metrics
    line = (
        f"REPORT RequestId: {record.request_id}\t"
        f"Duration: {metrics.duration_ms:.2f} ms\t"
        f"Billed Duration: {metrics.billed_duration_ms} ms\t"
        f"Memory Size: {metrics.memory_size_mb} MB\t"
        f"Max Memory Used: {metrics.max_memory_used_mb} MB\t"
    )
    if metrics.init_duration_ms is not None:
        line += f"Init Duration: {metrics.init_duration_ms:.2f} ms\t"
    if metrics.restore_duration_ms is not None:
        line += f"Restore Duration: {metrics.restore_duration_ms:.2f} ms\t"
        line += f"Billed Restore Duration: {metrics.billed_restore_duration_ms or 0} ms\t"
    if record.status == "timeout" or record.error_type:
        line += f"Status: {record.status}{_error(record.status, record.error_type)}"
    if record.tracing is not None and "Sampled=1" in record.tracing.value:
        fields: dict[str, str] = {}
        for part in record.tracing.value.split(";"):
            name, _, value = part.partition("=")
            fields[name] = value
        line += f"\nXRAY TraceId: {fields.get('Root', '')}\tSegmentId: {fields.get('Parent', '')}\tSampled: true\t"
    return line


def extension(record: events.Extension) -> str:
    """``EXTENSION …``."""
    line = f"EXTENSION\tName: {record.name}\tState: {record.state}\tEvents: {_list(record.events)}"
    return f"{line}\tError Type: {record.error_type}" if record.error_type else line


def telemetry_subscription(record: events.TelemetrySubscription) -> str:
    """``TELEMETRY …``."""
    return f"TELEMETRY\tName: {record.name}\tState: {record.state}\tTypes: {_list(record.types)}"


def logs_subscription(record: events.LogsSubscription) -> str:
    """``LOGS …``."""
    return f"LOGS\tName: {record.name}\tState: {record.state}\tTypes: {_list(record.types)}"


def logs_dropped(record: events.LogsDropped) -> str:
    """``LOGS_DROPPED …``; AWS has no text for it, so the words are those of its JSON form."""
    return (
        f"LOGS_DROPPED Reason: {record.reason}\tDropped Records: {record.dropped_records}\t"
        f"Dropped Bytes: {record.dropped_bytes}"
    )


def _version(version: str | None, arn: str | None) -> str:
    return f"Runtime Version: {version}\tRuntime Version ARN: {arn}"


def _error(status: str, error_type: str | None) -> str:
    return f"\tError Type: {error_type}" if error_type and status != "timeout" else ""


def _list(items: tuple[str, ...]) -> str:
    return f"[{', '.join(items)}]"


_LINES: Final[dict[str, Callable[[Any], str | None]]] = {
    events.InitStart.type: init_start,
    events.InitReport.type: init_report,
    events.RestoreStart.type: restore_start,
    events.RestoreReport.type: restore_report,
    events.Start.type: start,
    events.End.type: end,
    events.Report.type: report,
    events.Extension.type: extension,
    events.TelemetrySubscription.type: telemetry_subscription,
    events.LogsSubscription.type: logs_subscription,
    events.LogsDropped.type: logs_dropped,
}
