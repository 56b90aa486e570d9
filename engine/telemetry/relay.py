"""What one environment's extensions are told through the Telemetry API and the Logs API.

An environment says something; every subscriber whose types and schema version have it gets it into its buffer. Until
Init is over, what was said is kept for those that have not subscribed yet, bounded: they are told it when they do. How
batches travel is `delivery`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

from engine.telemetry import events
from engine.telemetry.events import SCHEMAS, Record
from runtime_api import LOGS_API, Buffer, Subscription, TelemetrySubscriptions

#: What is kept of an Init for those that subscribe in its course.
MAX_REPLAY_RECORDS: Final = 10_000
MAX_REPLAY_BYTES: Final = 1_048_576

FELL_BEHIND: Final = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
"""AWS's words (Lambda Logs API, 2022)."""

Kind = Literal["function", "extension"]
_Said = tuple[float, Record] | tuple[float, Kind, str, bool]

now = time.monotonic


class Courier(Protocol):
    """Takes one subscriber's batches to it; see `delivery.Delivery`."""

    def wake(self) -> None:
        """The buffer's deadline has changed."""
        ...

    def stop(self) -> None:
        """Deliver nothing more."""
        ...

    def pause(self) -> None:
        """The subscriber's processes are stopped: it is not its fault if it does not answer."""
        ...

    def resume(self) -> None:
        """They run again."""
        ...

    async def drained(self) -> None:
        """Wait until everything that was there has been delivered or given up."""
        ...


class _Subscriber:
    __slots__ = ("buffer", "courier", "schema", "subscription")

    def __init__(self, subscription: Subscription, send: Callable[[Subscription, Buffer], Courier]) -> None:
        self.subscription = subscription
        self.schema = SCHEMAS[subscription.schema_version]
        told = _dropped if "platform" in subscription.types else None
        self.buffer = Buffer(subscription.buffering, told)
        self.courier = send(subscription, self.buffer)

    def hear(self, said: _Said) -> None:
        """Put it into the buffer, if it is something that was subscribed to."""
        if len(said) == 2:
            time_ms, record = said
            if "platform" not in self.subscription.types or record.type not in self.schema.types:
                return
            event = events.encode(time_ms, record, self.schema)
        else:
            time_ms, kind, text, is_object = said
            if kind not in self.subscription.types:
                return
            event = events.encode_line(time_ms, kind, text, as_object=is_object and self.schema.objects)
        if self.buffer.add(now(), event):
            self.courier.wake()


class TelemetryRelay:
    """One environment's subscribers, from the beginning of an Init to the end of its processes.

    Args:
        send: starts what takes a subscription's batches out of a buffer.
        told: called with the event that tells of a new subscription; it comes back through `event`.

    Attributes:
        subscriptions: where extensions subscribe.
    """

    __slots__ = ("_replay", "_replay_size", "_send", "_subscribers", "_told", "subscriptions")

    def __init__(self, send: Callable[[Subscription, Buffer], Courier], told: Callable[[Record], None]) -> None:
        self._send = send
        self._told = told
        self._subscribers: dict[str, _Subscriber] = {}
        self._replay: list[_Said] | None = []
        self._replay_size = 0
        self.subscriptions = TelemetrySubscriptions(self._subscribed)

    def event(self, time_ms: float, record: Record) -> None:
        """The platform has something to tell."""
        self._tell((time_ms, record), 256)

    def line(self, time_ms: float, kind: Kind, text: str, *, is_object: bool = False) -> None:
        """A line was printed; `is_object` says that it is a JSON object, of a function with JSON logs."""
        self._tell((time_ms, kind, text, is_object), len(text))

    def _tell(self, said: _Said, size: int) -> None:
        for subscriber in self._subscribers.values():
            subscriber.hear(said)
        if self._replay is not None:
            self._replay.append(said)
            self._replay_size += size
            if self._replay_size > MAX_REPLAY_BYTES or len(self._replay) > MAX_REPLAY_RECORDS:
                half = len(self._replay) // 2 or 1
                self._replay_size -= sum(len(one[2]) if len(one) == 4 else 256 for one in self._replay[:half])
                del self._replay[:half]

    def _subscribed(self, subscription: Subscription) -> None:
        earlier = self._subscribers.pop(subscription.extension_id, None)
        if earlier is not None:
            earlier.courier.stop()
        subscriber = _Subscriber(subscription, self._send)
        for said in self._replay or ():
            subscriber.hear(said)
        self._subscribers[subscription.extension_id] = subscriber
        described = events.LogsSubscription if subscription.api_version == LOGS_API else events.TelemetrySubscription
        self._told(described(name=subscription.extension_name, state="Subscribed", types=subscription.types))

    def close(self) -> bool:
        """Init is over. Returns whether anybody has subscribed."""
        self.subscriptions.close()
        self._replay = None
        return bool(self._subscribers)

    def pause(self) -> None:
        """The processes are stopped."""
        for subscriber in self._subscribers.values():
            subscriber.courier.pause()

    def resume(self) -> None:
        """They run again."""
        for subscriber in self._subscribers.values():
            subscriber.courier.resume()

    async def flush(self) -> None:
        """Everything that waits is due at once; returns when it was delivered, or given up."""
        for subscriber in self._subscribers.values():
            subscriber.buffer.flush(now())
            subscriber.courier.wake()
        for subscriber in tuple(self._subscribers.values()):
            await subscriber.courier.drained()

    def stop(self) -> None:
        """The processes are gone, and the subscribers with them."""
        for subscriber in self._subscribers.values():
            subscriber.courier.stop()
        self._subscribers.clear()
        self._replay = None
        self.subscriptions.close()


def _dropped(count: int, size: int) -> bytes:
    record = events.LogsDropped(reason=FELL_BEHIND, dropped_records=count, dropped_bytes=size)
    return events.encode(time.time() * 1000, record)
