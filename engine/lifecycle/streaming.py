"""The way of a streamed response through the engine, from its environment to its caller: pure.

`ResponseStream` decides, and is fed from two sides. The environment says that a response begins, that a piece of it
came, and (as `Invocation.reply`) how the invocation ended. The caller's side says that the caller does not keep up,
that it does again, that it is gone. What comes of it is two things: pieces go to the caller the moment they come, and
the runtime is held back while the caller is behind. So nothing is stored here, whatever the size of a response: a
caller who does not read fills its socket's buffer, then ours (64 KiB, and what one read from the runtime brings), then
the runtime's, and then the function waits in its `write`, on its own time limit.

A caller that is gone does not stop the function (facts §1.8): pieces are then taken as they come, and dropped.

A failure before the first byte leaves the caller with nothing but the failure. After it, bytes already sent cannot be
taken back: the stream ends early, and its ending says why.

AWS slows a stream down to 2 MiB per second after its first 6 MiB (facts §1.8). Nothing here does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.model.invocation import Invocation
    from runtime_api import BodySource


MAX_CONTENT_TYPE: Final = 1024
"""Bytes of a content type that are passed on; a runtime may send a megabyte of it."""


class Step(IntEnum):
    """How far a response is."""

    WAITING = 0  #: nothing of it has come
    FLOWING = 1  #: it is being streamed
    ENDED = 2  #: the invocation has its outcome


class StreamEvent(IntEnum):
    """What happens to a response."""

    BEGIN = 0  #: the runtime begins to stream it
    PIECE = 1  #: a piece came
    END = 2  #: the invocation has its outcome: a buffered response, the end of a stream, a failure, a refusal


TRANSITIONS: Final[dict[Step, dict[StreamEvent, Step]]] = {
    Step.WAITING: {StreamEvent.BEGIN: Step.FLOWING, StreamEvent.END: Step.ENDED},
    Step.FLOWING: {StreamEvent.PIECE: Step.FLOWING, StreamEvent.END: Step.ENDED},
    Step.ENDED: {},
}


class IllegalStreamEvent(Exception):
    """An event that the table does not allow; the step is unchanged."""

    def __init__(self, step: Step, event: StreamEvent) -> None:
        super().__init__(f"response: event {event.name} is not allowed in step {step.name}")
        self.step = step
        self.event = event


class ResponseStream(ABC):
    """One response on its way to a caller who takes it in pieces.

    It stays with its invocation after its end, and then refers to nothing large.

    Attributes:
        step: how far it is.
        begun: whether it was streamed, so that the caller has a head, and perhaps bytes, already.
        content_type: as the runtime gave it; ``b""`` while unknown.
        first_byte: monotonic seconds when its first piece came; 0.0 when none has, or it was not streamed.
        size: bytes that came in pieces so far.
        held: whether the runtime is being held back.
    """

    __slots__ = ("_gone", "_slow", "_source", "begun", "content_type", "first_byte", "held", "size", "step")

    def __init__(self) -> None:
        self.step = Step.WAITING
        self.begun = False
        self.content_type = b""
        self.first_byte = 0.0
        self.size = 0
        self.held = False
        self._source: BodySource | None = None
        self._slow = self._gone = False

    # ---- from the environment --------------------------------------------------------------------------------------

    def begin(self, invocation: Invocation, content_type: bytes, source: BodySource) -> None:
        """The runtime begins to stream the response."""
        self._to(StreamEvent.BEGIN)
        self.begun = True
        self.typed(content_type)
        self._source = source
        if not self._gone:
            self.open(invocation)
        self._balance()  # the caller may be behind already

    def typed(self, content_type: bytes) -> None:
        """The runtime said of what type the response is; one that is too long is not passed on."""
        self.content_type = content_type if len(content_type) <= MAX_CONTENT_TYPE else b""

    def piece(self, now: float, data: bytes) -> None:
        """A piece of it came; `data` is never empty."""
        self._to(StreamEvent.PIECE)
        if not self.size:
            self.first_byte = now
        self.size += len(data)
        if not self._gone:
            self.send(data)

    def end(self, invocation: Invocation) -> None:
        """The invocation has its outcome. This is its `reply`."""
        self._to(StreamEvent.END)
        self._source = None
        self.held = False
        self.finish(invocation)

    # ---- from the caller's side ------------------------------------------------------------------------------------

    def slow(self) -> None:
        """The caller does not keep up."""
        self._slow = True
        self._balance()

    def quick(self) -> None:
        """It does again."""
        self._slow = False
        self._balance()

    def gone(self) -> None:
        """It is not there any more. The function goes on; nothing of it is wanted."""
        self._gone = True
        self._balance()

    # ---- shared ----------------------------------------------------------------------------------------------------

    def _balance(self) -> None:
        hold = self._slow and not self._gone
        if hold is not self.held and self._source is not None:
            self.held = hold
            if hold:
                self._source.pause()
            else:
                self._source.resume()

    def _to(self, event: StreamEvent) -> None:
        target = TRANSITIONS[self.step].get(event)
        if target is None:
            raise IllegalStreamEvent(self.step, event)
        self.step = target

    # ---- actions ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def open(self, invocation: Invocation) -> None:
        """Tell the caller that the response begins. Only when it is streamed, and its caller is there."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Pass a piece on at once."""

    @abstractmethod
    def finish(self, invocation: Invocation) -> None:
        """Tell the caller how it ended, and let go of the caller. The payload is let go when this returns.

        Without `begun`, nothing was sent: then the whole response is in the invocation's outcome.
        """
