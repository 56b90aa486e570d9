"""What one environment says, and to whom it goes: the function's ring, the disk, and the environment's subscribers.

With text logs and nobody listening, an invocation costs two tuples appended to two lists. What is made of them is made
when the disk is written (`store`) or when somebody reads.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from engine.model.function import FunctionVersion
from engine.model.invocation import Invocation
from engine.telemetry import events, records
from engine.telemetry.events import LEVELS, Record
from engine.telemetry.logs import (
    END,
    EVENT,
    LINE,
    START,
    Entry,
    FunctionLog,
    Source,
    Text,
    add_to_tail,
    clock_offset_ms,
)
from engine.telemetry.relay import Kind, TelemetryRelay
from runtime_api import TelemetrySubscriptions as _Subscriptions

#: A record's own time counts when it is at most so far off, as with CloudWatch Logs (PutLogEvents), seconds.
_OLDEST_S: Final = 14 * 86_400
_NEWEST_S: Final = 2 * 3_600


class _Leveled(msgspec.Struct):
    """What is looked for in a line that is a JSON object."""

    level: msgspec.Raw = msgspec.Raw(b"")


_leveled: Final = msgspec.json.Decoder(_Leveled).decode


def group_of(function: FunctionVersion) -> str:
    """The log group of a function."""
    return function.log_group or f"/aws/lambda/{function.name}"


class EnvironmentLog:
    """The log of one environment. Lives on the loop.

    Attributes:
        stream: its log stream.
        shape: how it is written.
        relay: its subscribers; None when there are none and none can come any more.
    """

    __slots__ = ("_append", "_pending", "_ring", "_sink", "_source", "relay", "shape", "stream")

    def __init__(self, ring: FunctionLog, stream: str, function: FunctionVersion) -> None:
        sink = ring.sink_of(group_of(function)) if ring.sink_of is not None else None
        self.stream = stream
        self.shape = records.format_of(function)
        self.relay: TelemetryRelay | None = None
        self._ring = ring
        self._sink = sink
        self._source = Source(stream, self.shape, int(time.time() * 1000))
        self._append = ring.entries.append
        self._pending = sink.pending if sink is not None else None

    # ---- the warm path -----------------------------------------------------------------------------------------------

    def start(self, invocation: Invocation) -> None:
        """An invocation began."""
        entry: Entry = (START, invocation.started, self._source, invocation, None)
        self._append(entry)
        pending = self._pending
        if pending is not None:
            if not pending:
                self._due()
            pending.append(entry)
        if self._ring.followers:
            self._ring.tell(entry)
        if self.relay is not None:
            record = records.started(invocation, 0, clock_offset_ms())
            self.relay.event(record.time_ms, records.start_event(record))

    def end(self, invocation: Invocation) -> None:
        """An invocation ended, as far as its runtime and its extensions are concerned: END and REPORT."""
        entry: Entry = (END, invocation.ended, self._source, invocation, None)
        self._append(entry)
        pending = self._pending
        if pending is not None:
            if not pending:
                self._due()
            pending.append(entry)
        if self._ring.followers:
            self._ring.tell(entry)
        if self.relay is not None:
            record = records.ended(invocation, 0, clock_offset_ms())
            self.relay.event(record.time_ms, records.runtime_done_event(record))
            self.relay.event(record.time_ms, events.End(request_id=record.request_id))
            self.relay.event(record.time_ms, records.report_event(record))

    def _due(self) -> None:
        assert self._sink is not None
        self._sink.due()

    # ---- lines and events --------------------------------------------------------------------------------------------

    def line(self, invocation: Invocation | None, text: str, kind: Kind = "function") -> None:
        """A line was printed: by the function, or by an extension."""
        when = time.time()
        level = _level_of(text) if self.shape.json else None
        if self.relay is not None:
            self.relay.line(when * 1000, kind, text, is_object=level is not None)
        if level is not None and level < self.shape.application:
            return
        self._keep((LINE, when, self._source, invocation, text), len(text), text)

    def framed(self, invocation: Invocation | None, text: str, level: int, when: float | None) -> None:
        """A record came through the framed log pipe: with a level (0: none), and a time of its own, or None."""
        at = time.time()
        if when is not None and -_OLDEST_S < when - at < _NEWEST_S:
            at = when
        said = _level_of(text) if self.shape.json else None
        if self.relay is not None:
            self.relay.line(at * 1000, "function", text, is_object=said is not None)
        if said is not None and (level or said) < self.shape.application:
            return
        self._keep((LINE, at, self._source, invocation, Text(text, level)), len(text), text)

    def event(self, record: Record) -> None:
        """The platform has something to tell, outside an invocation's start and end."""
        when = time.time()
        if self.relay is not None:
            self.relay.event(when * 1000, record)
        self._keep((EVENT, when, self._source, None, record), 0, None)

    def _keep(self, entry: Entry, size: int, text: str | None) -> None:
        self._ring.append(entry, size)
        pending = self._pending
        if pending is not None:
            if not pending:
                self._due()
            pending.append(entry)
            if size:
                assert self._sink is not None
                self._sink.grown(size)
        invocation = entry[3]
        if text is not None and invocation is not None and invocation.log is not None:
            add_to_tail(invocation.log, text)

    def congested(self) -> bool:
        """Whether whoever prints should wait."""
        return self._sink is not None and self._sink.congested()

    # ---- subscribers -------------------------------------------------------------------------------------------------

    def subscribe(self, extension_id: str, extension_name: str, api_version: str, body: bytes) -> tuple[int, bytes]:
        """An extension subscribes; see `runtime_api.TelemetrySubscriptions.subscribe`."""
        if self.relay is not None:
            return self.relay.subscriptions.subscribe(extension_id, extension_name, api_version, body)
        closed = _Subscriptions(lambda _subscription: None)
        closed.close()
        return closed.subscribe(extension_id, extension_name, api_version, body)

    def initialized(self) -> None:
        """Init is over: nobody may subscribe any more."""
        if self.relay is not None and not self.relay.close():
            self.relay = None

    def processes_gone(self) -> None:
        """The processes have ended, and whoever had subscribed with them."""
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.stop()


def _level_of(text: str) -> int | None:
    """The level of a line that is a JSON object: INFO unless it says another (AWS: "Log-level filtering").

    None: it is no object. It is passed on as it is, and no level keeps it out.
    """
    if text[:1] != "{" or text.rstrip()[-1:] != "}":
        return None
    try:
        level = msgspec.json.decode(_leveled(text.encode("utf-8", "replace")).level or b"null")
    except (msgspec.MsgspecError, RecursionError):
        return None
    return LEVELS.get(level.upper(), events.INFO) if isinstance(level, str) else events.INFO
