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
    RESTORE = 5  #: released from where a snapshot would be taken, and running its restore hooks; 10 s
    REINIT = 6  #: Init running inside an invocation ("suppressed init")
    # From here on nothing that a process says counts: it is stopped, or being killed.
    FROZEN = 7  #: idle, and its processes are stopped, or are about to be
    THAWING = 8  #: it has an invocation, which waits until the processes run again
    RESETTING = 9  #: its process tree is being killed; the sandbox and /tmp stay
    BROKEN = 10  #: sandbox without a process: Init runs again inside the next invocation
    CLOSING = 11  #: being destroyed
    QUARANTINED = 12  #: it would not be destroyed: it keeps its memory, and destroying it is tried again
    CLOSED = 13  #: gone; nothing is left of it


class Event(IntEnum):
    """What can happen to an environment."""

    START = 0  #: the scheduler wants it
    BEGIN = 1  #: an invocation was assigned
    NEXT = 2  #: the runtime asked for `next`
    RESPONSE = 3  #: it posted a response (or an oversize, truncated or malformed one)
    ERROR = 4  #: it posted an invocation error
    INIT_ERROR = 5  #: it posted an init error
    EXIT = 6  #: its process ended, or could not be started
    DEADLINE = 7  #: the deadline of the Init, the invocation or the thaw passed
    KILLED = 8  #: no process is left in the sandbox
    RETIRE = 9  #: the scheduler (or the engine's shutdown) ends it
    UNAVAILABLE = 10  #: the host would not give it a sandbox
    CLOSED = 11  #: the sandbox is gone
    FREEZE = 12  #: it has been idle for long enough to be frozen
    FREEZE_REFUSED = 13  #: the host would not freeze it
    THAWED = 14  #: its processes run again
    STUCK = 15  #: something of it would not be ended or removed
    RETRY = 16  #: it is time to try that again
    STREAM = 17  #: the runtime begins to post a response in pieces
    PARKED = 18  #: the runtime asked for `restore/next` (SnapStart)
    RESTORE_ERROR = 19  #: it posted a restore error
    RESTORED = 20  #: the environment begins as a copy of one that was initialised before


TRANSITIONS: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.NEW: {
        Event.START: Phase.INIT,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.INIT: {
        Event.NEXT: Phase.READY,
        Event.PARKED: Phase.RESTORE,
        Event.RESTORED: Phase.RESTORE,
        Event.INIT_ERROR: Phase.RESETTING,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.RESTORE: {
        Event.NEXT: Phase.READY,
        Event.RESTORE_ERROR: Phase.CLOSING,
        Event.EXIT: Phase.CLOSING,
        Event.DEADLINE: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.READY: {
        Event.BEGIN: Phase.INVOKE,
        Event.EXIT: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.FREEZE: Phase.FROZEN,
    },
    Phase.FROZEN: {
        Event.BEGIN: Phase.THAWING,
        Event.EXIT: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.FREEZE_REFUSED: Phase.READY,
        Event.UNAVAILABLE: Phase.CLOSING,  # neither frozen nor thawed
    },
    Phase.THAWING: {
        Event.THAWED: Phase.READY,  # and its invocation begins at once
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.INVOKE: {
        Event.STREAM: Phase.INVOKE,  # answered only when the last piece is there
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
        Event.UNAVAILABLE: Phase.CLOSING,  # something in it would not die, or not be thawed
    },
    Phase.BROKEN: {
        Event.BEGIN: Phase.REINIT,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.REINIT: {
        Event.NEXT: Phase.INVOKE,
        Event.PARKED: Phase.REINIT,  # released at once, still inside the invocation
        Event.RESTORE_ERROR: Phase.RESETTING,
        Event.INIT_ERROR: Phase.RESETTING,
        Event.EXIT: Phase.RESETTING,
        Event.DEADLINE: Phase.RESETTING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.CLOSING: {
        Event.EXIT: Phase.CLOSING,
        Event.KILLED: Phase.CLOSING,
        Event.CLOSED: Phase.CLOSED,
        Event.STUCK: Phase.QUARANTINED,
        Event.RETIRE: Phase.CLOSING,  # the engine ends: this try is the last
    },
    Phase.QUARANTINED: {
        Event.EXIT: Phase.QUARANTINED,
        Event.RETRY: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,  # likewise
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
