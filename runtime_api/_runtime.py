"""The runtime's state table: what the runtime process of one environment may ask for, and when.

A *runtime* is the process that loops on the Runtime API: `next`, run the handler, `response` or `error`, `next`. Here
is the whole of its legal behaviour, as data. Two rules, borrowed from h11:

1. Every transition is a row of `TRANSITIONS`. There is no second place where the state changes; adding a transition is
   adding a row, and the tests walk every (state, event) pair, in the table or not.
2. This file does no I/O, reads no clock and writes no log. It knows neither HTTP nor sockets. Events come in; the new
   state or a refusal goes out, and a refusal leaves the state as it was.

The states, with AWS's own names (uneven spelling included: they appear in error texts that people search for)::

    Started ──────────── next ───────────► Ready ◄─────────────── next ──────────────┐
      │  │                                  │  ▲                                     │
      │  └ init/error ► InitError           │  └ next (a second poll joins)          │
      │                               deliver                                        │
      │                                     ▼                                        │
      │                                  Running ── response ► InvocationResponse ─┐ │
      │                     next (again) ↺  │                                      sent
      │                                     └ error ► InvocationErrorResponse ─────┤ │
      │                                                                            ▼ │
      │                                                       RuntimeResponseSentState
      └ restore/next ► RestoreReady ── restore ► Restoring ── next ► Ready
                                                    └ restore/error, init/error ► RuntimeRestoreErrorState

Most events are requests of the runtime. Three are the engine's: DELIVER (an invocation was assigned), SENT (the answer
is complete: between RESPONSE and SENT a response may still be arriving, when it is streamed) and RESTORE (the snapshot
was resumed). Reading the rows:

* ``Running: NEXT -> Running``: a runtime that asks again while it has an event gets the same event again, at once. curl
  with a time limit and a retry loses nothing.
* ``Ready: NEXT -> Ready``: polls wait together; all of them get the event.
* ``InitError`` permits nothing: the first `init/error` stands, and the process is expected to exit.
* After the answer (``RuntimeResponseSentState``) only `next` is legal, and `next` is what ends the invocation: the
  runtime may work on after its response, inside the same invocation, as AWS permits.

Which *request id* an answer carries is no business of this table: the server compares ids first (400 InvalidRequestID),
and asks the table afterwards (403 InvalidStateTransition). The order is observable and clients know it.

Source: aws-lambda-runtime-interface-emulator, `core/states.go` and `rapi/handler/` (facts §1.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from ._errors import TransitionRefused

__all__ = ["TRANSITIONS", "Event", "Runtime", "State"]


class State(IntEnum):
    """Where the runtime is. IntEnum: its hash and comparison are int's own, in C."""

    STARTED = 0
    INIT_ERROR = 1
    READY = 2
    RUNNING = 3
    INVOCATION_RESPONSE = 4
    INVOCATION_ERROR_RESPONSE = 5
    RESPONSE_SENT = 6
    RESTORE_READY = 7
    RESTORING = 8
    RESTORE_ERROR = 9

    @property
    def aws_name(self) -> str:
        """The name that AWS prints."""
        return _STATE_NAMES[self]


class Event(IntEnum):
    """What happens to the runtime."""

    NEXT = 0
    RESPONSE = 1
    ERROR = 2
    INIT_ERROR = 3
    RESTORE_NEXT = 4
    RESTORE_ERROR = 5
    DELIVER = 6
    SENT = 7
    RESTORE = 8

    @property
    def wanted_name(self) -> str:
        """The state that this event asks for, as AWS's refusal names it (``restore/next`` says Ready there, too)."""
        return _WANTED_NAMES[self]


_STATE_NAMES: Final[Mapping[State, str]] = {
    State.STARTED: "Started",
    State.INIT_ERROR: "InitError",
    State.READY: "Ready",
    State.RUNNING: "Running",
    State.INVOCATION_RESPONSE: "InvocationResponse",
    State.INVOCATION_ERROR_RESPONSE: "InvocationErrorResponse",
    State.RESPONSE_SENT: "RuntimeResponseSentState",
    State.RESTORE_READY: "RestoreReady",
    State.RESTORING: "Restoring",
    State.RESTORE_ERROR: "RuntimeRestoreErrorState",
}

_WANTED_NAMES: Final[Mapping[Event, str]] = {
    Event.NEXT: "Ready",
    Event.RESPONSE: "InvocationResponse",
    Event.ERROR: "InvocationErrorResponse",
    Event.INIT_ERROR: "InitError",
    Event.RESTORE_NEXT: "Ready",
    Event.RESTORE_ERROR: "RuntimeRestoreErrorState",
    Event.DELIVER: "Running",
    Event.SENT: "RuntimeResponseSentState",
    Event.RESTORE: "Restoring",
}

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.STARTED: {
        Event.NEXT: State.READY,
        Event.INIT_ERROR: State.INIT_ERROR,
        Event.RESTORE_NEXT: State.RESTORE_READY,
    },
    State.INIT_ERROR: {},
    State.READY: {
        Event.NEXT: State.READY,
        Event.DELIVER: State.RUNNING,
    },
    State.RUNNING: {
        Event.NEXT: State.RUNNING,
        Event.RESPONSE: State.INVOCATION_RESPONSE,
        Event.ERROR: State.INVOCATION_ERROR_RESPONSE,
    },
    State.INVOCATION_RESPONSE: {
        Event.SENT: State.RESPONSE_SENT,
    },
    State.INVOCATION_ERROR_RESPONSE: {
        Event.SENT: State.RESPONSE_SENT,
    },
    State.RESPONSE_SENT: {
        Event.NEXT: State.READY,
    },
    State.RESTORE_READY: {
        Event.RESTORE: State.RESTORING,
    },
    State.RESTORING: {
        Event.NEXT: State.READY,
        Event.RESTORE_ERROR: State.RESTORE_ERROR,
        # A hook that fails may still be reported to the init route (AWS keeps it for older clients).
        Event.INIT_ERROR: State.RESTORE_ERROR,
    },
    State.RESTORE_ERROR: {},
}


class Runtime:
    """The state of one runtime process. A new process is a new `Runtime`, or this one after `reset`.

    Attributes:
        state: where it is. Changed by `fire` and `reset` only.
    """

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.STARTED

    def may(self, event: Event) -> bool:
        """Whether `event` is legal now."""
        return event in TRANSITIONS[self.state]

    def fire(self, event: Event) -> State:
        """Make the transition for `event` and return the new state.

        Raises:
            TransitionRefused: the table has no such row; the state is unchanged.
        """
        try:
            self.state = state = TRANSITIONS[self.state][event]
        except KeyError:
            raise TransitionRefused(self.state.aws_name, event.wanted_name) from None
        return state

    def reset(self) -> None:
        """A new process takes the place of the old one: back to Started, whatever was."""
        self.state = State.STARTED

    def __repr__(self) -> str:
        return f"<Runtime {self.state.aws_name}>"
