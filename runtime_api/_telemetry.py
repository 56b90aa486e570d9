"""Telemetry API and Logs API: who wants to hear what, and when a batch is due. No I/O, no clock.

An extension subscribes while Init runs, and is sent events in batches from then on. Two decisions are made here:

* `TelemetrySubscriptions` reads a subscription, or refuses it in AWS's form (facts §3.1): all that is wrong with it,
  joined by ``; ``. AWS documents two of these sentences and the bounds; the other words are ours.
* `Buffer` collects the events of one subscription and says when a batch is due: as many, as large or as old as it asked
  for. What a subscriber has not taken yet is bounded; beyond that events are dropped and counted, and the first batch
  that it takes afterwards tells it so. Nothing ever waits for a subscriber.

What an event looks like and how a batch travels is the engine's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from ._errors import error_body

__all__ = [
    "LOGS_API",
    "SCHEMA_VERSIONS",
    "TELEMETRY_API",
    "Buffer",
    "Buffering",
    "Destination",
    "Subscription",
    "TelemetrySubscriptions",
]

TELEMETRY_API: Final = "2022-07-01"
LOGS_API: Final = "2020-08-15"
"""The two APIs, by the version in their paths: ``/2022-07-01/telemetry`` and ``/2020-08-15/logs``."""

SCHEMA_VERSIONS: Final = {
    TELEMETRY_API: ("2022-07-01", "2022-12-13", "2025-01-29"),
    LOGS_API: ("2020-08-15", "2021-03-18"),
}
TYPES: Final = ("platform", "function", "extension")
HOSTS: Final = ("sandbox.localdomain", "sandbox")
_RUNTIME_API_PORT: Final = 9001

#: How many times what it asked for in one batch may wait for a subscriber that is behind.
_BATCHES_WAITING: Final = 4


class Buffering(NamedTuple):
    """When a batch is due: so many events, so many bytes, or so many milliseconds after the first of them."""

    max_items: int = 10_000
    max_bytes: int = 262_144
    timeout_ms: int = 1_000


_BOUNDS: Final = {"maxItems": (1_000, 10_000), "maxBytes": (262_144, 1_048_576), "timeoutMs": (25, 30_000)}


class Destination(NamedTuple):
    """Where batches go: always into the sandbox that the subscription came from.

    `path` (with a query, if there was one), `host` (as the URI had it) and `method` are for HTTP.
    """

    protocol: Literal["HTTP", "TCP"]
    port: int
    path: str = "/"
    host: str = HOSTS[0]
    method: Literal["POST", "PUT"] = "POST"


class Subscription(NamedTuple):
    """What one extension asked for.

    Attributes:
        extension_id: the extension's identifier.
        extension_name: its name.
        api_version: `TELEMETRY_API` or `LOGS_API`.
        schema_version: one of `SCHEMA_VERSIONS` of that API.
        types: which of `TYPES`, in the order in which it named them.
        destination: where to.
        buffering: in what portions.
    """

    extension_id: str
    extension_name: str
    api_version: str
    schema_version: str
    types: tuple[str, ...]
    destination: Destination
    buffering: Buffering


class TelemetrySubscriptions:
    """The subscriptions of one environment.

    Args:
        opened: called with each subscription that was accepted, before `subscribe` returns.

    Attributes:
        subscribed: the subscriptions by extension id; a second one of the same extension takes the place of the first.
        closed: whether Init is over, after which none is accepted.
    """

    __slots__ = ("_opened", "closed", "subscribed")

    def __init__(self, opened: Callable[[Subscription], None]) -> None:
        self._opened = opened
        self.closed = False
        self.subscribed: dict[str, Subscription] = {}

    def subscribe(self, extension_id: str, extension_name: str, api_version: str, body: bytes) -> tuple[int, bytes]:
        """A ``PUT …/telemetry`` or ``PUT …/logs`` of an extension that is registered.

        Args:
            extension_id: its identifier, which the caller has checked.
            extension_name: its name.
            api_version: `TELEMETRY_API` or `LOGS_API`.
            body: of the request.

        Returns:
            The status and the JSON body of the answer.
        """
        prefix = "Logs." if api_version == LOGS_API else ""
        if self.closed:
            api = "Logs" if prefix else "Telemetry"
            return 403, error_body(f"{api}.SubscriptionClosed", f"{api} API subscription is closed")
        faults: list[str] = []
        subscription = _read(extension_id, extension_name, api_version, body, faults)
        if any(other.api_version != api_version for other in self.subscribed.values()):
            faults.append("Logs API and Telemetry API cannot both be subscribed to in one execution environment")
        if faults or subscription is None:
            return 400, error_body(f"{prefix}ValidationError", "; ".join(faults))
        self.subscribed[extension_id] = subscription
        self._opened(subscription)
        return 200, b'"OK"'

    def close(self) -> None:
        """Init is over."""
        self.closed = True

    def reset(self) -> None:
        """The processes are gone; a new Init begins."""
        self.closed = False
        self.subscribed.clear()


# ---- reading a subscription ------------------------------------------------------------------------------------------


def _read(
    extension_id: str, extension_name: str, api_version: str, body: bytes, faults: list[str]
) -> Subscription | None:
    import json

    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        faults.append(f"request body is not valid JSON: {error}")
        return None
    if not isinstance(request, dict):
        faults.append("request body should be a JSON object")
        return None
    known = SCHEMA_VERSIONS[api_version]
    schema = request.get("schemaVersion", LOGS_API if api_version == LOGS_API else "")
    destination = _destination(request.get("destination"), faults)
    types = _types(request.get("types"), faults)
    if schema not in known:
        faults.append(f"schemaVersion should be one of {', '.join(known)}")
    buffering = _buffering(request.get("buffering"), faults)
    if faults or destination is None:
        return None
    return Subscription(extension_id, extension_name, api_version, schema, types, destination, buffering)


def _types(value: Any, faults: list[str]) -> tuple[str, ...]:
    if not value:
        faults.append("types should not be empty")
        return ()
    if not isinstance(value, list) or any(item not in TYPES for item in value if isinstance(item, str)):
        faults.append(f"types should be among {', '.join(TYPES)}")
        return ()
    if not all(isinstance(item, str) for item in value):
        faults.append("types should be strings")
        return ()
    return tuple(dict.fromkeys(value))


def _buffering(value: Any, faults: list[str]) -> Buffering:
    if value is None:
        return Buffering()
    if not isinstance(value, dict):
        faults.append("buffering should be an object")
        return Buffering()
    numbers = []
    for (name, (least, most)), default in zip(_BOUNDS.items(), Buffering(), strict=True):
        number = value.get(name, default)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            faults.append(f"buffering.{name} should be an integer between {least} and {most}")
        numbers.append(number)
    return Buffering(*numbers)


def _destination(value: Any, faults: list[str]) -> Destination | None:
    if not isinstance(value, dict):
        faults.append("destination is not provided")
        return None
    protocol = value.get("protocol")
    if protocol == "TCP":
        port = value.get("port")
        if not isinstance(port, int) or isinstance(port, bool):
            faults.append("destination.port is not provided")
        elif _usable(port, faults):
            return Destination("TCP", port)
        return None
    if protocol != "HTTP":
        faults.append("destination.protocol should be HTTP or TCP")
        return None
    method = value.get("method", "POST")
    if method not in {"POST", "PUT"}:
        faults.append("destination.method should be POST or PUT")
        return None
    if value.get("encoding", "JSON") != "JSON":
        faults.append("destination.encoding should be JSON")
        return None
    return _uri(value.get("URI"), method, faults)


def _uri(uri: Any, method: Any, faults: list[str]) -> Destination | None:
    if not isinstance(uri, str) or not uri:
        faults.append("URI is not provided")
        return None
    if not uri.isascii() or not uri.isprintable() or " " in uri:  # it becomes a line of a request
        faults.append("URI is not valid")
        return None
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        faults.append(f"URI is not valid: {error}")
        return None
    if parts.scheme != "http":
        faults.append("URI scheme should be http")
        return None
    if host not in HOSTS or "@" in parts.netloc:
        faults.append(f"URI host should be {HOSTS[0]}")
        return None
    if port is None:
        faults.append("URI port is not provided")
        return None
    if not _usable(port, faults):
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination("HTTP", port, path, host, method)


def _usable(port: int, faults: list[str]) -> bool:
    if not 0 < port < 65536 or port == _RUNTIME_API_PORT:
        faults.append(f"port should be between 1 and 65535, and not {_RUNTIME_API_PORT}")
        return False
    return True


# ---- batches ---------------------------------------------------------------------------------------------------------


class Buffer:
    """The events of one subscription that were not delivered yet. Times are seconds of any clock.

    Args:
        buffering: when a batch is due.
        dropped: makes the event that tells how many records and bytes were dropped; None: nobody wants to be told.

    Attributes:
        deadline: when the next batch is due; `inf` while nothing waits.
        records, size: what waits, in events and bytes.
        dropped_records, dropped_size: what was dropped since the subscriber was last told.
    """

    __slots__ = (
        "_dropped",
        "_most_records",
        "_most_size",
        "_rules",
        "_sent",
        "_waiting",
        "deadline",
        "dropped_records",
        "dropped_size",
        "size",
    )

    def __init__(self, buffering: Buffering, dropped: Callable[[int, int], bytes] | None = None) -> None:
        self._rules = buffering
        self._dropped = dropped
        self._most_records = buffering.max_items * _BATCHES_WAITING
        self._most_size = buffering.max_bytes * _BATCHES_WAITING
        self._waiting: deque[bytes] = deque()
        self._sent: list[bytes] = []
        self.deadline = inf
        self.size = 0
        self.dropped_records = 0
        self.dropped_size = 0

    @property
    def records(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to deliver, nor anything on its way."""
        return not self._waiting and not self._sent and not self.dropped_records

    def add(self, now: float, event: bytes) -> bool:
        """An event happened. Returns whether `deadline` has changed, which whoever waits for it must know."""
        size = len(event)
        if len(self._waiting) >= self._most_records or self.size + size > self._most_size:
            self._drop(now, 1, size)
            return False
        before = self.deadline
        self._waiting.append(event)
        self.size += size
        if self._full():
            self.deadline = min(before, now)
        elif before == inf:
            self.deadline = now + self._rules.timeout_ms / 1000
        return self.deadline != before

    def take(self, now: float) -> list[bytes]:
        """The batch that is due; empty when none is. Ends in `delivered` or `lost` before another can be taken.

        A batch ends with the event that fills it, so it may have that event's size more than it should.
        """
        if self._sent or now < self.deadline:
            return []
        rules = self._rules
        waiting, batch, size = self._waiting, self._sent, 0
        while waiting and len(batch) < rules.max_items and size < rules.max_bytes:
            event = waiting.popleft()
            size += len(event)
            batch.append(event)
        self.size -= size
        if self.dropped_records:
            if self._dropped is not None:
                batch.append(self._dropped(self.dropped_records, self.dropped_size))
            self.dropped_records = self.dropped_size = 0
        if self._full():
            self.deadline = now
        else:
            self.deadline = now + rules.timeout_ms / 1000 if waiting else inf
        return batch

    def flush(self, now: float) -> None:
        """What waits is due at once."""
        if self._waiting or self.dropped_records:
            self.deadline = now

    def delivered(self) -> None:
        """The batch that was taken has arrived."""
        self._sent = []

    def lost(self, now: float) -> None:
        """The batch that was taken has not arrived, and is given up."""
        sent, self._sent = self._sent, []
        self._drop(now, len(sent), sum(map(len, sent)))

    def _full(self) -> bool:
        return len(self._waiting) >= self._rules.max_items or self.size >= self._rules.max_bytes

    def _drop(self, now: float, records: int, size: int) -> None:
        self.dropped_records += records
        self.dropped_size += size
        if self.deadline == inf and self._dropped is not None:  # to be told, even if nothing else happens
            self.deadline = now + self._rules.timeout_ms / 1000
