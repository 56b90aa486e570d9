"""Platform events: what an environment tells of itself, as AWS's Telemetry API, Logs API and JSON logs have it.

One Struct per event type; its members are the event's ``record`` in wire names. An event is such a record with its
time: ``{"time":"2024-01-02T03:04:05.678Z","type":"platform.start","record":{...}}``. Lines of text logs are made of the
same records (`report`), which levels they have in JSON logs is said here, and which of them each schema version of the
two APIs knows is data (`SCHEMAS`).

Sources: facts §3.2 (open-telemetry/opentelemetry-lambda, AWS's emulator), AWS: "Lambda Telemetry API Event schema
reference", "System log level event mapping" in "Log-level filtering", and for the Logs API "Lambda Logs API" (2022).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Final, Literal

import msgspec
from msgspec import Struct, field

InitializationType = Literal["on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances"]
InitPhase = Literal["init", "invoke"]
"""``invoke``: Init runs again inside an invocation ("suppressed init")."""
Status = Literal["success", "error", "failure", "timeout"]

#: Levels of log records, as the framed log pipe numbers them (facts §1.10); 0 is "not said".
UNDEFINED, TRACE, DEBUG, INFO, WARN, ERROR, FATAL = range(7)
LEVELS: Final[Mapping[str, int]] = {
    "TRACE": TRACE, "DEBUG": DEBUG, "INFO": INFO, "WARN": WARN, "ERROR": ERROR, "FATAL": FATAL,
}  # fmt: skip


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A JSON object of an event; members that are None or empty are left out."""


