"""The table of an environment's phases: which event is legal where, and where it leads.

Adding a transition is adding a row; everything not in the table is illegal, raises `IllegalTransition` and leaves the
phase as it was. What *happens* on a transition is in `core`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Phase(IntEnum):
    """Where an environment is in its life; an IntEnum, as dict lookups by it stay in C."""

    NEW = 0  #: nothing exists yet
    INIT = 1  #: sandbox being made, process starting, function code initialising; 10 s
    READY = 2  #: the runtime is parked on `next`
    INVOKE = 3  #: it has an event
    RESPONDED = 4  #: it has answered, and has not asked for `next` yet
    REINIT = 5  #: Init running inside an invocation ("suppressed init")
    # From here on nothing that a process says counts any more.
    RESETTING = 6  #: its process tree is being killed; the sandbox and /tmp stay
    BROKEN = 7  #: sandbox without a process: Init runs again inside the next invocation
    CLOSING = 8  #: being destroyed
    CLOSED = 9  #: gone; nothing is left of it


class Event(IntEnum):
    """What can happen to an environment."""

    START = 0  #: the scheduler wants it
    BEGIN = 1  #: an invocation was assigned
    NEXT = 2  #: the runtime asked for `next`
    RESPONSE = 3  #: it posted a response (or an oversize, truncated or malformed one)
    ERROR = 4  #: it posted an invocation error
    INIT_ERROR = 5  #: it posted an init error
    EXIT = 6  #: its process ended, or could not be started
    DEADLINE = 7  #: the Init or invocation deadline passed
    KILLED = 8  #: no process is left in the sandbox
    RETIRE = 9  #: the scheduler (or the engine's shutdown) ends it
    UNAVAILABLE = 10  #: the host would not give it a sandbox
    CLOSED = 11  #: the sandbox is gone


TRANSITIONS: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.NEW: {
        Event.START: Phase.INIT,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.INIT: {
        Event.NEXT: Phase.READY,
        Event.INIT_ERROR: Phase.RESETTING,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.READY: {
        Event.BEGIN: Phase.INVOKE,
        Event.EXIT: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.INVOKE: {
        Event.RESPONSE: Phase.RESPONDED,
        Event.ERROR: Phase.RESPONDED,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.RESPONDED: {
        Event.NEXT: Phase.READY,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.RESETTING: {
        Event.EXIT: Phase.RESETTING,  # the exits that the kill itself causes
        Event.KILLED: Phase.BROKEN,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,  # something in it would not die
    },
    Phase.BROKEN: {
        Event.BEGIN: Phase.REINIT,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.REINIT: {
        Event.NEXT: Phase.INVOKE,
        Event.INIT_ERROR: Phase.RESETTING,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.CLOSING: {
        Event.EXIT: Phase.CLOSING,
        Event.KILLED: Phase.CLOSING,
        Event.CLOSED: Phase.CLOSED,
    },
    Phase.CLOSED: {},
}


class IllegalTransition(Exception):
    """An event that the table does not allow. `story` holds the environment's transitions so far, oldest first."""

    def __init__(self, phase: Phase, event: Event, story: str = "") -> None:
        super().__init__(
            f"environment: event {event.name} is not allowed in phase {phase.name}"
            + (f"; what happened before:\n{story}" if story else "")
        )
        self.phase = phase
        self.event = event


def follow(phase: Phase, event: Event) -> Phase:
    """The phase that `event` leads to from `phase`.

    Raises:
        IllegalTransition: when the table has no such row.
    """
    target = TRANSITIONS[phase].get(event)
    if target is None:
        raise IllegalTransition(phase, event)
    return target
