"""The decisions of one environment: events in, actions out; no I/O, no clock.

`EnvironmentCore` is abstract: what it calls to make something happen is `actions.Actions`. The shell
(`environment.Environment`) derives from it and acts; the tests derive from it and write down. Inheritance instead of a
separate actions object spares a pointer chase per action on the warm path.
"""

from __future__ import annotations

from math import inf
from typing import ClassVar, Final

from engine.lifecycle import failures
from engine.lifecycle.actions import Actions
from engine.lifecycle.extending import Extending
from engine.lifecycle.failures import Failure
from engine.lifecycle.states import TRANSITIONS, Event, IllegalTransition, Phase
from engine.model.invocation import Invocation

# Bound once: enum attribute access is a dict lookup on a metaclass.
_READY, _INVOKE, _RESPONDED, _INIT, _REINIT = Phase.READY, Phase.INVOKE, Phase.RESPONDED, Phase.INIT, Phase.REINIT
_RESTORE = Phase.RESTORE

RESTORE_TIMEOUT_S: Final = 10.0
"""For a restore and its hooks (facts §4.5)."""

RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 30.0
"""How long until a sandbox that could not be destroyed is tried again: twice as long each time, up to a bound."""


class EnvironmentCore(Actions):
    """One environment's phase, its current invocation and its deadline. All times are monotonic seconds.

    Attributes:
        table: which event is legal in which phase, see `states`.
        phase: where it is.
        invocation: the one being served, None between invocations.
        deadline: when the current phase is over time: an Init, an invocation, a thaw; in READY, when to freeze; in
            QUARANTINED, when to try again. `inf` when never.
        init_s: how long the last Init took; None until one has ended.
        restore_s: how long its restore took; None without one.
        served: invocations ended so far.
        init_failure: why the last Init failed, None when it did not.
        freeze_after_s: how long it lingers in READY before it is frozen; `inf` for never.
        stuck: why its sandbox could not be destroyed, None when nothing of the kind happened.
        tries: how often destroying it has been tried.
        extending: what its extensions add; None while it has none.
    """

    table: ClassVar[dict[Phase, dict[Event, Phase]]] = TRANSITIONS

    __slots__ = (
        "_armed_for",
        "_init_began",
        "_restore_began",
        "deadline",
        "extending",
        "final",
        "freeze_after_s",
        "init_failure",
        "init_s",
        "init_timeout_s",
        "invocation",
        "phase",
        "restore_s",
        "served",
        "stuck",
        "timeout_s",
        "tries",
    )

    def __init__(self, *, timeout_s: float, init_timeout_s: float, freeze_after_s: float = inf) -> None:
        self.phase = Phase.NEW
        self.invocation: Invocation | None = None
        self.deadline = inf
        self.timeout_s = timeout_s
        self.init_timeout_s = init_timeout_s
        self.freeze_after_s = freeze_after_s
        self.init_s: float | None = None
        self.init_failure: Failure | None = None
        self.restore_s: float | None = None
        self.served = 0
        self.stuck: str | None = None
        self.tries = 0
        self.extending: Extending | None = None
        self.final = False
        self._armed_for = inf
        self._init_began = 0.0
        self._restore_began = 0.0

    # ---- the warm path: begin, response, next ----------------------------------------------------------------------

    def begin(self, now: float, invocation: Invocation) -> None:
        """An invocation was assigned: hand it to the parked runtime; thaw it first, or run Init again, if need be.

        The function's time limit counts from when its event is delivered: a thaw is our doing, and not on its clock.
        """
        phase = self.phase
        if phase is _READY:
            self.phase = _INVOKE
        else:
            self._to(Event.BEGIN)
            if phase is Phase.FROZEN:
                self.invocation = invocation
                self._limit(now + self.init_timeout_s)
                self.thaw()
                return
        self.invocation = invocation
        invocation.started = now
        if not self.served:
            invocation.init_s = self.init_s
            invocation.restore_s = self.restore_s
        deadline = self.deadline = now + self.timeout_s
        self.note_start(invocation)
        if phase is _READY:
            self.deliver(invocation)
        else:
            self._init_began = now
            self.launch()
        if deadline < self._armed_for:
            self._armed_for = deadline
            self.arm(deadline)

    def responded(self, now: float, body: bytes) -> None:
        """The runtime answered. The caller hears at once, unless it wants the log's tail, which ends with REPORT."""
        invocation = self._reply(now, Event.RESPONSE)
        invocation.outcome = body
        invocation.produced = len(body)
        invocation.status = "success"
        if not invocation.tail:
            self.answer(invocation)

    def next(self, now: float) -> None:
        """The runtime asked for `next`: Init is done, or the invocation is over."""
        if self.phase is _RESPONDED:
            self.phase = _READY
            invocation = self.invocation
            assert invocation is not None
            self.invocation = None
            self.deadline = freeze_at = now + self.freeze_after_s
            if freeze_at < self._armed_for:  # not when invocations come back to back: the timer is armed already
                self._armed_for = freeze_at
                self.arm(freeze_at)
            self.served += 1
            invocation.ended = now
            self.note_end(invocation)
            if invocation.tail:
                self.answer(invocation)
            self.available(broken=False)
            return
        before = self.phase
        self._to(Event.NEXT)
        self.init_failure = None
        self.initialized()
        if before is _INIT or before is _RESTORE:
            self.deadline = inf
            if before is _INIT:
                self.init_s = now - self._init_began
                self.note_init(None, self.init_s)
            else:
                self.restore_s = now - self._restore_began
                self.note_restore(None, self.restore_s)
            self.available(broken=False)
            if self.phase is _READY and self.freeze_after_s != inf:  # nobody was waiting for it
                self._limit(now + self.freeze_after_s)
        else:  # REINIT: inside an invocation, which has waited for this and stays on its own deadline
            assert self.invocation is not None
            self.note_init(None, now - self._init_began)
            self.deliver(self.invocation)

    # ---- SnapStart -------------------------------------------------------------------------------------------------

    def parked(self, now: float) -> None:
        """The runtime asked for `restore/next`: Init is done. It is released at once, and runs its restore hooks."""
        before = self.phase
        self._to(Event.PARKED)
        if before is _INIT:
            self.note_init(None, now - self._init_began)
            self._restore_began = now
            self._limit(now + RESTORE_TIMEOUT_S)
        self.restore()

    def restored(self, now: float, began: float) -> None:
        """The runtime is the copy of one that had parked: there is no Init, and its restore hooks run now."""
        self._to(Event.RESTORED)
        self._restore_began = began
        self._limit(now + RESTORE_TIMEOUT_S)

    def restore_failed(self, now: float, failure: Failure) -> None:
        """The runtime posted a restore error: a hook of the function's failed."""
        self._end_badly(now, Event.RESTORE_ERROR, failure)

    # ---- the other things a runtime says ---------------------------------------------------------------------------

    def streaming(self) -> Invocation:
        """The runtime begins to stream its answer. The pieces pass this core by; it hears of their end.

        That is `responded` with nothing more, `failed`, or whatever else may end an invocation.
        """
        self._to(Event.STREAM)
        assert self.invocation is not None
        return self.invocation

    def failed(self, now: float, failure: Failure) -> None:
        """The runtime posted an error, or a response that cannot be used: it lives on and will ask for `next`."""
        invocation = self._reply(now, Event.ERROR)
        self._fail(invocation, failure)
        if not invocation.tail:
            self.answer(invocation)

    def init_failed(self, now: float, failure: Failure) -> None:
        """The runtime posted an init error. It is expected to exit; it is killed either way."""
        self._end_badly(now, Event.INIT_ERROR, failure)

    def exited(self, now: float, failure: Failure) -> None:
        """The runtime's process or an extension's ended, or could not be started at all."""
        if self.phase is _READY or self.phase is Phase.FROZEN:
            # Died while idle: nobody waits for it; a fresh environment is better than a re-init.
            self._to(Event.EXIT)
            if self.extending is not None:
                self.extending.end("failure")
            self.deadline = inf
            self.lost()
            self.close()
            return
        self._end_badly(now, Event.EXIT, failure)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """The timer fired. Enforces the deadline when it has passed, else arms for what is left of it."""
        self._armed_for = inf
        deadline = self.deadline
        if now < deadline:
            if deadline != inf:
                self._limit(deadline)
            return
        phase = self.phase
        if phase is _READY:
            self._to(Event.FREEZE)
            self.deadline = inf
            self.freeze()
        elif phase is _INIT:
            self._end_badly(now, Event.DEADLINE, failures.init_timed_out())
        elif phase is _RESTORE:
            self._end_badly(now, Event.DEADLINE, failures.restore_timed_out())
        elif phase is Phase.THAWING:
            self._give_up(now, Event.DEADLINE, f"its processes did not run again within {self.init_timeout_s:g} s")
        elif phase is Phase.QUARANTINED:
            self._to(Event.RETRY)
            self.deadline = inf
            self.close()
        else:  # AWS reports exactly the time limit as Duration, whenever the end came ("Duration: 3000.00 ms")
            self._end_badly(now, Event.DEADLINE, failures.timed_out(self.timeout_s), ended=deadline)

    # ---- frozen and thawed -----------------------------------------------------------------------------------------

    def freeze_refused(self, now: float) -> None:
        """The host would not freeze it: it stays as it is until after its next invocation."""
        self._to(Event.FREEZE_REFUSED)

    def thawed(self, now: float) -> None:
        """Its processes run again: the invocation that waits for this begins."""
        self._to(Event.THAWED)
        invocation, self.invocation = self.invocation, None
        assert invocation is not None
        self.begin(now, invocation)

    # ---- coming and going ------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin Init, ahead of any invocation."""
        self._to(Event.START)
        self._init_began = now
        self.launch()

    def sandbox_made(self, now: float) -> None:
        """The sandbox is there: Init's budget runs from here on, not from the beginning of our own preparations."""
        if self.phase is _INIT:
            self._limit(now + self.init_timeout_s)

    def killed(self, now: float) -> None:
        """No process is left; the environment may serve again by a new Init."""
        self._to(Event.KILLED)
        if self.phase is Phase.BROKEN:
            self.available(broken=True)

    def unavailable(self, now: float, reason: str) -> None:
        """The host would not make the sandbox, or end or thaw what is in it: give the environment up."""
        self._give_up(now, Event.UNAVAILABLE, reason)

    def retire(self, now: float, *, final: bool = False) -> None:
        """End this environment. An invocation in it fails (only an engine that is stopped hard does that).

        Args:
            now: seconds.
            final: the engine ends, so what cannot be destroyed now is left to the spawner, not tried again.
        """
        closing = self.phase is Phase.CLOSING
        self._to(Event.RETIRE)
        self.final = self.final or final
        invocation = self.invocation
        if invocation is not None:
            stopped = failures.sandbox_failed("The engine stopped before the invocation ended")
            self._conclude(now, invocation, stopped if invocation.outcome is None else None)
        self.deadline = inf
        if self.extending is not None:
            self.extending.end("spindown")
        if not closing:
            self.close()

    def not_closed(self, now: float, reason: str) -> None:
        """Something of the sandbox would not be ended or removed: its memory is not given to others while it is so."""
        if self.final:
            self.closed(now)
            return
        self._to(Event.STUCK)
        self.stuck = reason
        self._limit(now + min(RETRY_FIRST_S * 2**self.tries, RETRY_MOST_S))
        self.tries += 1
        self.lost()

    def closed(self, now: float) -> None:
        """Nothing is left of the sandbox."""
        self._to(Event.CLOSED)
        self.gone()

    # ---- shared ----------------------------------------------------------------------------------------------------

    def _limit(self, deadline: float) -> None:
        """Set the phase's time limit, off the warm path."""
        self.deadline = deadline
        if deadline < self._armed_for:
            self._armed_for = deadline
            self.arm(deadline)

    def _to(self, event: Event) -> None:
        target = self.table[self.phase].get(event)
        if target is None:
            raise IllegalTransition(self.phase, event, self.story())
        self.note_transition(event, target)
        self.phase = target

    def _reply(self, now: float, event: Event) -> Invocation:
        if self.phase is _INVOKE:
            self.phase = _RESPONDED
        else:
            self._to(event)
        invocation = self.invocation
        assert invocation is not None
        invocation.responded = now
        if self.extending is None or not self.extending.occupied():
            self.returning(invocation)  # before the caller hears, who may submit again in the same call
        return invocation

    @staticmethod
    def _fail(invocation: Invocation, failure: Failure) -> None:
        body = invocation.outcome = failure.body(invocation.request_id)
        invocation.produced = len(body)
        invocation.function_error = "Unhandled"
        invocation.error_type = failure.error_type
        invocation.status = failure.status

    def _conclude(self, now: float, invocation: Invocation, failure: Failure | None, ended: float = inf) -> None:
        """The invocation is over, outside the warm path: write it down, and answer if nobody has."""
        self.invocation = None
        self.served += 1
        if not invocation.started:  # it was still waiting for the thaw
            invocation.started = now
            self.note_start(invocation)
        if failure is None:
            pass
        elif invocation.outcome is None:
            self._fail(invocation, failure)
        else:  # it had answered; the caller keeps that answer, the log tells the rest
            invocation.error_type = failure.error_type
            invocation.status = failure.status
        invocation.ended = min(now, ended)
        self.note_end(invocation, failure)
        if not invocation.answered:
            self.answer(invocation)

    def _end_badly(self, now: float, event: Event, failure: Failure, ended: float = inf) -> None:
        """Common end of every crash and timeout: tell whoever waits, then kill the whole tree and keep the sandbox."""
        before = self.phase
        self._to(event)
        if before is Phase.RESETTING or before is Phase.CLOSING or before is Phase.QUARANTINED:
            return  # an exit that our own kill caused
        self.deadline = inf
        if self.extending is not None:
            self.extending.end("timeout" if event is Event.DEADLINE else "failure")
        if before is _RESTORE:  # its waiters are told; another environment is as good as this one after a reset
            self.note_restore(failure, now - self._restore_began)
            self.not_restored(failure)
            self.close()
            return
        if before is _INIT or before is _REINIT:
            self.init_failure = failure
            if before is _INIT:
                self.init_s = None
            self.note_init(failure, now - self._init_began)
        if self.invocation is not None:
            self._conclude(now, self.invocation, failure, ended)
        self.kill()

    def _give_up(self, now: float, event: Event, reason: str) -> None:
        """The host failed under the environment: tell whoever waits, then destroy it."""
        starting = self.phase is _INIT or self.phase is _RESTORE
        self._to(event)
        self.deadline = inf
        if self.extending is not None:
            self.extending.end("failure")
        if starting:
            self.refused(reason)
        else:
            self.lost()
        if self.invocation is not None:
            self._conclude(now, self.invocation, failures.sandbox_failed(reason))
        self.close()
