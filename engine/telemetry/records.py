"""What a log is kept as, and how it becomes what a reader sees.

Three small records say everything: a line, an invocation's start, an invocation's end. Text and JSON are made of them
when somebody reads, so that an invocation costs two short arrays on the disk and no formatting. They are msgpack arrays
there: members are only ever added at the end, with a default.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

import msgspec
from msgspec import Struct

from engine.model.function import FunctionVersion
from engine.model.invocation import Invocation
from engine.telemetry import events, report

TRACE_TYPE: Final = "X-Amzn-Trace-Id"


class Format(Struct, frozen=True, array_like=True):
    """How a function's log is written.

    Attributes:
        json: the platform's lines are events in JSON, and lines are filtered by level.
        system: the least level of the platform's lines (`events.DEBUG` and so on); of no effect without `json`.
        application: the least level of the function's lines; likewise.
    """

    json: bool = False
    system: int = events.INFO
    application: int = events.INFO


TEXT: Final = Format()


def format_of(function: FunctionVersion) -> Format:
    """The format that a function's LoggingConfig asks for."""
    if function.log_format != "JSON":
        return TEXT
    levels = events.LEVELS
    return Format(
        json=True,
        system=levels.get(function.system_log_level or "", events.INFO),
        application=levels.get(function.application_log_level or "", events.INFO),
    )


class Line(Struct, array_like=True, tag=0, gc=False):
    """A line, or a record of several lines, as it is shown.

    Attributes:
        stream: which log stream, by its place in a table that goes with the records.
        time_ms: wall-clock milliseconds since the epoch.
        text: without the newline at its end.
        request_id: the invocation that it belongs to; "" when none is known.
        level: as `events.INFO`, 0 when not said.
        whole: somebody else's log event (PutLogEvents): shown without a newline of ours.
    """

    stream: int
    time_ms: int
    text: str
    request_id: str = ""
    level: int = 0
    whole: bool = False


class Started(Struct, array_like=True, tag=1, gc=False):
    """An invocation began; members as in `Line` and `events.Start`."""

    stream: int
    time_ms: int
    request_id: str
    version: str
    trace_id: str = ""
    tenant_id: str = ""


class Ended(Struct, array_like=True, tag=2, gc=False):
    """An invocation ended. Durations are in ms.

    Attributes:
        stream: as in `Line`.
        time_ms: when it ended.
        request_id: which.
        duration_ms: from its event's delivery to its end.
        billed_ms: what is billed.
        memory_mb: what the function may have.
        max_memory_mb: what it had, 0 when unknown.
        status: as `events.Status`.
        error_type: "" when there is none.
        init_ms: of the Init that it waited for, None when it did not.
        answered_ms: from the delivery to the answer, None when there was none.
        produced: bytes of the answer.
        restore_ms: of the restore that it waited for, None when it did not.
        runtime_ms: from the delivery until the runtime asked for the next event, when extensions took longer than that.
    """

    stream: int
    time_ms: int
    request_id: str
    duration_ms: float
    billed_ms: int
    memory_mb: int
    max_memory_mb: int
    status: str = "success"
    error_type: str = ""
    init_ms: float | None = None
    answered_ms: float | None = None
    produced: int = 0
    trace_id: str = ""
    tenant_id: str = ""
    restore_ms: float | None = None
    runtime_ms: float | None = None


Stored = Line | Started | Ended
decode: Final = msgspec.msgpack.Decoder(list[Stored]).decode


# ---- from an invocation ----------------------------------------------------------------------------------------------
# `offset_ms` is what turns monotonic milliseconds into wall-clock milliseconds since the epoch.


def started(invocation: Invocation, stream: int, offset_ms: float) -> Started:
    """The record of an invocation's start."""
    return Started(
        stream,
        int(invocation.started * 1000 + offset_ms),
        invocation.request_id,
        invocation.route.function.version,
        invocation.trace_id,
        invocation.tenant_id,
    )


