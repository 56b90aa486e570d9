"""The decisions that extensions add to the life of their environment: no I/O, no clock.

An environment without extensions has no `Extending`, and what `core` and `states` say is all there is. With one, three
moments are no longer the runtime's alone (facts §2.5, 2.7):

* the runtime is started when every external extension has registered;
* Init, and each invocation, is over when the runtime *and* the extensions that it concerns are back at ``next``: in
  Init all of them, in an invocation those that asked for INVOKE. The caller has its answer long before;
* its processes are not simply killed: they are told, and given a while, in which each of them may still do something.

::

    STARTING ─ registered ► INIT ─ runtime back ► INIT_TAIL ─ all back ► IDLE ◄─ all back ─ TAIL
                                                                          └─ delivered ► INVOKE ─ runtime back ─┘

and from everywhere to ENDING. An environment's phase (`states.Phase`) stays what it is meanwhile: INIT or REINIT in the
first three, RESPONDED in TAIL, on the same deadline, so that an extension which does not come back is a timeout.

What ends one process ends the environment: the first of them that died gives the words, but if an extension had said
before that it cannot go on (init/error, exit/error), that is the error's type.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from engine.lifecycle.failures import Failure
from runtime_api import Extension, Extensions, ExtensionState

Reason = Literal["spindown", "timeout", "failure"]
"""AWS's words for why an environment ends, as SHUTDOWN events carry them."""

INIT_ERROR: Final = "Extension.InitError"
EXIT_ERROR: Final = "Extension.ExitError"
CRASH: Final = "Extension.Crash"
LAUNCH_ERROR: Final = "Extension.LaunchError"

INTERNAL_MS: Final = 500
EXTERNAL_MS: Final = 2_000
RUNTIME_MS: Final = 300
"""How long processes have to end: with internal extensions only; with external ones; of that, the runtime."""


class Stage(IntEnum):
    """How far the processes of an environment with extensions have come."""

    STARTING = 0  #: external extensions have been started; the runtime waits for them to register
    INIT = 1  #: the runtime has been started
    INIT_TAIL = 2  #: the runtime asked for its first `next`; an extension has yet to
    IDLE = 3  #: all are back
    INVOKE = 4  #: an invocation was delivered
    TAIL = 5  #: the runtime is back from it; an extension has yet to come
    ENDING = 6  #: they are being ended


class Moment(IntEnum):
    """What moves them on."""

    REGISTERED = 0  #: the last external extension registered
    RUNTIME_BACK = 1  #: the runtime asked for `next`
    ALL_BACK = 2  #: every extension that is waited for is at `event/next`
    DELIVERED = 3  #: an invocation was handed out
    END = 4  #: they are to be ended


STAGES: Final[dict[Stage, dict[Moment, Stage]]] = {
    Stage.STARTING: {
        Moment.REGISTERED: Stage.INIT,
        # Some process of the sandbox asked in the runtime's name, before there is one. It will not get anything.
        Moment.RUNTIME_BACK: Stage.STARTING,
        Moment.END: Stage.ENDING,
    },
    Stage.INIT: {
        Moment.RUNTIME_BACK: Stage.INIT_TAIL,
        Moment.END: Stage.ENDING,
    },
    Stage.INIT_TAIL: {
        Moment.ALL_BACK: Stage.IDLE,
        Moment.END: Stage.ENDING,
    },
    Stage.IDLE: {
        Moment.DELIVERED: Stage.INVOKE,
        Moment.END: Stage.ENDING,
    },
    Stage.INVOKE: {
        Moment.RUNTIME_BACK: Stage.TAIL,
        Moment.END: Stage.ENDING,
    },
    Stage.TAIL: {
        Moment.ALL_BACK: Stage.IDLE,
        Moment.END: Stage.ENDING,
    },
    Stage.ENDING: {},
}


