"""The decisions of one environment: events in, actions out; no I/O, no clock.

`EnvironmentCore` is abstract: its actions are the abstract methods at the end of the class. The shell
(`environment.Environment`) derives from it and acts; the tests derive from it and write down. Inheritance instead of a
separate actions object spares a pointer chase per action on the warm path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf

from engine.lifecycle import failures
from engine.lifecycle.failures import Failure
from engine.lifecycle.states import TRANSITIONS, Event, IllegalTransition, Phase
from engine.model.invocation import Invocation

# Bound once: enum attribute access is a dict lookup on a metaclass.
_READY, _INVOKE, _RESPONDED, _INIT, _REINIT = Phase.READY, Phase.INVOKE, Phase.RESPONDED, Phase.INIT, Phase.REINIT


class EnvironmentCore(ABC):
    """One environment's phase, its current invocation and its deadline. All times are monotonic seconds.

    Attributes:
        phase: see `states`.
        invocation: the one being served, None between invocations.
        deadline: when the current Init or invocation is over time; `inf` when nothing runs.
        init_s: how long the last Init took; None until one has ended.
        served: invocations ended so far.
        init_failure: why the last Init failed, None when it did not.
    """

    __slots__ = (
        "_armed_for",
        "_init_began",
        "deadline",
        "init_failure",
        "init_s",
        "init_timeout_s",
        "invocation",
        "phase",
        "served",
        "timeout_s",
    )

    def __init__(self, *, timeout_s: float, init_timeout_s: float) -> None:
        self.phase = Phase.NEW
        self.invocation: Invocation | None = None
        self.deadline = inf
        self.timeout_s = timeout_s
        self.init_timeout_s = init_timeout_s
        self.init_s: float | None = None
        self.init_failure: Failure | None = None
        self.served = 0
        self._armed_for = inf
        self._init_began = 0.0

    # ---- the warm path: begin, response, next ----------------------------------------------------------------------

    def begin(self, now: float, invocation: Invocation) -> None:
        """An invocation was assigned: hand it to the parked runtime, or run Init again first when broken."""
        phase = self.phase
        if phase is _READY:
            self.phase = _INVOKE
        else:
            self._to(Event.BEGIN)
        self.invocation = invocation
        invocation.started = now
        if not self.served:
            invocation.init_s = self.init_s
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
            self.deadline = inf
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
        if before is _INIT:
            self.init_s = now - self._init_began
            self.deadline = inf
            self.note_init(None, now - self._init_began)
            self.available(broken=False)
        else:  # REINIT: inside an invocation, which has waited for this and stays on its own deadline
            assert self.invocation is not None
            self.deliver(self.invocation)

    # ---- the other things a runtime says ---------------------------------------------------------------------------

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
        """The runtime's process ended, or could not be started at all."""
        if self.phase is _READY:  # died while idle: nobody waits for it; a fresh environment is better than a re-init
            self._to(Event.EXIT)
            self.close()
            return
        self._end_badly(now, Event.EXIT, failure)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """The timer fired. Enforces the deadline when it has passed, else arms for what is left of it."""
        self._armed_for = inf
        if now < self.deadline:
            if self.deadline != inf:
                self._armed_for = self.deadline
                self.arm(self.deadline)
            return
        in_init = self.phase is _INIT
        failure = failures.init_timed_out() if in_init else failures.timed_out(self.timeout_s)
        self._end_badly(now, Event.DEADLINE, failure)

    # ---- coming and going ------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin Init, ahead of any invocation."""
        self._to(Event.START)
        self._init_began = now
        self.launch()

    def sandbox_made(self, now: float) -> None:
        """The sandbox is there: Init's budget runs from here on, not from the beginning of our own preparations."""
        if self.phase is _INIT:
            self.deadline = self._armed_for = now + self.init_timeout_s
            self.arm(self.deadline)

    def killed(self, now: float) -> None:
        """No process is left; the environment may serve again by a new Init."""
        self._to(Event.KILLED)
        if self.phase is Phase.BROKEN:
            self.available(broken=True)

    def unavailable(self, now: float, reason: str) -> None:
        """The host would not make the sandbox, or could not end what is in it: give the environment up."""
        starting = self.phase is _INIT
        self._to(Event.UNAVAILABLE)
        self.deadline = inf
        if starting:
            self.refused(reason)
        self.close()

    def retire(self, now: float) -> None:
        """End this environment. An invocation in it fails (only an engine that is stopped hard does that)."""
        self._to(Event.RETIRE)
        invocation = self.invocation
        if invocation is not None:
            self.invocation = None
            if invocation.outcome is None:
                self._fail(invocation, failures.sandbox_failed("The engine stopped before the invocation ended"))
            invocation.ended = now
            self.note_end(invocation)
            if not invocation.answered:
                self.answer(invocation)
        self.deadline = inf
        self.close()

    def closed(self, now: float) -> None:
        """Nothing is left of the sandbox."""
        self._to(Event.CLOSED)
        self.gone()

    # ---- shared ----------------------------------------------------------------------------------------------------

    def _to(self, event: Event) -> None:
        target = TRANSITIONS[self.phase].get(event)
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
        self.returning(invocation)  # before the caller hears, who may submit again in the same call
        return invocation

    @staticmethod
    def _fail(invocation: Invocation, failure: Failure) -> None:
        invocation.outcome = failure.body(invocation.request_id)
        invocation.function_error = "Unhandled"
        invocation.error_type = failure.error_type
        invocation.status = failure.status

    def _end_badly(self, now: float, event: Event, failure: Failure) -> None:
        """Common end of every crash and timeout: tell whoever waits, then kill the whole tree and keep the sandbox."""
        before = self.phase
        self._to(event)
        if before is Phase.RESETTING or before is Phase.CLOSING:
            return  # an exit that our own kill caused
        self.deadline = inf
        if before is _INIT or before is _REINIT:
            self.init_failure = failure
            if before is _INIT:
                self.init_s = None
            self.note_init(failure, now - self._init_began)
        invocation = self.invocation
        if invocation is not None:
            self.invocation = None
            self.served += 1
            if invocation.outcome is None:
                self._fail(invocation, failure)
            else:  # it had answered; the caller keeps that answer, the log tells the rest
                invocation.error_type = failure.error_type
                invocation.status = failure.status
            invocation.ended = now
            self.note_end(invocation)
            if not invocation.answered:
                self.answer(invocation)
        self.kill()

    # ---- actions ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def launch(self) -> None:
        """Make the sandbox if there is none, and start the runtime's process in it."""

    @abstractmethod
    def deliver(self, invocation: Invocation) -> None:
        """Give the parked runtime its event."""

    @abstractmethod
    def arm(self, deadline: float) -> None:
        """Call `tick` at `deadline`, instead of any earlier wish."""

    @abstractmethod
    def returning(self, invocation: Invocation) -> None:
        """Tell the scheduler that the runtime has answered and will soon ask for `next`."""

    @abstractmethod
    def answer(self, invocation: Invocation) -> None:
        """Tell the caller."""

    @abstractmethod
    def kill(self) -> None:
        """End every process in the sandbox, then call `killed`."""

    @abstractmethod
    def close(self) -> None:
        """End the sandbox, then call `closed`."""

    @abstractmethod
    def available(self, *, broken: bool) -> None:
        """Tell the scheduler that another invocation may come."""

    @abstractmethod
    def refused(self, reason: str) -> None:
        """Tell the scheduler that the host would not make this environment."""

    @abstractmethod
    def gone(self) -> None:
        """Tell the scheduler that the environment's memory is free again."""

    @abstractmethod
    def note_start(self, invocation: Invocation) -> None:
        """START, for the log."""

    @abstractmethod
    def note_end(self, invocation: Invocation) -> None:
        """END and REPORT, for the log."""

    @abstractmethod
    def note_init(self, failure: Failure | None, seconds: float) -> None:
        """The end of an Init, for the log."""

    @abstractmethod
    def note_transition(self, event: Event, target: Phase) -> None:
        """A transition off the warm path, for the story."""

    @abstractmethod
    def story(self) -> str:
        """The transitions so far, for an error message."""