def ended(invocation: Invocation, stream: int, offset_ms: float) -> Ended:
    """The record of an invocation's end."""
    began, end = invocation.started, invocation.ended
    memory = invocation.max_memory
    answered = invocation.responded
    init_s = invocation.init_s
    restore_s = invocation.restore_s
    pieces = invocation.stream
    return Ended(
        stream,
        int(end * 1000 + offset_ms),
        invocation.request_id,
        (end - began) * 1000,
        report.billed_ms(end - began + (init_s or 0.0) + (restore_s or 0.0)),
        invocation.route.function.memory_mb,
        ceil(memory / report.MIB) if memory else 0,
        invocation.status or "success",
        invocation.error_type,
        init_s * 1000 if init_s is not None else None,
        (answered - began) * 1000 if answered else None,
        invocation.produced if pieces is None or not pieces.size else pieces.size,
        invocation.trace_id,
        invocation.tenant_id,
        None if restore_s is None else restore_s * 1000,
    )


# ---- to events -------------------------------------------------------------------------------------------------------


def tracing_of(trace_id: str) -> events.Tracing | None:
    """The trace header as an event has it."""
    return events.Tracing(type_=TRACE_TYPE, value=trace_id) if trace_id else None


def start_event(record: Started) -> events.Start:
    """``platform.start``."""
    return events.Start(
        request_id=record.request_id,
        version=record.version,
        tracing=tracing_of(record.trace_id),
        tenant_id=record.tenant_id or None,
    )


def runtime_done_event(record: Ended) -> events.RuntimeDone:
    """``platform.runtimeDone``: of the runtime's part of the invocation, with the spans that make it up."""
    began_ms = record.time_ms - record.duration_ms
    runtime_ms = record.duration_ms if record.runtime_ms is None else record.runtime_ms
    spans: tuple[events.Span, ...] = ()
    if record.answered_ms is not None:
        answered = began_ms + record.answered_ms
        spans = (
            _span("responseLatency", began_ms, record.answered_ms),
            _span("responseDuration", answered, 0.0),
            _span("runtimeOverhead", answered, max(0.0, runtime_ms - record.answered_ms)),
        )
    return events.RuntimeDone(
        request_id=record.request_id,
        status=record.status,  # type: ignore[arg-type]  # it was an `events.Status` when it was written
        error_type=record.error_type or None,
        metrics=events.RuntimeDoneMetrics(duration_ms=round(runtime_ms, 3), produced_bytes=record.produced),
        spans=spans,
        tracing=tracing_of(record.trace_id),
        tenant_id=record.tenant_id or None,
    )


def report_event(record: Ended) -> events.Report:
    """``platform.report``."""
    spans: tuple[events.Span, ...] = ()
    if record.runtime_ms is not None:
        began_ms = record.time_ms - record.duration_ms
        overhead = record.duration_ms - record.runtime_ms
        spans = (_span("extensionOverhead", began_ms + record.runtime_ms, overhead),)
    return events.Report(
        request_id=record.request_id,
        status=record.status,  # type: ignore[arg-type]  # as above
        error_type=record.error_type or None,
        metrics=events.ReportMetrics(
            duration_ms=round(record.duration_ms, 3),
            billed_duration_ms=record.billed_ms,
            memory_size_mb=record.memory_mb,
            max_memory_used_mb=record.max_memory_mb,
            init_duration_ms=round(record.init_ms, 3) if record.init_ms is not None else None,
            restore_duration_ms=round(record.restore_ms, 3) if record.restore_ms is not None else None,
            billed_restore_duration_ms=ceil(record.restore_ms) if record.restore_ms is not None else None,
        ),
        spans=spans,
        tracing=tracing_of(record.trace_id),
        tenant_id=record.tenant_id or None,
    )


def _span(name: str, start_ms: float, duration_ms: float) -> events.Span:
    return events.Span(name=name, start=events.iso(start_ms), duration_ms=round(duration_ms, 3))


# ---- to what is shown ------------------------------------------------------------------------------------------------


def messages(record: Stored, shape: Format) -> Iterator[str]:
    """The log events that a record is shown as, without the newlines at their ends: none, one or two."""
    if isinstance(record, Line):
        yield record.text
    elif isinstance(record, Started):
        yield from platform(record.time_ms, start_event(record), shape)
    elif shape.json:
        yield from platform(record.time_ms, runtime_done_event(record), shape)
        yield from platform(record.time_ms, report_event(record), shape)
    else:
        yield report.end(events.End(request_id=record.request_id))
        yield report.report(report_event(record))


def platform(time_ms: float, record: events.Record, shape: Format) -> Iterator[str]:
    """A platform event as the log shows it; nothing when its level is too low, or text logs have no line for it."""
    if not shape.json:
        line = report.text(record)
        if line is not None:
            yield line
    elif record.level >= shape.system:
        yield events.encode(time_ms, record).decode()