class Tracing(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The trace header of an invocation."""

    span_id: str | None = None
    type_: str = field(name="type")
    value: str


class Span(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A named stretch of an invocation; `start` is ISO 8601 with milliseconds."""

    name: str
    start: str
    duration_ms: float


class InitMetrics(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """How long an Init or a restore took."""

    duration_ms: float


class RuntimeDoneMetrics(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """From the event's delivery until the runtime asked for the next one, and what it answered."""

    duration_ms: float
    produced_bytes: int


class ReportMetrics(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What REPORT says: milliseconds and MB."""

    duration_ms: float
    billed_duration_ms: int
    memory_size_mb: int = field(name="memorySizeMB")
    max_memory_used_mb: int = field(name="maxMemoryUsedMB")
    init_duration_ms: float | None = None
    restore_duration_ms: float | None = None
    billed_restore_duration_ms: int | None = None


class Record(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What happened. `type` is the event's type; `level` is what SystemLogLevel is compared with."""

    type: ClassVar[str]

    @property
    def level(self) -> int:
        """INFO, unless the type says otherwise."""
        return INFO


def _level_of_status(status: str, good: int) -> int:
    return good if status == "success" else WARN


class InitStart(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An Init began. `instance_id` is the log stream's name, `instance_max_memory` is in bytes."""

    type: ClassVar[str] = "platform.initStart"
    initialization_type: InitializationType
    phase: InitPhase
    function_name: str
    function_arn: str | None = None
    function_version: str
    instance_id: str
    instance_max_memory: int
    runtime_version: str | None = None
    runtime_version_arn: str | None = None
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """DEBUG where there is no runtime version to tell."""
        return INFO if self.runtime_version else DEBUG


class InitRuntimeDone(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The runtime's part of an Init is over."""

    type: ClassVar[str] = "platform.initRuntimeDone"
    initialization_type: InitializationType
    phase: InitPhase
    status: Status
    error_type: str | None = None
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return _level_of_status(self.status, DEBUG)


class InitReport(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An Init is over, extensions and all."""

    type: ClassVar[str] = "platform.initReport"
    initialization_type: InitializationType
    phase: InitPhase
    status: Status
    error_type: str | None = None
    metrics: InitMetrics
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """WARN when it failed; of no interest when it is of a usual cold start, whose REPORT tells it."""
        return _level_of_status(self.status, DEBUG if self.initialization_type == "on-demand" else INFO)


class RestoreStart(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A snapshot is being restored."""

    type: ClassVar[str] = "platform.restoreStart"
    function_name: str
    function_arn: str | None = None
    function_version: str
    instance_id: str
    instance_max_memory: int
    runtime_version: str | None = None
    runtime_version_arn: str | None = None
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """As `InitStart`."""
        return INFO if self.runtime_version else DEBUG


class RestoreRuntimeDone(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The runtime has run its restore hooks."""

    type: ClassVar[str] = "platform.restoreRuntimeDone"
    status: Status
    error_type: str | None = None
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return _level_of_status(self.status, DEBUG)


class RestoreReport(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A restore is over."""

    type: ClassVar[str] = "platform.restoreReport"
    status: Status
    error_type: str | None = None
    metrics: InitMetrics
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return _level_of_status(self.status, INFO)


class Start(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An invocation began."""

    type: ClassVar[str] = "platform.start"
    request_id: str
    version: str | None = None
    function_arn: str | None = None
    tracing: Tracing | None = None
    tenant_id: str | None = None


class RuntimeDone(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The runtime has answered an invocation and asked for the next, or failed."""

    type: ClassVar[str] = "platform.runtimeDone"
    request_id: str
    status: Status
    error_type: str | None = None
    metrics: RuntimeDoneMetrics | None = None
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None
    tenant_id: str | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return _level_of_status(self.status, DEBUG)


class End(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An invocation is over; of the Logs API and of text logs only."""

    type: ClassVar[str] = "platform.end"
    request_id: str


class Report(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An invocation is over, extensions and all."""

    type: ClassVar[str] = "platform.report"
    request_id: str
    status: Status
    error_type: str | None = None
    metrics: ReportMetrics
    spans: tuple[Span, ...] = ()
    tracing: Tracing | None = None
    tenant_id: str | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return _level_of_status(self.status, INFO)


class Extension(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An extension has registered, or could not. `state` is one of facts §2.7: ``Ready``, ``LaunchError`` and so on."""

    type: ClassVar[str] = "platform.extension"
    name: str
    state: str
    events: tuple[str, ...]
    error_type: str | None = None

    @property
    def level(self) -> int:
        """WARN when it failed."""
        return WARN if self.error_type else INFO


class TelemetrySubscription(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An extension subscribed to the Telemetry API."""

    type: ClassVar[str] = "platform.telemetrySubscription"
    name: str
    state: str
    types: tuple[str, ...]


class LogsSubscription(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An extension subscribed to the Logs API."""

    type: ClassVar[str] = "platform.logsSubscription"
    name: str
    state: str
    types: tuple[str, ...]


class LogsDropped(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A reader of logs was too slow."""

    type: ClassVar[str] = "platform.logsDropped"
    reason: str
    dropped_records: int
    dropped_bytes: int

    @property
    def level(self) -> int:
        """Always a warning."""
        return WARN


class Fault(Record, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The process ended; of the Logs API only, where its record is a sentence."""

    type: ClassVar[str] = "platform.fault"
    text: str

    @property
    def level(self) -> int:
        """Always a warning."""
        return WARN


RECORDS: Final[tuple[type[Record], ...]] = (
    InitStart, InitRuntimeDone, InitReport, RestoreStart, RestoreRuntimeDone, RestoreReport, Start, RuntimeDone, End,
    Report, Extension, TelemetrySubscription, LogsSubscription, LogsDropped, Fault,
)  # fmt: skip


# ---- schema versions -------------------------------------------------------------------------------------------------


class Schema(Struct, frozen=True, kw_only=True):
    """What one schema version delivers.

    Attributes:
        types: the platform events that it knows.
        members: for an event that has fewer members in it than here, those that it has.
        objects: whether a line of a function with JSON logs comes as the object, not as text.
    """

    types: frozenset[str]
    members: Mapping[str, frozenset[str]] = {}
    objects: bool = True


_OF_LOGS_ONLY: Final = frozenset({End.type, LogsSubscription.type, Fault.type})
_TELEMETRY: Final = frozenset(record.type for record in RECORDS) - _OF_LOGS_ONLY
_LOGS: Final = frozenset(
    {Start.type, End.type, Report.type, Extension.type, LogsSubscription.type, LogsDropped.type, Fault.type}
)
_FIRST_START: Final = frozenset({"initializationType", "phase", "runtimeVersion", "runtimeVersionArn", "tracing"})
_FIRST_RESTORE: Final = frozenset({"runtimeVersion", "runtimeVersionArn", "tracing"})
_LOGS_MEMBERS: Final = {
    Start.type: frozenset({"requestId", "version"}),
    RuntimeDone.type: frozenset({"requestId", "status"}),
    Report.type: frozenset({"requestId", "metrics"}),
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "2022-07-01": Schema(
        types=_TELEMETRY,
        members={InitStart.type: _FIRST_START, RestoreStart.type: _FIRST_RESTORE},
        objects=False,
    ),
    "2022-12-13": Schema(types=_TELEMETRY),
    "2025-01-29": Schema(types=_TELEMETRY),
    "2020-08-15": Schema(types=_LOGS, members=_LOGS_MEMBERS, objects=False),
    "2021-03-18": Schema(types=_LOGS | {RuntimeDone.type}, members=_LOGS_MEMBERS, objects=False),
}
"""Schema versions of the Telemetry API (from 2022 on) and of the Logs API."""


# ---- bytes -----------------------------------------------------------------------------------------------------------

_encode: Final = msgspec.json.Encoder().encode


def iso(time_ms: float) -> str:
    """``2024-01-02T03:04:05.678Z`` of wall-clock milliseconds since the epoch."""
    seconds, milliseconds = divmod(int(time_ms), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def encode(time_ms: float, record: Record, schema: Schema | None = None) -> bytes:
    """An event as JSON, in one line. The caller has asked `known` whether the schema has it; None is the newest."""
    members = schema.members.get(record.type) if schema is not None else None
    if isinstance(record, Fault):
        body = _encode(record.text)
    elif members is None:
        body = _encode(record)
    else:
        body = _encode({name: value for name, value in msgspec.to_builtins(record).items() if name in members})
    return b'{"time":"%b","type":"%b","record":%b}' % (iso(time_ms).encode(), record.type.encode(), body)


def encode_line(time_ms: float, kind: Literal["function", "extension"], text: str, *, as_object: bool = False) -> bytes:
    """A line of a function's or an extension's as an event.

    Args:
        time_ms: wall-clock milliseconds since the epoch.
        kind: the event's type.
        text: the line.
        as_object: `text` is a JSON object, and is passed on as such, in one line.
    """
    if not as_object:
        body = _encode(text)
    else:
        body = text.strip().encode("utf-8", "replace")
        if b"\n" in body:  # between its members: within a string a newline is written as two characters
            body = msgspec.json.format(body, indent=-1)
    return b'{"time":"%b","type":"%b","record":%b}' % (iso(time_ms).encode(), kind.encode(), body)
