"""The table of phases of an environment with several invocations in flight. See `engine.lifecycle.states`.

`READY` means: it serves, with nothing or something in flight. Events of single invocations lead back to it.
"""

from __future__ import annotations

from typing import Final

from engine.lifecycle.states import Event, Phase

TRANSITIONS: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.NEW: {
        Event.START: Phase.INIT,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.INIT: {
        Event.NEXT: Phase.READY,
        Event.INIT_ERROR: Phase.CLOSING,
        Event.EXIT: Phase.CLOSING,
        Event.DEADLINE: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.READY: {
        Event.NEXT: Phase.READY,
        Event.BEGIN: Phase.READY,
        Event.RESPONSE: Phase.READY,
        Event.ERROR: Phase.READY,
        Event.DEADLINE: Phase.READY,  # of an invocation
        Event.EXIT: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
        Event.UNAVAILABLE: Phase.CLOSING,
    },
    Phase.CLOSING: {
        Event.EXIT: Phase.CLOSING,
        Event.CLOSED: Phase.CLOSED,
        Event.STUCK: Phase.QUARANTINED,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.QUARANTINED: {
        Event.EXIT: Phase.QUARANTINED,
        Event.RETRY: Phase.CLOSING,
        Event.RETIRE: Phase.CLOSING,
    },
    Phase.CLOSED: {},
}