class IllegalMoment(Exception):
    """A moment that the table does not allow; the stage is unchanged."""

    def __init__(self, stage: Stage, moment: Moment) -> None:
        super().__init__(f"extensions: {moment.name} is not allowed in stage {stage.name}")
        self.stage = stage
        self.moment = moment


class Budget(msgspec.Struct, frozen=True):
    """How long the processes of an environment have to end, milliseconds.

    Attributes:
        total_ms: all of them; 0: no process is told anything.
        runtime_ms: the runtime, between SIGTERM and SIGKILL. Extensions are told afterwards.
    """

    total_ms: int
    runtime_ms: int


class Extending:
    """What is decided for one environment with extensions, from the start of its processes to their end.

    Attributes:
        known: its extensions and their states.
        stage: how far it has come; changed by the table only.
        reason: why it is being ended.
        said: ``Extension.InitError`` or ``Extension.ExitError`` once an extension has posted one; the first stands.
    """

    __slots__ = ("_runtime_ms", "known", "reason", "said", "stage")

    def __init__(self, known: Extensions, *, external: bool, runtime_ms: int = RUNTIME_MS) -> None:
        """Begin.

        Args:
            known: the extensions.
            external: external extensions are about to be started; False: the runtime runs, and registered one.
            runtime_ms: how long the runtime has to end where there are external ones.
        """
        self.known = known
        self._runtime_ms = runtime_ms
        self.stage = Stage.STARTING if external else Stage.INIT
        self.reason: Reason = "spindown"
        self.said = ""

    # ---- what the extensions and the runtime do --------------------------------------------------------------------

    def registered(self) -> bool:
        """An extension registered. True: it was the last of the external ones, so that the runtime is to be started."""
        if self.stage is not Stage.STARTING or self.known.registering():
            return False
        self._to(Moment.REGISTERED)
        return True

    def runtime_next(self) -> bool:
        """The runtime asked for `next`. True: all are back, and Init or the invocation is over."""
        self._to(Moment.RUNTIME_BACK)
        return self.extension_next()

    def extension_next(self) -> bool:
        """An extension asked for `event/next`. True: all are back, and Init or the invocation is over."""
        stage = self.stage
        if stage is Stage.TAIL:
            waiting = self.known.busy()
        elif stage is Stage.INIT_TAIL:
            waiting = self.known.initializing()
        else:
            return False
        if waiting:
            return False
        self._to(Moment.ALL_BACK)
        return True

    def delivered(self) -> None:
        """An invocation was handed to the runtime, and to the extensions that asked for it."""
        self._to(Moment.DELIVERED)

    def occupied(self) -> bool:
        """Whether an extension is still at the current invocation: the runtime's answer alone will not free it."""
        return self.known.busy()

    def failed(self, extension: Extension) -> None:
        """An extension posted init/error or exit/error. Nothing happens before its process ends, or time is up."""
        if not self.said:
            self.said = INIT_ERROR if extension.state == ExtensionState.INIT_ERROR else EXIT_ERROR

    # ---- the end ---------------------------------------------------------------------------------------------------

    def judge(self, failure: Failure) -> Failure:
        """The failure that the end of a process means."""
        if not self.said or failure.cause is not None or failure.error_type not in {CRASH, "Runtime.ExitError"}:
            return failure
        return msgspec.structs.replace(failure, error_type=self.said)

    def end(self, reason: Reason) -> None:
        """The processes are to be ended; the first reason stands."""
        if self.stage is not Stage.ENDING:
            self._to(Moment.END)
            self.reason = reason

    def budget(self) -> Budget:
        """How long they have."""
        if any(one.external for one in self.known):
            return Budget(EXTERNAL_MS, self._runtime_ms)
        return Budget(INTERNAL_MS, INTERNAL_MS) if len(self.known) else Budget(0, 0)

    def _to(self, moment: Moment) -> None:
        target = STAGES[self.stage].get(moment)
        if target is None:
            raise IllegalMoment(self.stage, moment)
        self.stage = target
