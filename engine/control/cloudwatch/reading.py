"""Operations on log events: read, search, put."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

from engine.control.cloudwatch import requests
from engine.control.cloudwatch.errors import InvalidParameter, stream_missing
from engine.control.cloudwatch.pattern import compiled
from engine.control.cloudwatch.service import LogsService
from engine.telemetry.records import Line
from engine.telemetry.store import Event, Query, Stream, now_ms

_FOREVER: Final = 1 << 62
_TOKEN: Final = re.compile(r"([fb])/([0-9]{1,56})(?:/s)?")
#: What may be put: events so far back and ahead, a batch of so many bytes and of so long a time (AWS: PutLogEvents).
_OLDEST_MS: Final = 14 * 86_400_000
_NEWEST_MS: Final = 2 * 3_600_000
_BATCH_BYTES: Final = 1_048_576
_BATCH_MS: Final = 86_400_000
_EVENT_BYTES: Final = 26


def _token(direction: str, position: int) -> str:
    return f"{direction}/{position:056d}/s"


def _parsed(token: str | None) -> tuple[str, int] | None:
    if token is None:
        return None
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise InvalidParameter("The specified nextToken is invalid.")
    return found.group(1), int(found.group(2))


async def get_log_events(service: LogsService, asked: requests.GetLogEvents) -> dict[str, object]:
    """GetLogEvents: the newest events, or from the head; each answer has the tokens of both directions.

    At an end, the token that leads there is the one that was sent, as AWS's clients expect.
    """
    group = service.named(asked)
    if asked.log_stream_name not in await service.store.streams(group):
        raise stream_missing()
    token = _parsed(asked.next_token)
    backward = token[0] == "b" if token is not None else not asked.start_from_head
    found = await service.store.read(
        group,
        Query(
            streams=(asked.log_stream_name,),
            start_ms=asked.start_time,
            end_ms=asked.end_time if asked.end_time is not None else _FOREVER,
            after=token[1] if token is not None else None,
            backward=backward,
            limit=asked.limit,
        ),
    )
    return {
        "events": [
            {"timestamp": event.time_ms, "message": event.message, "ingestionTime": event.written_ms}
            for event in found.events
        ],
        "nextForwardToken": _token("f", found.last),
        "nextBackwardToken": _token("b", found.first),
    }


async def filter_log_events(service: LogsService, asked: requests.FilterLogEvents) -> dict[str, object]:
    """FilterLogEvents. A page may be empty and have a next one: it has searched so much, and found nothing."""
    group = service.named(asked)
    if asked.log_stream_names is not None and asked.log_stream_name_prefix is not None:
        raise InvalidParameter("logStreamNames and logStreamNamePrefix cannot both be given.")
    if asked.log_stream_names is not None:
        known = await service.store.streams(group)
        if any(name not in known for name in asked.log_stream_names):
            raise stream_missing()
    token = _parsed(asked.next_token)
    backward = token[0] == "b" if token is not None else not asked.start_from_head
    found = await service.store.read(
        group,
        Query(
            streams=frozenset(asked.log_stream_names) if asked.log_stream_names is not None else None,
            prefix=asked.log_stream_name_prefix or "",
            start_ms=asked.start_time,
            end_ms=asked.end_time + 1 if asked.end_time is not None else _FOREVER,
            matches=compiled(asked.filter_pattern),
            after=token[1] if token is not None else None,
            backward=backward,
            limit=asked.limit,
        ),
    )
    events = sorted(found.events, key=lambda event: event.time_ms, reverse=backward)
    out: dict[str, object] = {"events": [_filtered(event) for event in events], "searchedLogStreams": []}
    if not found.complete:
        out["nextToken"] = _token("b", found.first) if backward else _token("f", found.last)
    return out


def _filtered(event: Event) -> dict[str, object]:
    return {
        "logStreamName": event.stream,
        "timestamp": event.time_ms,
        "message": event.message,
        "ingestionTime": event.written_ms,
        "eventId": f"{event.position:056d}",
    }


async def put_log_events(service: LogsService, asked: requests.PutLogEvents) -> dict[str, object]:
    """PutLogEvents. Events that are too old or too new are left out, and the answer says which."""
    group = service.group(asked.log_group_name)
    info = (await service.store.streams(group)).get(asked.log_stream_name)
    if info is None:
        raise stream_missing()
    events, now = asked.log_events, now_ms()
    times = [event.timestamp for event in events]
    if any(later < earlier for earlier, later in pairwise(times)):
        raise InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > _BATCH_MS:
        raise InvalidParameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )
    size = sum(len(event.message.encode("utf-8", "replace")) + _EVENT_BYTES for event in events)
    if size > _BATCH_BYTES:
        raise InvalidParameter(f"Upload too large: {size} bytes exceeds limit of {_BATCH_BYTES}")
    oldest, newest = now - _OLDEST_MS, now + _NEWEST_MS
    kept = group.cutoff_ms(now)
    good = [
        Line(0, event.timestamp, event.message, whole=True)
        for event in events
        if max(oldest, kept) <= event.timestamp <= newest
    ]
    if good:
        group.put(Stream(info.name, info.created_ms), list(good))
    rejected = {
        "tooOldLogEventEndIndex": sum(time < oldest for time in times),
        "expiredLogEventEndIndex": sum(oldest <= time < kept for time in times),
    }
    out: dict[str, int] = {name: count for name, count in rejected.items() if count}
    if times[-1] > newest:
        out["tooNewLogEventStartIndex"] = sum(time <= newest for time in times)
    answer: dict[str, object] = {"nextSequenceToken": f"{now:056d}"}
    if out:
        answer["rejectedLogEventsInfo"] = out
    return answer


OPERATIONS: Final[dict[str, tuple[Any, Any]]] = {
    "GetLogEvents": (requests.GetLogEvents, get_log_events),
    "FilterLogEvents": (requests.FilterLogEvents, filter_log_events),
    "PutLogEvents": (requests.PutLogEvents, put_log_events),
}
